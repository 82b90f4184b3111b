/* What went wrong once under pressure: stores that fail and get well, holds, short hosts. */
#include "vm.h"

#include <pthread.h>
#include <sys/resource.h>

static void *touch_all(void *arg)
{
	struct vm *vm = arg;

	for (uint64_t p = 0; p < vm->n_pages; p++)
		*vm_word(vm, p) = p + 1;
	return NULL;
}

static void vm_verify(struct vm *vm)
{
	for (uint64_t p = 0; p < vm->n_pages; p++)
		ck_assert_uint_eq(*vm_word(vm, p), p + 1);
}

/* More is staged than frames are wanted when writes begin to fail: the store must be tried all
 * the same once it is well again. */
START_TEST(a_store_that_heals_is_found_out)
{
	struct vm *vm = vm_new(engines[_i], NULL, 16, 4, 32);
	pthread_t guest;

	for (uint64_t p = 0; p < PAGES(3); p++)
		*vm_word(vm, p) = p + 1;
	vm->fail_writes = ENOSPC;
	gmm_space_reclaim(vm->space, 256);
	pthread_create(&guest, NULL, touch_all, vm);
	for (int i = 0; i < 3000 && !vm->n_full; i++)
		sleep_ms(1);
	ck_assert_uint_gt(vm->n_full, 0);
	sleep_ms(50);
	vm->fail_writes = 0;
	pthread_join(guest, NULL); /* the case's time limit tells a hang */
	vm_verify(vm);
	vm_free(vm, true);
}
END_TEST

static uint64_t cpu_ms(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

START_TEST(a_blocked_store_costs_no_cpu_while_nothing_is_needed)
{
	struct vm *vm = vm_new(engines[_i], NULL, 16, 8, 0);
	pthread_t guest;
	uint64_t before;

	pthread_create(&guest, NULL, touch_all, vm); /* waits: there is no swap at all */
	for (int i = 0; i < 5000 && !vm->n_full; i++)
		sleep_ms(1);
	ck_assert_uint_gt(vm->n_full, 0);
	ck_assert_int_eq(gmm_pool_set_limit(vm->pool, 64 * MIB), 0);
	pthread_join(guest, NULL);
	sleep_ms(100);
	before = cpu_ms();
	sleep_ms(1000);
	ck_assert_uint_lt(cpu_ms() - before, 300);
	vm_free(vm, true);
}
END_TEST

START_TEST(reclaim_takes_all_that_it_was_asked_for)
{
	struct vm *vm = vm_new(engines[_i], NULL, 64, 64, 128);

	touch_all(vm);
	ck_assert_int_eq(gmm_space_reclaim(vm->space, vm->n_pages - 100), 0);
	for (int i = 0; i < 10000 && vm_stats(vm).resident_bytes > 4 * MIB; i++)
		sleep_ms(1);
	ck_assert_uint_le(vm_stats(vm).resident_bytes, 4 * MIB);
	vm_verify(vm);
	vm_free(vm, true);
}
END_TEST

/* What comes back while it is at work stays. */
START_TEST(reclaim_takes_no_more_than_was_there)
{
	struct vm *vm = vm_new(engines[_i], NULL, 16, 32, 64);
	uint64_t used;

	touch_all(vm);
	used = vm_stats(vm).resident_bytes >> 12;
	ck_assert_int_eq(gmm_space_reclaim(vm->space, UINT64_MAX), 0);
	for (int i = 0; i < 50; i++) {
		vm_verify(vm);
		sleep_ms(5);
	}
	ck_assert_uint_gt(vm_stats(vm).reclaim.evicted, 0);
	ck_assert_uint_le(vm_stats(vm).reclaim.evicted, used);
	vm_free(vm, true);
}
END_TEST

static uint64_t n_host_faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)u.ru_minflt;
}

/* What is asked for goes to the host, but not the frames that the next first touches take: they
 * would be made, a batch for each touch, and handed over at once, again and again. */
START_TEST(reclaim_leaves_frames_for_first_touches)
{
	const uint64_t n_touches = 1000, n_filled = PAGES(32);
	struct vm *vm = vm_new(engines[_i], NULL, 64, 64, 128);
	uint64_t before;

	for (uint64_t p = 0; p < n_filled; p++)
		*vm_word(vm, p) = p + 1;
	before = n_host_faults();
	ck_assert_int_eq(gmm_space_reclaim(vm->space, n_filled), 0);
	for (uint64_t i = 0; i < n_touches; i++) /* in no order, and none is another's neighbour */
		*vm_word(vm, n_filled + i * 1021 % 2048 * 4) = i;
	ck_assert_uint_ge(vm_stats(vm).faults.demand_zero, n_touches);
	ck_assert_uint_lt(n_host_faults() - before, 8 * n_touches);
	vm_free(vm, true);
}
END_TEST

struct toucher {
	struct vm *vm;
	uint64_t page;
	pthread_t thread;
	atomic_bool done;
};

static void *touch_one(void *arg)
{
	struct toucher *t = arg;

	*vm_word(t->vm, t->page) = t->page + 1;
	t->done = true;
	return NULL;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Dispatches by hand while a fault waits, and once more: how much left by each of them. False: the
 * fault came late, or it took so long that nobody counts as faulting any more. */
static bool fault_beside_reclaim(struct vm *vm, uint64_t page, uint64_t *first, uint64_t *second)
{
	struct toucher t = {.vm = vm, .page = page};
	uint64_t touches = vm_stats(vm).faults.demand_zero, begun;
	bool served;

	pthread_create(&t.thread, NULL, touch_one, &t);
	sleep_ms(10);
	begun = now_ms();
	*first = vm_stats(vm).reclaim.evicted;
	gmm_space_dispatch(vm->space);
	*second = vm_stats(vm).reclaim.evicted;
	*first = *second - *first;
	served = vm_stats(vm).faults.demand_zero > touches;
	gmm_space_dispatch(vm->space);
	*second = vm_stats(vm).reclaim.evicted - *second;
	begun = now_ms() - begun;
	do /* its page may have left again; and nothing stays put off */
		gmm_space_dispatch(vm->space);
	while (!t.done);
	pthread_join(t.thread, NULL);
	return served && begun < 5;
}

/* Asked for memory, with frames enough: whoever is served goes first, and then little is taken at a
 * time. */
START_TEST(reclaim_ahead_of_need_lets_faults_by)
{
	uint64_t first = 0, second = 0, n_seen = 0, n_by = 0, n_left = 0;

	for (unsigned i = 0; i < 30 && n_seen < 5; i++) {
		struct vm *vm = vm_new(engines[_i], NULL, 16, 32, 32);

		for (uint64_t p = 0; p < PAGES(8); p++) /* in no order: no huge pages */
			*vm_word(vm, p * 1021 % PAGES(8)) = p;
		vm->worker = gmm_worker_free(vm->worker);
		gmm_space_dispatch(vm->space); /* what was put off */
		ck_assert_int_eq(gmm_space_reclaim(vm->space, PAGES(4)), 0);
		if (fault_beside_reclaim(vm, PAGES(12), &first, &second)) {
			n_seen++;
			n_by += first == 0;
			n_left += second;
			ck_assert_uint_le(second, 16);
		}
		vm_free(vm, true);
	}
	ck_assert_uint_gt(n_seen, 0);
	/* Where the kernel is short (-EAGAIN) the fault waits, and then reclaim is urgent. */
	ck_assert_uint_gt(n_by, n_seen / 2);
	ck_assert_uint_gt(n_left, 0);
}
END_TEST

START_TEST(a_host_short_of_memory_costs_no_page)
{
	struct vm *vm = vm_new(engines[_i], NULL, 16, 16, 32);
	pthread_t guest;

	touch_all(vm);
	vm_evict_all(vm);
	vm->fail_reads = ENOMEM;
	pthread_create(&guest, NULL, touch_all, vm);
	sleep_ms(200);
	vm->fail_reads = 0;
	pthread_join(guest, NULL);
	vm_verify(vm);
	ck_assert_uint_eq(vm->n_poisoned, 0);
	vm_free(vm, true);
}
END_TEST

/* Two spaces that may each hold half of what they share would together hold all of it. */
START_TEST(spaces_on_a_pool_share_what_may_be_held)
{
	struct gmm_pool_config config = {.size = sizeof(config), .limit_bytes = 4 * MIB};
	struct gmm_pool *pool;
	struct vm *vms[2];
	unsigned n = 0;
	void *hva;

	ck_assert_int_eq(gmm_pool_new(&config, &pool), 0);
	for (int i = 0; i < 2; i++)
		vms[i] = vm_new(engines[_i], pool, 16, 0, 32);
	for (int i = 0; i < 2; i++)
		for (uint64_t p = 0;
		     gmm_space_hold(vms[i]->space, (gmm_gpa){p << 12}, 4096, true, &hva) == 0; p++)
			n++;
	ck_assert_uint_eq(n, PAGES(4) / 2);
	for (uint64_t p = 0; p < vms[1]->n_pages; p++)
		*vm_word(vms[1], p) = p + 1;
	vm_verify(vms[1]);
	for (uint64_t p = 0; p < n; p++)
		gmm_space_release(vms[0]->space, (gmm_gpa){p << 12}, 4096);
	for (int i = 0; i < 2; i++)
		vm_free(vms[i], false);
	gmm_pool_free(pool);
}
END_TEST

/* Half of the limit held must not make the other half slow. */
START_TEST(held_pages_are_passed_by)
{
	struct vm *vm = vm_new(engines[_i], NULL, 64, 32, 128);
	struct gmm_stats stats = {.size = sizeof(stats)};
	void *hva;

	for (uint64_t p = 0; p < PAGES(16); p++)
		ck_assert_int_eq(gmm_space_hold(vm->space, (gmm_gpa){p << 12}, 4096, true, &hva),
				 0);
	touch_all(vm);
	stats = vm_stats(vm);
	ck_assert_uint_lt(stats.stall_some_ns, UINT64_C(5000000000));
	for (uint64_t p = 0; p < PAGES(16); p++)
		gmm_space_release(vm->space, (gmm_gpa){p << 12}, 4096);
	vm_verify(vm);
	vm_free(vm, true);
}
END_TEST

UNIT_MAIN_LOOP("pressure", N_ENGINES, 60, a_store_that_heals_is_found_out,
	       a_blocked_store_costs_no_cpu_while_nothing_is_needed,
	       reclaim_takes_all_that_it_was_asked_for, reclaim_takes_no_more_than_was_there,
	       reclaim_leaves_frames_for_first_touches, reclaim_ahead_of_need_lets_faults_by,
	       a_host_short_of_memory_costs_no_page, spaces_on_a_pool_share_what_may_be_held,
	       held_pages_are_passed_by)
