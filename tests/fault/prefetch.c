/* Pages that are read ahead, and what they must not do: block a fault, keep a frame that is needed,
 * lose a page, be counted as what they are not. Both engines.
 */
#include <check.h>
#include <errno.h>
#include <guestmm/guestmm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "gate.h"
#include "vm.h"

static uint64_t content(uint64_t p)
{
	return p * 2654435761u + 1;
}

static void fill(struct vm *vm, uint64_t from, uint64_t n)
{
	for (uint64_t p = from; p < from + n; p++)
		*vm_word(vm, p) = content(p);
}

static void check_page(struct vm *vm, uint64_t p)
{
	ck_assert_msg(*vm_word(vm, p) == content(p), "page %lu has lost its content", p);
}

/* How many pages were read because they were touched, since `before`. Touches of pages that were on
 * their way are none: how many there are depends on the disk. */
static int64_t n_asked_for(struct vm *vm, const struct gmm_stats *before)
{
	struct gmm_stats now = vm_stats(vm);

	return (int64_t)((now.io.read_bytes - before->io.read_bytes) / 4096) -
	       (int64_t)(now.faults.read_ahead - before->faults.read_ahead);
}

/* Reads n pages from `from` on at a stride; returns how many were read because of that. */
static int64_t walk(struct vm *vm, uint64_t from, uint64_t n, int stride)
{
	struct gmm_stats before = vm_stats(vm);

	for (uint64_t i = 0; i < n; i++)
		check_page(vm, from + (uint64_t)((int64_t)i * stride));
	return n_asked_for(vm, &before);
}

/* In order, backward, by a stride: a few faults find the way, and each window takes one. */
START_TEST(streams_are_read_ahead)
{
	static const int strides[] = {1, -1, 3};

	for (unsigned k = 0; k < 3; k++) {
		struct vm *vm = vm_new(engines[_i], NULL, 32, 32, 64);
		uint64_t n = PAGES(8), from = strides[k] < 0 ? PAGES(8) - 1 : 0;
		struct gmm_stats stats;

		fill(vm, 0, PAGES(24));
		vm_evict_all(vm);
		ck_assert_int_le(walk(vm, from, n, strides[k]), 12 + (int64_t)n / 48);
		stats = vm_stats(vm);
		ck_assert_uint_ge(stats.faults.read_ahead, n - 12 - n / 48);
		ck_assert_uint_ge(stats.faults.prefetch_used, n * 7 / 8);
		ck_assert_uint_eq(stats.faults.prefetch_wasted, 0);
		vm_free(vm, true);
	}
}
END_TEST

static uint64_t n_swapped(struct vm *vm, uint64_t from, uint64_t n)
{
	uint64_t n_found = 0;

	for (uint64_t p = from; p < from + n; p++)
		n_found += vm_state(vm, p) == GMM_PAGE_SWAPPED;
	return n_found;
}

/* The same where the guest has come by in no order before, and two of three are there: touches of
 * these are not seen, and the distances between the others show no stride. */
START_TEST(order_is_read_ahead_where_a_part_is_there)
{
	static const int steps[] = {1, -1};

	for (unsigned k = 0; k < 2; k++) {
		struct vm *vm = vm_new(engines[_i], NULL, 32, 32, 64);
		uint64_t n = PAGES(8), n_absent;

		fill(vm, 0, PAGES(24));
		vm_evict_all(vm);
		for (uint64_t i = 0; i < n; i++)
			if (content(scattered(i, n)) / 64 % 3)
				check_page(vm, scattered(i, n));
		n_absent = n_swapped(vm, 0, n);
		ck_assert_uint_gt(n_absent, n / 5);
		ck_assert_int_le(walk(vm, steps[k] > 0 ? 0 : n - 1, n, steps[k]),
				 12 + (int64_t)n_absent / 24);
		vm_free(vm, true);
	}
}
END_TEST

/* What follows a block of 2 MiB in physical memory is another program's as likely as not: it is
 * left alone until order was seen to go on there. */
START_TEST(another_block_is_read_ahead_once_order_has_gone_on_in_one)
{
	struct vm *vm = vm_new(engines[_i], NULL, 32, 32, 64);
	uint64_t n = PAGES(2);

	fill(vm, 0, PAGES(24));
	vm_evict_first(vm, PAGES(24));
	walk(vm, 0, n, 1);
	ck_assert_uint_eq(n_swapped(vm, 0, n), 0);
	ck_assert_uint_eq(n_swapped(vm, n, n), n);
	walk(vm, n, n, 1);
	ck_assert_uint_eq(n_swapped(vm, n, n), 0);
	ck_assert_uint_lt(n_swapped(vm, 2 * n, n), n);
	vm_free(vm, true);
}
END_TEST

/* Several at once, with a limit that makes what was read leave again. */
START_TEST(streams_at_once_are_read_ahead)
{
	struct vm *vm = vm_new(engines[_i], NULL, 64, 16, 96);
	uint64_t n = PAGES(6);
	struct gmm_stats before, stats;

	fill(vm, 0, PAGES(48));
	vm_evict_all(vm);
	before = vm_stats(vm);
	for (uint64_t i = 0; i < n; i++)
		for (uint64_t k = 0; k < 8; k++)
			check_page(vm, k * n + i);
	stats = vm_stats(vm);
	ck_assert_int_le(n_asked_for(vm, &before), 2 * (int64_t)n); /* a quarter */
	ck_assert_uint_le(stats.faults.prefetch_wasted, 2 * n);
	ck_assert_uint_le(stats.resident_peak_bytes, 16 * MIB);
	vm_free(vm, true);
}
END_TEST

/* Nobody comes for what was read ahead: it is told, and it does not go on for ever. */
START_TEST(waste_is_counted)
{
	struct vm *vm = vm_new(engines[_i], NULL, 64, 64, 96);
	struct gmm_stats stats;

	fill(vm, 0, PAGES(48));
	vm_evict_all(vm);
	for (uint64_t p = 0; p < PAGES(48); p += 200) /* two pages in order, then elsewhere */
		walk(vm, p, 2, 1);
	for (int i = 0; i < 5000; i++) { /* until all that came in has left again */
		gmm_space_reclaim(vm->space, vm->n_pages);
		stats = vm_stats(vm);
		if (stats.faults.read_ahead ==
		    stats.faults.prefetch_wasted + stats.faults.prefetch_used)
			break;
		sleep_ms(1);
	}
	ck_assert_uint_gt(stats.faults.prefetch_wasted, 10);
	ck_assert_uint_eq(stats.faults.prefetch_wasted + stats.faults.prefetch_used,
			  stats.faults.read_ahead);
	ck_assert_uint_le(stats.faults.prefetch_wasted, PAGES(48) / 200 * 2);
	vm_free(vm, true);
}
END_TEST

/* ---- With a gate ---- */

struct gated {
	struct vm vm;
	struct gate *gate;
};

/* PAGES(8) in the store, the rest never touched. */
static struct gated *gated_new(enum gmm_engine engine)
{
	struct gated *g = calloc(1, sizeof(*g));

	g->gate = gate_new();
	vm_make(&g->vm, engine, NULL, 32, 16, &g->gate->base);
	fill(&g->vm, 0, PAGES(8));
	vm_evict_all(&g->vm);
	return g;
}

static void gated_free(struct gated *g)
{
	vm_free(&g->vm, true); /* frees g: the machine is its first member */
}

static void wait_held(struct gated *g, unsigned n)
{
	for (int i = 0; i < 5000 && g->gate->n_held < n; i++)
		sleep_ms(1);
	ck_assert_uint_ge(g->gate->n_held, n);
}

/* A thread that reads a page, and then, when it may, the next one. */
struct toucher {
	struct vm *vm;
	uint64_t page;
	atomic_uint n_may, n_done;
	pthread_t thread;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	for (unsigned i = 0; i < 2; i++) {
		while (t->n_may <= i)
			sleep_ms(1);
		check_page(t->vm, t->page + i);
		t->n_done++;
	}
	return NULL;
}

static void toucher_start(struct toucher *t, struct vm *vm, uint64_t page)
{
	*t = (struct toucher){.vm = vm, .page = page, .n_may = 1};
	ck_assert_int_eq(pthread_create(&t->thread, NULL, touch, t), 0);
}

static void toucher_end(struct toucher *t)
{
	t->n_may = 2;
	pthread_join(t->thread, NULL);
}

/* Reads are held before their pages' states are changed. */
static void wait_filling(struct gated *g, uint64_t page)
{
	for (int i = 0; i < 5000 && vm_state(&g->vm, page) != GMM_PAGE_FILLING; i++)
		sleep_ms(1);
	ck_assert_int_eq(vm_state(&g->vm, page), GMM_PAGE_FILLING);
}

/* Two pages in order: the second is at the gate, and so is a guess at the third, page + 2. */
static void guess(struct gated *g, struct toucher *t, uint64_t page)
{
	toucher_start(t, &g->vm, page);
	while (t->n_done == 0)
		sleep_ms(1);
	gate_shut(g->gate);
	t->n_may = 2;
	wait_held(g, 2);
	wait_filling(g, page + 1);
	wait_filling(g, page + 2);
}

/* A read that takes for ever: other pages come and go meanwhile. */
START_TEST(nothing_waits_behind_a_read)
{
	struct gated *g = gated_new(engines[_i]);
	struct vm *vm = &g->vm;
	struct toucher t;
	struct gmm_stats before = vm_stats(vm);
	uint64_t p;
	void *hva;

	gate_shut(g->gate);
	toucher_start(&t, vm, 700);
	wait_held(g, 1);
	fill(vm, PAGES(12), PAGES(4)); /* first touches */
	ck_assert_int_eq(gmm_space_hold(vm->space, (gmm_gpa){PAGES(10) << 12}, 4096, true, &hva),
			 0);
	gmm_space_release(vm->space, (gmm_gpa){PAGES(10) << 12}, 4096);
	fill(vm, PAGES(16), PAGES(16)); /* evictions and writes: 16 MiB are all there is */
	ck_assert_uint_gt(vm_stats(vm).reclaim.written, before.reclaim.written + PAGES(1));
	for (p = PAGES(12); p < PAGES(32) && vm_state(vm, p) != GMM_PAGE_EVICTING; p++)
		;
	ck_assert_uint_lt(p, PAGES(32));
	check_page(vm, p); /* a rescue, unless it left meanwhile */
	ck_assert_uint_eq(t.n_done, 0);
	ck_assert_int_eq(vm_state(vm, 700), GMM_PAGE_FILLING);
	gate_open(g->gate);
	toucher_end(&t);
	gated_free(g);
}
END_TEST

/* Of what is at the gate, that which somebody waits for came first. */
START_TEST(a_guess_is_submitted_behind_what_is_waited_for)
{
	struct gated *g = gated_new(engines[_i]);
	struct toucher t;

	guess(g, &t, 100);
	ck_assert_ptr_null(g->gate->reads->next->next);
	ck_assert_uint_eq(((uint64_t *)g->gate->pages[g->gate->reads->next->slot])[101],
			  content(101));
	gate_open(g->gate);
	toucher_end(&t);
	ck_assert_uint_eq(vm_stats(&g->vm).faults.read_ahead, 1);
	gated_free(g);
}
END_TEST

/* Dropped by the guest while it is read ahead, a page reads as zero. */
START_TEST(a_guess_may_be_discarded)
{
	struct gated *g = gated_new(engines[_i]);
	struct toucher t;

	guess(g, &t, 100);
	ck_assert_int_eq(gmm_space_discard(g->vm.space, (gmm_gfn){102}, 1), 0);
	gate_open(g->gate);
	toucher_end(&t);
	ck_assert_uint_eq(*vm_word(&g->vm, 102), 0);
	gated_free(g);
}
END_TEST

/* Where a limit is reached and a stream would like 63 pages and more at a time, it gets a share of
 * the frames that are free just then. */
START_TEST(little_is_read_ahead_where_frames_are_short)
{
	struct gated *g = gated_new(engines[_i]);

	ck_assert_int_eq(gmm_pool_set_limit(g->vm.pool, 2 * MIB), 0);
	walk(&g->vm, 0, PAGES(1), 1);
	g->gate->n_most = 0;
	walk(&g->vm, PAGES(1), PAGES(7), 1);
	ck_assert_uint_ge(g->gate->n_most, 4);
	ck_assert_uint_le(g->gate->n_most, PAGES(2) / 10);
	ck_assert_uint_eq(vm_stats(&g->vm).limit_bytes, 2 * MIB);
	ck_assert_uint_le(vm_stats(&g->vm).resident_bytes, 2 * MIB);
	gated_free(g);
}
END_TEST

UNIT_MAIN_LOOP("prefetch", N_ENGINES, 60, streams_are_read_ahead,
	       order_is_read_ahead_where_a_part_is_there,
	       another_block_is_read_ahead_once_order_has_gone_on_in_one,
	       streams_at_once_are_read_ahead, waste_is_counted, nothing_waits_behind_a_read,
	       a_guess_is_submitted_behind_what_is_waited_for, a_guess_may_be_discarded,
	       little_is_read_ahead_where_frames_are_short)
