/* The verdict on thrashing: when it begins, when it ends, and how much memory it asks for. */
#include "thrash.h"

#include "unit.h"

#define SECOND UINT64_C(1000000000)
#define LIMIT  6400u

static struct thrash t;
static uint64_t now, some;

static void begin(void)
{
	now = 77 * SECOND;
	some = 0;
	thrash_init(&t, now, LIMIT);
}

/* Seconds in which `percent` of the time was waited, and n pages a second came back. */
static void pass(unsigned seconds, unsigned percent, unsigned n, uint64_t n_evictions)
{
	for (unsigned i = 0; i < seconds; i++) {
		for (unsigned k = 0; k < n; k++)
			thrash_came_back(&t, n_evictions, LIMIT);
		now += SECOND;
		some += SECOND * percent / 100;
		thrash_update(&t, now, some);
	}
}

START_TEST(waiting_for_what_was_there_is_thrashing)
{
	begin();
	pass(10, 10, 1000, 300);
	ck_assert(!t.is_on);
	ck_assert_uint_eq(t.stalled_permille, 100);
	pass(10, 63, 4100, 300);
	ck_assert(t.is_on);
	ck_assert_uint_eq(t.stalled_permille, 630);
	ck_assert_uint_eq(t.window_refaults, 41000);
	ck_assert_uint_eq(t.window_ns, 10 * SECOND);
	pass(4, 63, 4100, 300);
	ck_assert_uint_ge(t.total_ns, 4 * SECOND);
}
END_TEST

START_TEST(it_ends_late_and_surely)
{
	begin();
	pass(10, 50, 100, 300);
	ck_assert(t.is_on);
	pass(20, 30, 100, 300); /* less than it began with, more than it ends with */
	ck_assert(t.is_on);
	pass(10, 15, 100, 300);
	ck_assert(!t.is_on);
	ck_assert_uint_eq(t.more_pages, 0);
	ck_assert_uint_gt(t.most_more_pages, 0);
	pass(20, 30, 100, 300);
	ck_assert(!t.is_on);
}
END_TEST

/* Twenty seconds of it, and at no time is it called thrashing. */
static void never(unsigned percent, unsigned n, uint64_t n_evictions)
{
	begin();
	for (unsigned i = 0; i < 20; i++) {
		pass(1, percent, n, n_evictions);
		ck_assert(!t.is_on);
	}
}

START_TEST(other_waiting_is_not)
{
	never(90, 1000, 10 * LIMIT); /* what was away for long */
	never(90, 1000, UINT64_MAX); /* what was never here */
	never(90, 0, 0);	     /* nothing comes back: swap is full */
	never(5, 100000, 10);	     /* a fast store */
}
END_TEST

/* All pages come back after 1000 evictions: with fewer frames more than that nothing is gained. */
START_TEST(how_much_more)
{
	begin();
	pass(20, 80, 1000, 1000);
	ck_assert(t.is_on);
	ck_assert_uint_gt(t.more_pages, 1000);
	ck_assert_uint_le(t.more_pages, 1000 + t.step_pages);
	/* Half after 500, half after 3000. Of waiting at 40 % half may stay. */
	begin();
	for (unsigned i = 0; i < 40; i++)
		pass(1, 41, 100, i % 2 ? 500 : 3000);
	ck_assert(t.is_on);
	ck_assert_uint_gt(t.more_pages, 500);
	ck_assert_uint_le(t.more_pages, 3000 + t.step_pages);
	/* Of waiting at 90 % only 22 % may stay: the late half is needed, too. */
	begin();
	for (unsigned i = 0; i < 40; i++)
		pass(1, 90, 100, i % 2 ? 500 : 3000);
	ck_assert_uint_gt(t.more_pages, 3000);
	ck_assert_uint_le(t.more_pages, 3000 + t.step_pages);
}
END_TEST

/* Nobody asked for a minute: what was before does not count. */
START_TEST(long_silence)
{
	begin();
	pass(10, 90, 1000, 300);
	ck_assert(t.is_on);
	now += 60 * SECOND;
	thrash_update(&t, now, some);
	ck_assert(!t.is_on);
	ck_assert_uint_eq(t.stalled_permille, 0);
}
END_TEST

UNIT_MAIN("thrash", waiting_for_what_was_there_is_thrashing, it_ends_late_and_surely,
	  other_waiting_is_not, how_much_more, long_silence)
