/* Sums: all 64 bits are compared, wherever they are kept, and neighbours leave each other alone. */
#include <check.h>
#include <stdlib.h>

#include "store/sums.h"
#include "unit.h"

static uint64_t next_random(uint64_t *r)
{
	*r ^= *r << 13;
	*r ^= *r >> 7;
	*r ^= *r << 17;
	return *r;
}

static const uint64_t sizes[] = {1,
				 2,
				 256,
				 1000,
				 131072,
				 131073,
				 UINT64_C(1) << 20,
				 UINT64_C(1) << 25,
				 (UINT64_C(1) << 25) + 1,
				 UINT64_C(1) << 32};

#define N_USED 512u

/* Random sums in slots at both ends, set and set again: each matches its last one alone. */
START_TEST(a_slot_has_the_sum_it_was_given_last)
{
	uint64_t n = sizes[_i], r = 0x9e3779b97f4a7c15u + (uint64_t)_i, sum[N_USED], name[N_USED];
	uint64_t used = n < N_USED ? n : N_USED;
	struct sums s;

	ck_assert_int_eq(sums_init(&s, n), 0);
	for (unsigned round = 0; round < 20 * N_USED; round++) {
		uint64_t k = round < used ? round : next_random(&r) % used;
		uint64_t i = k % 2 ? n - k / 2 - 1 : k / 2;

		sum[k] = next_random(&r);
		name[k] = sums_set(&s, i, sum[k]);
		ck_assert_uint_eq(sums_index(&s, name[k]), i);
		ck_assert_uint_lt(name[k], UINT64_C(1) << SUMS_NAME_BITS);
	}
	for (uint64_t k = 0; k < used; k++) {
		ck_assert(sums_match(&s, name[k], sum[k]));
		for (unsigned bit = 0; bit < 64; bit++)
			ck_assert_msg(!sums_match(&s, name[k], sum[k] ^ UINT64_C(1) << bit),
				      "bit %u of %u is not compared", bit, 64);
	}
	sums_fini(&s);
}
END_TEST

/* The bound on bookkeeping, 16 bytes a page, has no room for eight bytes a slot. */
START_TEST(they_take_less_than_eight_bytes)
{
	struct sums s;

	ck_assert_int_eq(sums_init(&s, 131072), 0);
	ck_assert_uint_eq(sums_bytes(&s, 131072), 6 * 131072);
	sums_fini(&s);
	ck_assert_int_eq(sums_init(&s, UINT64_C(1) << 22), 0); /* 16 GiB */
	ck_assert_uint_lt(sums_bytes(&s, 1000000), 6700000);
	sums_fini(&s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sums");
	TCase *tc = tcase_create("sums");
	SRunner *runner;
	int status;

	tcase_add_loop_test(tc, a_slot_has_the_sum_it_was_given_last, 0,
			    sizeof(sizes) / sizeof(sizes[0]));
	tcase_add_test(tc, they_take_less_than_eight_bytes);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	status = unit_status(runner);
	srunner_free(runner);
	return status;
}
