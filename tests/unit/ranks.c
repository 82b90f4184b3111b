/* Ranks: the highest one is found, wherever it is and however it got there. */
#include "policy/ranks.h"

#include "unit.h"

static uint8_t bytes[70000];
static uint8_t rank_of[256];
static uint64_t state = 88172645463325252;

static uint64_t draw(uint64_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 8) % n;
}

static void change(struct ranks *r, uint64_t page, uint8_t byte)
{
	uint8_t old = bytes[page];

	bytes[page] = byte;
	ranks_changed(r, page, old);
}

/* As ranks_highest() and ranks_find(), by looking at all. */
static unsigned highest(uint64_t n)
{
	unsigned max = 0;

	for (uint64_t i = 0; i < n; i++)
		max = rank_of[bytes[i]] > max ? rank_of[bytes[i]] : max;
	return max;
}

static uint64_t find(uint64_t n, uint64_t before, unsigned rank)
{
	for (uint64_t i = 1; i <= n; i++)
		if (rank_of[bytes[(before + n - i) % n]] == rank)
			return (before + n - i) % n;
	return UINT64_MAX;
}

static struct ranks make(uint64_t n)
{
	struct ranks r;

	memset(bytes, 0, sizeof(bytes));
	for (unsigned i = 0; i < 256; i++)
		rank_of[i] = i & 32 ? (uint8_t)(i & 31) : 0;
	ck_assert_int_eq(ranks_init(&r, bytes, n, rank_of), 0);
	ck_assert_uint_eq(ranks_highest(&r), 0);
	return r;
}

/* Sizes about the edges of nodes and levels; few pages with a rank, and many. */
START_TEST(as_by_looking_at_all)
{
	static const uint64_t sizes[] = {1, 2, 63, 64, 65, 4095, 4096, 4097, 5000};

	for (unsigned i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t n = sizes[i / 2];
		struct ranks r = make(n);

		for (unsigned k = 0; k < 20000; k++) {
			bool on = draw(i % 2 ? 100 : 2) == 0;
			unsigned max;
			uint64_t before = draw(n + 2);

			change(&r, draw(n), on ? (uint8_t)draw(256) : 0);
			if (k % 16)
				continue;
			max = highest(n);
			ck_assert_uint_eq(ranks_highest(&r), max);
			if (max)
				ck_assert_uint_eq(ranks_find(&r, before),
						  find(n, before > n ? n : before, max));
		}
		ranks_fini(&r);
	}
}
END_TEST

/* One page in all: every distance, across every level. */
START_TEST(one_page_is_found_from_everywhere)
{
	struct ranks r = make(sizeof(bytes));

	for (uint64_t page = 0; page < sizeof(bytes); page += 997) {
		change(&r, page, 32 | 7);
		ck_assert_uint_eq(ranks_highest(&r), 7);
		for (uint64_t from = 0; from < sizeof(bytes); from += 1009)
			ck_assert_uint_eq(ranks_find(&r, from), page);
		change(&r, page, 7);
		ck_assert_uint_eq(ranks_highest(&r), 0);
	}
	ck_assert_uint_le(ranks_metadata_bytes(&r), sizeof(bytes) / 63 + 8);
	ranks_fini(&r);
}
END_TEST

UNIT_MAIN("ranks", as_by_looking_at_all, one_page_is_found_from_everywhere)
