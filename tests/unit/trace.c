/* Traces: what a change of a page's state is recorded as, order, and what is lost. */
#include "trace.h"

#include <errno.h>
#include <pthread.h>

#include "layout.h"
#include "unit.h"

static struct layout layout = {
	.n_regions = 2,
	.regions = {{.gpa = 0x100000, .bytes = 16 << GMM_PAGE_SHIFT, .first = 0},
		    {.gpa = 0x40000000, .bytes = 16 << GMM_PAGE_SHIFT, .first = 16}}};

static struct gmm_trace *make(uint32_t n)
{
	struct gmm_trace *t;

	ck_assert_int_eq(gmm_trace_new(n, &t), 0);
	trace_begin(t, &layout);
	return t;
}

static void expect(struct gmm_trace *t, uint64_t gfn, enum gmm_trace_kind kind)
{
	struct gmm_trace_record r;

	ck_assert_uint_eq(gmm_trace_read(t, &r, 1), 1);
	ck_assert_uint_eq(gmm_trace_kind(r), kind);
	ck_assert_uint_eq(gmm_trace_gfn(r), gfn);
}

static page_word word(enum gmm_page_state state, uint64_t payload, unsigned flags)
{
	return page_with_flags(page_make(state, payload), flags);
}

/* A page's life, through the table of pages as the library does it. */
START_TEST(changes_of_state_are_told)
{
	struct page_table pages;
	struct gmm_trace *t = make(0);
	static const struct {
		enum gmm_page_state to;
		uint64_t payload;
		unsigned flags, kind;
	} steps[] = {
		{GMM_PAGE_FILLING, GMM_SLOT_NONE, 0, 0},
		{GMM_PAGE_RESIDENT, GMM_SLOT_NONE, 0, GMM_TRACE_FIRST_TOUCH},
		{GMM_PAGE_EVICTING, 3, 0, GMM_TRACE_EVICT},
		{GMM_PAGE_RESIDENT, GMM_SLOT_NONE, PAGE_HOT, GMM_TRACE_RESCUE},
		{GMM_PAGE_EVICTING, 3, 0, GMM_TRACE_EVICT},
		{GMM_PAGE_RESIDENT, GMM_SLOT_NONE, 0, GMM_TRACE_PREFETCH}, /* put back */
		{GMM_PAGE_EVICTING, 3, 0, GMM_TRACE_EVICT},
		{GMM_PAGE_SWAPPED, 7, 0, 0},
		{GMM_PAGE_FILLING, 9, 0, 0},
		{GMM_PAGE_RESIDENT, 7, PAGE_HOT, GMM_TRACE_SWAP_IN},
		{GMM_PAGE_SWAPPED, 7, 0, GMM_TRACE_EVICT}, /* clean */
		{GMM_PAGE_FILLING, 9, 0, 0},
		{GMM_PAGE_RESIDENT, 7, PAGE_PREFETCHED, GMM_TRACE_PREFETCH},
		{GMM_PAGE_EMPTY, 0, 0, GMM_TRACE_DISCARD},
		{GMM_PAGE_FILLING, GMM_SLOT_NONE, 0, 0},
		{GMM_PAGE_RESIDENT, GMM_SLOT_NONE, PAGE_PREFETCHED, GMM_TRACE_FILL_AHEAD},
		{GMM_PAGE_BALLOONED, 0, 0, GMM_TRACE_DISCARD},
		{GMM_PAGE_EMPTY, 0, 0, 0},
		{GMM_PAGE_BALLOONED, 0, 0, 0},
	};

	ck_assert_int_eq(page_table_init(&pages, 32), 0);
	ck_assert_int_eq(page_table_grow(&pages, 32, GMM_PAGE_EMPTY), 0);
	pages.trace = t;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct gmm_trace_record none;

		page_change(&pages, 17, page_get(&pages, 17),
			    word(steps[i].to, steps[i].payload, steps[i].flags));
		if (steps[i].kind)
			expect(t, 0x40001, (enum gmm_trace_kind)steps[i].kind);
		ck_assert_uint_eq(gmm_trace_read(t, &none, 1), 0);
	}
	/* Flags and holds change nothing that is of interest. */
	page_change_run(&pages, 2, 3, word(GMM_PAGE_FILLING, GMM_SLOT_NONE, 0));
	page_change_run(&pages, 2, 3, word(GMM_PAGE_RESIDENT, GMM_SLOT_NONE, 0));
	page_change(&pages, 3, page_get(&pages, 3), page_with_holds(page_get(&pages, 3), 1));
	trace_first_touch(t, 4);
	for (uint64_t gfn = 0x102; gfn <= 0x104; gfn++)
		expect(t, gfn, GMM_TRACE_FILL_AHEAD);
	expect(t, 0x104, GMM_TRACE_FIRST_TOUCH);
	ck_assert_uint_eq(gmm_trace_lost(t), 0);
	page_table_fini(&pages);
	gmm_trace_free(t);
}
END_TEST

START_TEST(what_does_not_fit_is_counted_and_told)
{
	struct gmm_trace *t = make(4);
	struct gmm_trace_record r[4];

	for (unsigned i = 0; i < 7; i++)
		trace_first_touch(t, i);
	ck_assert_uint_eq(gmm_trace_lost(t), 3);
	expect(t, 0x100, GMM_TRACE_FIRST_TOUCH);
	trace_first_touch(t, 7); /* no room for it and for what tells of the others */
	expect(t, 0x101, GMM_TRACE_FIRST_TOUCH);
	trace_first_touch(t, 8);
	ck_assert_uint_eq(gmm_trace_lost(t), 4);
	ck_assert_uint_eq(gmm_trace_read(t, r, 4), 4);
	ck_assert_uint_eq(gmm_trace_gfn(r[1]), 0x103);
	ck_assert_uint_eq(gmm_trace_kind(r[2]), GMM_TRACE_LOST);
	ck_assert_uint_eq(gmm_trace_gfn(r[2]), 4);
	ck_assert_uint_eq(gmm_trace_gfn(r[3]), 0x108);
	ck_assert_int_ge(r[3].time_ns - r[0].time_ns, 0);
	ck_assert_ptr_null(gmm_trace_free(t));
	ck_assert_int_eq(gmm_trace_new(UINT32_MAX, &t), -EINVAL);
	ck_assert_ptr_null(gmm_trace_free(NULL));
}
END_TEST

enum { N_PUT = 300000 };

static void *put_all(void *arg)
{
	for (unsigned i = 0; i < N_PUT; i++)
		trace_first_touch(arg, i % 32);
	return NULL;
}

/* One puts in, one takes out: what comes out, and what is told to be missing, is all there was. */
START_TEST(two_threads)
{
	struct gmm_trace *t = make(1000);
	struct gmm_trace_record r[64];
	uint64_t n_seen = 0, at = 0;
	pthread_t thread;
	bool ended = false;

	ck_assert_int_eq(pthread_create(&thread, NULL, put_all, t), 0);
	for (;;) {
		uint32_t n = gmm_trace_read(t, r, 64);

		for (uint32_t i = 0; i < n; i++) {
			uint64_t page = at % 32;

			if (gmm_trace_kind(r[i]) == GMM_TRACE_LOST) {
				at += gmm_trace_gfn(r[i]);
				continue;
			}
			page = at++ % 32;
			if (gmm_trace_gfn(r[i]) != (page < 16 ? 0x100 : 0x40000 - 16) + page)
				ck_abort_msg("record %lu", (unsigned long)at);
			n_seen++;
		}
		if (n == 0 && ended)
			break;
		if (n == 0)
			ended = pthread_tryjoin_np(thread, NULL) == 0;
	}
	ck_assert_uint_eq(n_seen + gmm_trace_lost(t), N_PUT);
	gmm_trace_free(t);
}
END_TEST

UNIT_MAIN("trace", changes_of_state_are_told, what_does_not_fit_is_counted_and_told, two_threads)
