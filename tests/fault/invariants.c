/* The design's invariants, one test or more each, for both engines. A thread of this program plays
 * the guest through the space's mapping, as KVM would. The broken variants that were seen to turn
 * them red are named beside each.
 */
#include <check.h>
#include <errno.h>
#include <guestmm/guestmm.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vm.h"

/* ---- 2: frames in use never exceed the limit ---- */

START_TEST(invariant_2_limit_is_never_passed)
{
	struct vm *vm = vm_new(engines[_i], NULL, 64, 8, 64);
	struct gmm_pool_stats pool = {.size = sizeof(pool)};

	for (uint64_t p = 0; p < vm->n_pages; p++)
		*vm_word(vm, p) = p + 1;
	gmm_pool_stats(vm->pool, &pool);
	ck_assert_uint_eq(pool.limit_bytes, 8 * MIB);
	ck_assert_uint_le(pool.used_peak_bytes, 8 * MIB);
	ck_assert_uint_gt(pool.used_peak_bytes, 7 * MIB);
	for (uint64_t p = 0; p < vm->n_pages; p++)
		ck_assert_uint_eq(*vm_word(vm, p), p + 1);
	vm_free(vm, true);
}
END_TEST

static void *keep_touching(void *arg)
{
	struct vm *vm = arg;

	for (uint64_t i = 0; vm->n_pages; i++) { /* ends when n_pages is set to 0 */
		uint64_t n = atomic_load((_Atomic uint64_t *)&vm->n_pages);

		if (n)
			(*vm_word(vm, i * 7919 % n))++;
	}
	return NULL;
}

START_TEST(invariant_2_lowered_limit_is_met_while_the_guest_runs)
{
	struct vm *vm = vm_new(engines[_i], NULL, 32, 32, 64);
	struct gmm_pool_stats pool = {.size = sizeof(pool)};
	pthread_t guest;

	for (uint64_t p = 0; p < vm->n_pages; p++)
		*vm_word(vm, p) = p + 1;
	pthread_create(&guest, NULL, keep_touching, vm);
	ck_assert_int_eq(gmm_pool_set_limit(vm->pool, 4 * MIB), 0);
	for (int i = 0; i < 10000; i++) {
		gmm_pool_stats(vm->pool, &pool);
		if (pool.used_bytes <= 4 * MIB)
			break;
		sleep_ms(1);
	}
	ck_assert_uint_le(pool.used_bytes, 4 * MIB);
	atomic_store((_Atomic uint64_t *)&vm->n_pages, 0);
	pthread_join(guest, NULL);
	vm_free(vm, true);
}
END_TEST

/* ---- 3: no byte of another page, VM, or of what was given up ---- */

START_TEST(invariant_3_frames_cross_between_vms_only_zeroed)
{
	struct gmm_pool_config config = {.size = sizeof(config), .limit_bytes = 8 * MIB};
	struct gmm_pool *pool;
	struct vm *a, *b;

	ck_assert_int_eq(gmm_pool_new(&config, &pool), 0);
	a = vm_new(engines[_i], pool, 16, 0, 32);
	b = vm_new(engines[_i], pool, 16, 0, 32);
	for (int round = 0; round < 3; round++) {
		for (uint64_t p = 0; p < a->n_pages; p++)
			memset((char *)a->mem + (p << 12), 0x5a, 4096);
		ck_assert_int_eq(gmm_space_discard(a->space, (gmm_gfn){0}, a->n_pages / 2), 0);
		for (uint64_t p = 0; p < b->n_pages; p++)
			for (unsigned i = 0; i < 4096; i += 64)
				ck_assert_int_eq(b->mem[(p << 12) + i], 0);
		for (uint64_t p = 0; p < a->n_pages; p++)
			ck_assert_int_eq(a->mem[(p << 12) + 77], p < a->n_pages / 2 ? 0 : 0x5a);
		ck_assert_int_eq(gmm_space_discard(b->space, (gmm_gfn){0}, b->n_pages), 0);
	}
	vm_free(a, false);
	vm_free(b, false);
	gmm_pool_free(pool);
}
END_TEST

/* ---- 4: an eviction cannot lose a write that races with it ---- */

struct counting {
	struct vm *vm;
	uint64_t from, to, n_rounds;
};

static void *count_up(void *arg)
{
	struct counting *c = arg;

	for (uint64_t r = 0; r < c->n_rounds; r++)
		for (uint64_t p = c->from; p < c->to; p++)
			(*vm_word(c->vm, p))++;
	return NULL;
}

START_TEST(invariant_4_no_write_is_lost)
{
	struct vm *vm = vm_new(engines[_i], NULL, 16, 8, 32);
	struct counting c[2] = {{vm, 0, vm->n_pages / 2, 12},
				{vm, vm->n_pages / 2, vm->n_pages, 12}};
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, count_up, &c[i]);
	/* Pages leave as fast as they come, beside what the limit takes. */
	for (int i = 0; i < 200; i++) {
		gmm_space_reclaim(vm->space, 64);
		sleep_ms(1);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	for (uint64_t p = 0; p < vm->n_pages; p++)
		ck_assert_msg(*vm_word(vm, p) == 12, "page %lu lost %ld writes", p,
			      12 - (long)*vm_word(vm, p));
	ck_assert_uint_gt(vm_stats(vm).reclaim.written, 1000);
	vm_free(vm, true);
}
END_TEST

struct hammer {
	struct vm *vm;
	uint64_t page, n;
	atomic_bool *stop;
};

static void *hammer_away(void *arg)
{
	struct hammer *h = arg;
	volatile uint64_t *word = vm_word(h->vm, h->page);

	while (!atomic_load_explicit(h->stop, memory_order_relaxed)) {
		(*word)++;
		h->n++;
	}
	return NULL;
}

/* A page that is written all the time is evicted all the time: the moment between the copy and
 * the page's going is met thousands of times. Red without the copy engine's write protection. */
START_TEST(invariant_4_hammered_pages_lose_nothing)
{
	struct vm *vm = vm_new(engines[_i], NULL, 16, 8, 32);
	atomic_bool stop = false;
	struct hammer h[2] = {{vm, 7, 0, &stop}, {vm, 1000, 0, &stop}};
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, hammer_away, &h[i]);
	/* The time is for busy machines, where pages are written before they are touched again:
	 * elsewhere it takes a second. */
	for (time_t end = time(NULL) + 30; time(NULL) < end && vm_stats(vm).faults.rescue < 2000;) {
		gmm_space_reclaim(vm->space, 2);
		sched_yield();
	}
	stop = true;
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], NULL);
		ck_assert_uint_eq(*vm_word(vm, h[i].page), h[i].n);
	}
	ck_assert_uint_gt(vm_stats(vm).faults.rescue + vm_stats(vm).faults.swap_in, 50);
	ck_assert_uint_gt(vm_stats(vm).reclaim.evicted, 50);
	vm_free(vm, true);
}
END_TEST

/* ---- 5: zero, clean and ballooned pages cost no write ---- */

START_TEST(invariant_5_zero_pages_cost_no_write)
{
	struct vm *vm = vm_new(engines[_i], NULL, 16, 4, 32);

	for (uint64_t p = 0; p < vm->n_pages; p++)
		*vm_word(vm, p) = 0;
	vm_evict_all(vm);
	ck_assert_uint_eq(vm_stats(vm).io.writes, 0);
	ck_assert_uint_ge(vm_stats(vm).reclaim.zero, vm->n_pages - PAGES(1));
	ck_assert_uint_eq(vm_stats(vm).swapped_bytes, 0);
	vm_free(vm, true);
}
END_TEST

START_TEST(invariant_5_clean_pages_cost_no_write)
{
	/* Of 64 MiB so little is used that clean copies fit into the bookkeeping's bound. */
	struct vm *vm = vm_new(engines[_i], NULL, 64, 64, 32);
	uint64_t written, dirty = 100;

	for (uint64_t p = 0; p < PAGES(8); p++)
		*vm_word(vm, p) = p + 1;
	vm_evict_first(vm, PAGES(8));
	written = vm_stats(vm).reclaim.written;
	ck_assert_uint_eq(written, PAGES(8));
	for (uint64_t p = 0; p < PAGES(8); p++)
		ck_assert_uint_eq(*vm_word(vm, p), p + 1);
	for (uint64_t p = 0; p < dirty; p++)
		(*vm_word(vm, p))++;
	vm_evict_first(vm, PAGES(8));
	ck_assert_uint_eq(vm_stats(vm).reclaim.written, written + dirty);
	ck_assert_uint_eq(vm_stats(vm).reclaim.clean, PAGES(8) - dirty);
	for (uint64_t p = 0; p < PAGES(8); p++)
		ck_assert_uint_eq(*vm_word(vm, p), p + 1 + (p < dirty));
	vm_free(vm, true);
}
END_TEST

/* Where most of a guest is swapped out, what it only reads still costs no write, and the
 * bookkeeping stays within its bound. Red where a slot costs as much as it did with eight bytes for
 * its sum, or where all copies go as soon as one is too many. */
START_TEST(invariant_5_reading_a_swapped_guest_writes_little)
{
	struct vm *vm = vm_new(engines[_i], NULL, 64, 16, 96);
	uint64_t written, clean, n = PAGES(52);

	for (uint64_t p = 0; p < n; p++)
		*vm_word(vm, p) = p + 1;
	for (uint64_t p = 0; p < n; p++)
		ck_assert_uint_eq(*vm_word(vm, p), p + 1);
	written = vm_stats(vm).reclaim.written;
	clean = vm_stats(vm).reclaim.clean;
	for (uint64_t i = 0; i < 3 * n; i++) {
		uint64_t p = i * 7919 % n;

		ck_assert_uint_eq(*vm_word(vm, p), p + 1);
		ck_assert_uint_le(i % 512 ? 0 : vm_stats(vm).metadata_bytes, 16 * vm->n_pages);
	}
	/* A quarter is in: three of four reads bring a page in and put another out. */
	ck_assert_uint_gt(vm_stats(vm).reclaim.clean - clean, n);
	ck_assert_uint_lt(vm_stats(vm).reclaim.written - written, n / 2);
	vm_free(vm, true);
}
END_TEST

START_TEST(invariant_5_ballooned_pages_cost_no_write)
{
	struct vm *vm = vm_new(engines[_i], NULL, 16, 16, 32);
	gmm_gfn gfns[512];

	for (uint64_t p = 0; p < 512; p++) {
		*vm_word(vm, p) = p + 1;
		gfns[p].v = p;
	}
	ck_assert_uint_eq(gmm_balloon_give(vm->balloon, gfns, 512), 512);
	ck_assert_uint_eq(gmm_balloon_bytes(vm->balloon), 2 * MIB);
	ck_assert_uint_eq(gmm_balloon_give(vm->balloon, gfns, 512), 0); /* twice is once */
	vm_evict_all(vm);
	ck_assert_uint_eq(vm_stats(vm).io.writes, 0);
	ck_assert_uint_eq(*vm_word(vm, 3), 0); /* a touch is legal and gets zeros */
	ck_assert_uint_eq(gmm_balloon_take(vm->balloon, gfns, 512), 511);
	ck_assert_uint_eq(*vm_word(vm, 4), 0);
	vm_free(vm, true);
}
END_TEST

/* ---- 6: what an I/O error costs ---- */

static sigjmp_buf touched_poison;

static void on_poison(int sig)
{
	siglongjmp(touched_poison, sig);
}

/* Reads a page's word; true if that failed as broken memory does. */
static bool touch_fails(struct vm *vm, uint64_t page)
{
	struct sigaction sa = {.sa_handler = on_poison}, old_bus, old_segv;
	volatile bool failed = false;

	sigaction(SIGBUS, &sa, &old_bus);
	sigaction(SIGSEGV, &sa, &old_segv);
	if (sigsetjmp(touched_poison, 1) == 0)
		(void)*vm_word(vm, page);
	else
		failed = true;
	sigaction(SIGBUS, &old_bus, NULL);
	sigaction(SIGSEGV, &old_segv, NULL);
	return failed;
}

START_TEST(invariant_6_a_read_error_costs_the_page_read)
{
	struct vm *vm = vm_new(engines[_i], NULL, 16, 16, 32);
	uint64_t word;

	for (uint64_t p = 0; p < PAGES(2); p++)
		*vm_word(vm, p) = p + 1;
	vm_evict_all(vm);
	vm->fail_reads = EIO;
	ck_assert(touch_fails(vm, 100));
	ck_assert_int_eq(vm_state(vm, 100), GMM_PAGE_POISONED);
	ck_assert(touch_fails(vm, 100)); /* never zeros, not the second time either */
	ck_assert_int_eq(gmm_space_read(vm->space, (gmm_gpa){100 << 12}, &word, 8), -EIO);
	vm->fail_reads = 0;
	for (int i = 0; i < 1000 && (!vm->n_poisoned || !vm->n_touched); i++)
		sleep_ms(1); /* events follow */
	ck_assert_uint_eq(vm->n_poisoned, 1);
	ck_assert_uint_ge(vm->n_touched, 1);
	ck_assert_uint_eq(vm_stats(vm).poisoned_pages, 1);
	for (uint64_t p = 0; p < PAGES(2); p++)
		if (p != 100)
			ck_assert_uint_eq(*vm_word(vm, p), p + 1);
	/* Given up by the guest, the page is as good as new. */
	ck_assert_int_eq(gmm_space_discard(vm->space, (gmm_gfn){100}, 1), 0);
	ck_assert_uint_eq(*vm_word(vm, 100), 0);
	*vm_word(vm, 100) = 7;
	ck_assert_uint_eq(*vm_word(vm, 100), 7);
	vm_free(vm, true);
}
END_TEST

static void *fill_up(void *arg)
{
	struct vm *vm = arg;

	for (uint64_t p = 0; p < vm->n_pages; p++)
		*vm_word(vm, p) = p + 1;
	return NULL;
}

/* Until the guest has touched nothing new for a second. What was prefetched for it and is still
 * zero may leave without a write, so that it comes to a stop page by page. */
static void wait_until_it_waits(struct vm *vm)
{
	uint64_t faults = 0;

	for (unsigned still = 0, i = 0; still < 10; i++) {
		uint64_t now = vm_stats(vm).faults.demand_zero;

		still = now == faults ? still + 1 : 0;
		faults = now;
		ck_assert_uint_lt(i, 600);
		sleep_ms(100);
	}
}

/* The guest waits while no page can be written, and goes on when they can; nothing is lost. */
static void write_errors_cost_nothing(enum gmm_engine engine, int error)
{
	struct vm *vm = vm_new(engine, NULL, 16, 4, 32);
	pthread_t guest;

	vm->fail_writes = error;
	pthread_create(&guest, NULL, fill_up, vm);
	for (int i = 0; i < 5000 && (vm->n_full == 0 || vm_stats(vm).resident_bytes < 3 * MIB); i++)
		sleep_ms(1);
	ck_assert_uint_gt(vm->n_full, 0);
	wait_until_it_waits(vm);
	ck_assert_int_eq(pthread_tryjoin_np(guest, NULL), EBUSY);
	ck_assert_uint_le(vm_stats(vm).resident_peak_bytes, 4 * MIB);
	ck_assert_uint_eq(vm_stats(vm).swapped_bytes, 0);
	vm->fail_writes = 0;
	pthread_join(guest, NULL);
	ck_assert_uint_gt(vm->n_usable, 0);
	for (uint64_t p = 0; p < vm->n_pages; p++)
		ck_assert_uint_eq(*vm_word(vm, p), p + 1);
	ck_assert_uint_eq(vm_stats(vm).poisoned_pages, 0);
	vm_free(vm, true);
}

START_TEST(invariant_6_enospc_costs_nothing)
{
	write_errors_cost_nothing(engines[_i], ENOSPC);
}
END_TEST

START_TEST(invariant_6_eio_on_write_costs_nothing)
{
	write_errors_cost_nothing(engines[_i], EIO);
}
END_TEST

START_TEST(invariant_6_a_full_store_goes_on_when_the_guest_gives_up_memory)
{
	struct vm *vm = vm_new(engines[_i], NULL, 16, 4, 4); /* 8 MiB for 16 */
	pthread_t guest;

	pthread_create(&guest, NULL, fill_up, vm);
	for (int i = 0; i < 10000 && vm->n_full == 0; i++)
		sleep_ms(1);
	ck_assert_uint_gt(vm->n_full, 0);
	/* The balloon takes the first half; the guest's second half then has room. */
	ck_assert_int_eq(gmm_space_discard(vm->space, (gmm_gfn){0}, vm->n_pages / 3), 0);
	sleep_ms(50);
	ck_assert_int_eq(gmm_pool_set_limit(vm->pool, 12 * MIB), 0);
	pthread_join(guest, NULL);
	for (uint64_t p = vm->n_pages / 2; p < vm->n_pages; p++)
		ck_assert_uint_eq(*vm_word(vm, p), p + 1);
	vm_free(vm, true);
}
END_TEST

/* ---- 7: what a guest says is not believed ---- */

START_TEST(invariant_7_wild_pages_do_nothing)
{
	struct vm *vm = vm_new(engines[_i], NULL, 16, 8, 32);
	const uint64_t wild[] = {vm->n_pages,	    UINT64_MAX,
				 UINT64_MAX >> 12,  (UINT64_MAX >> 12) + 1,
				 UINT64_C(1) << 52, vm->n_pages + (UINT64_C(1) << 52)};
	const unsigned n = sizeof(wild) / sizeof(wild[0]);
	gmm_gfn gfns[8];
	char byte = 1;
	void *hva;

	*vm_word(vm, 0) = 5;
	for (unsigned i = 0; i < n; i++) {
		gfns[i].v = wild[i];
		ck_assert_int_eq(gmm_space_discard(vm->space, gfns[i], 1), -EFAULT);
		ck_assert_int_eq(gmm_space_discard(vm->space, (gmm_gfn){0},
						   wild[i] + 1 ? wild[i] + 1 : wild[i]),
				 -EFAULT);
	}
	ck_assert_uint_eq(gmm_balloon_give(vm->balloon, gfns, n), 0);
	ck_assert_uint_eq(gmm_balloon_take(vm->balloon, gfns, n), 0);
	ck_assert_int_eq(gmm_space_read(vm->space, (gmm_gpa){16 * MIB}, &byte, 1), -EFAULT);
	ck_assert_int_eq(gmm_space_write(vm->space, (gmm_gpa){16 * MIB - 1}, &byte, 2), -EFAULT);
	ck_assert_int_eq(gmm_space_read(vm->space, (gmm_gpa){UINT64_MAX}, &byte, 2), -EFAULT);
	ck_assert_int_eq(gmm_space_hold(vm->space, (gmm_gpa){16 * MIB - 1}, 2, true, &hva),
			 -EFAULT);
	ck_assert_int_eq(gmm_space_hold(vm->space, (gmm_gpa){0}, 0, true, &hva), -EINVAL);
	ck_assert_int_eq(gmm_space_hold(vm->space, (gmm_gpa){0}, SIZE_MAX, true, &hva), -EINVAL);
	ck_assert_int_eq(gmm_balloon_set_target(vm->balloon, 16 * MIB), -EINVAL);
	ck_assert_int_eq(gmm_balloon_set_target(vm->balloon, UINT64_MAX), -EINVAL);
	ck_assert_uint_eq(*vm_word(vm, 0), 5);
	vm_free(vm, true);
}
END_TEST

START_TEST(invariant_7_holds_are_bounded)
{
	struct vm *vm = vm_new(engines[_i], NULL, 16, 4, 32);
	unsigned n = 0;
	void *hva;
	int ret;

	while ((ret = gmm_space_hold(vm->space, (gmm_gpa){(uint64_t)n << 12}, 4096, true, &hva)) ==
	       0)
		n++;
	ck_assert_int_eq(ret, -ENOMEM);
	ck_assert_uint_eq(n, PAGES(4) / 2);
	/* Under pressure what is held stays, and the rest goes on. */
	for (uint64_t p = 0; p < vm->n_pages; p++)
		*vm_word(vm, p) = p + 1;
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(vm_state(vm, i), GMM_PAGE_RESIDENT);
		gmm_space_release(vm->space, (gmm_gpa){(uint64_t)i << 12}, 4096);
	}
	n = 0;
	while ((ret = gmm_space_hold(vm->space, (gmm_gpa){0}, 1, false, &hva)) == 0)
		n++;
	ck_assert_int_eq(ret, -EBUSY);
	ck_assert_uint_eq(n, 255);
	while (n--)
		gmm_space_release(vm->space, (gmm_gpa){0}, 1);
	vm_free(vm, true);
}
END_TEST

UNIT_MAIN_LOOP("invariants", N_ENGINES, 120, invariant_2_limit_is_never_passed,
	       invariant_2_lowered_limit_is_met_while_the_guest_runs,
	       invariant_3_frames_cross_between_vms_only_zeroed, invariant_4_no_write_is_lost,
	       invariant_4_hammered_pages_lose_nothing, invariant_5_zero_pages_cost_no_write,
	       invariant_5_clean_pages_cost_no_write,
	       invariant_5_reading_a_swapped_guest_writes_little,
	       invariant_5_ballooned_pages_cost_no_write,
	       invariant_6_a_read_error_costs_the_page_read, invariant_6_enospc_costs_nothing,
	       invariant_6_eio_on_write_costs_nothing,
	       invariant_6_a_full_store_goes_on_when_the_guest_gives_up_memory,
	       invariant_7_wild_pages_do_nothing, invariant_7_holds_are_bounded)
