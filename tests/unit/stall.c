/* Stall accounting: totals exact, averages as the kernel's PSI has them. */
#include <check.h>
#include <math.h>

#include "stall.h"
#include "unit.h"

#define S UINT64_C(1000000000)

START_TEST(some_and_full)
{
	struct stall s;

	stall_init(&s, 2, 10 * S);
	stall_change(&s, 11 * S, 1);  /* one of two waits */
	stall_change(&s, 13 * S, 1);  /* both */
	stall_change(&s, 14 * S, -1); /* one */
	stall_change(&s, 20 * S, -1);
	stall_update(&s, 30 * S);
	ck_assert_uint_eq(s.some_ns, 9 * S);
	ck_assert_uint_eq(s.full_ns, 1 * S);
}
END_TEST

START_TEST(more_waiters_than_vcpus_is_full)
{
	struct stall s;

	stall_init(&s, 0, 0); /* 0 means one */
	stall_change(&s, 0, 3);
	stall_change(&s, 5 * S, -5); /* never below none */
	stall_update(&s, 9 * S);
	ck_assert_uint_eq(s.some_ns, 5 * S);
	ck_assert_uint_eq(s.full_ns, 5 * S);
	ck_assert_uint_eq(s.n_waiting, 0);
}
END_TEST

START_TEST(averages_approach_the_share)
{
	struct stall s;

	stall_init(&s, 1, 0);
	for (uint64_t t = 0; t < 100; t++) { /* a quarter of the time */
		stall_change(&s, t * 4 * S, 1);
		stall_change(&s, t * 4 * S + S, -1);
		stall_update(&s, t * 4 * S + 4 * S);
	}
	ck_assert_double_eq_tol(s.some_avg[0], 25, 0.1);
	ck_assert_double_eq_tol(s.some_avg[1], 25, 0.3);
	/* 400 s of an average over 300 s: 25 % * (1 - exp(-400/300)) */
	ck_assert_double_eq_tol(s.some_avg[2], 25 * (1 - exp(-400.0 / 300)), 0.2);
	stall_update(&s, 400 * S + 60 * S);
	ck_assert_double_lt(s.some_avg[0], 0.1);
}
END_TEST

UNIT_MAIN("stall", some_and_full, more_waiters_than_vcpus_is_full, averages_approach_the_share)
