/* The notes of what was taken, against a byte a frame. */
#include "taken.h"

#include "unit.h"

#define N	(40 * TAKEN_AREA + 100) /* the last area is not whole */
#define N_AREAS 40u

static uint64_t seed = 88172645463325252u;

static uint64_t random_below(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

static void check(const struct taken *t, const uint8_t *is)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < N; i++) {
		ck_assert_int_eq(taken_has(t, i), is[i] != 0);
		n += is[i];
	}
	ck_assert_uint_eq(taken_n(t), n);
	ck_assert(!taken_has(t, N));
	ck_assert(!taken_has(t, UINT64_MAX));
}

static void add_area(struct taken *t, uint8_t *is)
{
	uint64_t area = random_below(N_AREAS);
	unsigned n = 0;

	for (unsigned i = 0; i < TAKEN_AREA; i++)
		n += is[area * TAKEN_AREA + i];
	ck_assert_int_eq(taken_add_area(t, area), n == 0);
	if (n == 0)
		memset(is + area * TAKEN_AREA, 1, TAKEN_AREA);
}

static void pop_area(struct taken *t, uint8_t *is)
{
	uint64_t area = 0;

	if (!taken_pop_area(t, random_below(N_AREAS), &area))
		return;
	for (unsigned i = 0; i < TAKEN_AREA; i++) {
		ck_assert_uint_eq(is[area * TAKEN_AREA + i], 1);
		is[area * TAKEN_AREA + i] = 0;
	}
}

static void pop(struct taken *t, uint8_t *is)
{
	uint64_t frames[64];
	unsigned n = (unsigned)random_below(64) + 1, got = taken_pop(t, n, frames);

	ck_assert_uint_le(got, n);
	ck_assert(got > 0 || taken_n(t) == 0);
	for (unsigned i = 0; i < got; i++) {
		ck_assert(i == 0 || frames[i] > frames[i - 1]);
		ck_assert_uint_eq(is[frames[i]], 1);
		is[frames[i]] = 0;
	}
}

START_TEST(agrees_with_a_byte_a_frame)
{
	static uint8_t is[N];
	struct taken t;

	ck_assert_int_eq(taken_init(&t, N), 0);
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t frame = random_below(N), what = random_below(100);

		if (what < 60) {
			ck_assert_int_eq(taken_add(&t, frame), !is[frame]);
			is[frame] = 1;
		} else if (what < 70) {
			add_area(&t, is);
		} else if (what < 80) {
			pop_area(&t, is);
		} else {
			pop(&t, is);
		}
		if (i % 500 == 0 || i < 20)
			check(&t, is);
	}
	while (taken_n(&t))
		pop(&t, is);
	check(&t, is);
	taken_fini(&t);
}
END_TEST

START_TEST(a_large_one_costs_nothing_at_first)
{
	struct taken t;
	uint64_t frames[64];

	ck_assert_int_eq(taken_init(&t, UINT64_C(1) << 32), 0); /* 16 TiB */
	ck_assert(!taken_has(&t, 5));
	ck_assert_uint_eq(taken_pop(&t, 64, frames), 0);
	ck_assert(taken_add(&t, (UINT64_C(1) << 32) - 1));
	ck_assert(taken_has(&t, (UINT64_C(1) << 32) - 1));
	ck_assert_uint_eq(taken_pop(&t, 64, frames), 1);
	ck_assert_uint_eq(frames[0], (UINT64_C(1) << 32) - 1);
	ck_assert_uint_eq(taken_n(&t), 0);
	taken_fini(&t);
}
END_TEST

UNIT_MAIN("taken", agrees_with_a_byte_a_frame, a_large_one_costs_nothing_at_first)
