/* Latency percentiles: within one step of the exact ones. */
#include <check.h>

#include "counters.h"
#include "unit.h"

START_TEST(empty_is_zero)
{
	struct latency l = {0};

	ck_assert_uint_eq(latency_at(&l, 500), 0);
}
END_TEST

START_TEST(percentiles_are_within_a_step)
{
	struct latency l = {0};

	for (uint64_t i = 1; i <= 100000; i++)
		latency_add(&l, i * 10);
	for (unsigned pm = 1; pm <= 1000; pm += 37) {
		uint64_t exact = (uint64_t)pm * 1000;

		ck_assert_uint_ge(latency_at(&l, pm), exact);
		ck_assert_uint_le(latency_at(&l, pm), exact + exact / 8 + 10);
	}
	ck_assert_uint_eq(latency_at(&l, 1000), 1000000);
	ck_assert_uint_eq(l.max_ns, 1000000);
}
END_TEST

START_TEST(extremes_have_a_bucket)
{
	struct latency l = {0};

	latency_add(&l, 0);
	latency_add(&l, UINT64_MAX);
	ck_assert_uint_eq(latency_at(&l, 1), 0);
	ck_assert_uint_eq(latency_at(&l, 1000), UINT64_MAX);
}
END_TEST

START_TEST(one_outlier_is_not_the_median)
{
	struct latency l = {0};

	for (int i = 0; i < 99; i++)
		latency_add(&l, 7);
	latency_add(&l, 1000000);
	ck_assert_uint_eq(latency_at(&l, 500), 7);
	ck_assert_uint_eq(latency_at(&l, 990), 7);
	ck_assert_uint_eq(latency_at(&l, 1000), 1000000);
}
END_TEST

START_TEST(a_longest_that_is_not_counted)
{
	struct latency l = {0};

	latency_add(&l, 100);
	latency_at_least(&l, 5000);
	latency_at_least(&l, 50);
	ck_assert_uint_eq(l.max_ns, 5000);
	ck_assert_uint_le(latency_at(&l, 1000), 112);
}
END_TEST

UNIT_MAIN("counters", empty_is_zero, percentiles_are_within_a_step, extremes_have_a_bucket,
	  one_outlier_is_not_the_median, a_longest_that_is_not_counted)
