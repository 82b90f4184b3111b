/* Spans: objects of all sizes, little waste, memory given back. */
#include <lz4.h>
#include <stdlib.h>
#include <string.h>

#include "store/spans.h"
#include "store_help.h"

#define HEAD_BYTES 14u

static struct spans make(uint64_t bytes)
{
	struct spans s;

	ck_assert_int_eq(spans_init(&s, bytes), 0);
	return s;
}

static uint64_t taken_bytes(const struct spans *s)
{
	return spans_held_bytes(s) + spans_metadata_bytes(s);
}

static void check(const struct spans *s, uint64_t name, unsigned bytes, unsigned char fill)
{
	struct span_object object;

	if (!spans_get(s, name, &object) || object.bytes != bytes || object.sum != bytes * 7u)
		ck_abort_msg("object %llu of %u bytes", (unsigned long long)name, bytes);
	for (unsigned i = 0; i < bytes; i++)
		if (((const unsigned char *)object.contents)[i] != fill)
			ck_abort_msg("object %llu of %u bytes: byte %u", (unsigned long long)name,
				     bytes, i);
}

static uint64_t add(struct spans *s, unsigned bytes, unsigned char fill)
{
	unsigned char contents[SPAN_CONTENTS_MAX];

	memset(contents, fill, bytes);
	return spans_add(s, contents, bytes, bytes * 7u);
}

START_TEST(every_size_comes_back)
{
	struct spans s = make(64 << 20);
	static uint64_t names[SPAN_CONTENTS_MAX + 1];

	for (unsigned bytes = 1; bytes <= SPAN_CONTENTS_MAX; bytes++) {
		names[bytes] = add(&s, bytes, (unsigned char)bytes);
		ck_assert_uint_ne(names[bytes], SPAN_NO_OBJECT);
	}
	for (unsigned bytes = 1; bytes <= SPAN_CONTENTS_MAX; bytes++)
		check(&s, names[bytes], bytes, (unsigned char)bytes);
	for (unsigned bytes = 1; bytes <= SPAN_CONTENTS_MAX; bytes++) {
		if (!spans_remove(&s, names[bytes]) || spans_remove(&s, names[bytes]))
			ck_abort_msg("object of %u bytes", bytes);
	}
	ck_assert_uint_eq(s.contents_bytes, 0);
	while (spans_trim(&s, 10))
		;
	ck_assert_uint_eq(spans_held_bytes(&s), 0);
	spans_fini(&s);
}
END_TEST

START_TEST(wild_names_are_nobodys)
{
	struct spans s = make(1 << 20);
	const uint64_t wild[] = {0, 1, 4095, 4096, UINT64_C(1) << 32, UINT64_MAX};
	struct span_object object;
	uint64_t name, other;

	for (unsigned i = 0; i < 6; i++) {
		ck_assert(!spans_get(&s, wild[i], &object));
		ck_assert(!spans_remove(&s, wild[i]));
	}
	name = add(&s, 1, 1);
	other = add(&s, 1, 2);
	ck_assert(!spans_remove(&s, other + 1));
	ck_assert(spans_remove(&s, name));
	ck_assert(!spans_remove(&s, name)); /* its entry leads to the free names now */
	ck_assert(!spans_get(&s, name, &object));
	ck_assert(spans_remove(&s, other));
	ck_assert(!spans_remove(&s, other)); /* its span is free now */
	spans_fini(&s);
}
END_TEST

/* ---- Waste: what is held beyond the compressed bytes themselves ---- */

enum mix { MIX_TEXT, MIX_HEAP, MIX_SPARSE, MIX_NUMBERS, MIX_ALL };

/* Pages as programs have them; the seed decides which. */
static void fill(unsigned char *page, enum mix mix, uint64_t seed)
{
	static const char *const words[] = {"the ",  "guest ",	"page ", "is ",	    "swapped ",
					    "out, ", "memory ", "and ",	 "limit. ", "frame "};
	uint64_t *longs = (void *)page;

	help_fill_noise(page, seed);
	if (mix == MIX_ALL)
		mix = (enum mix)(seed % 4);
	if (mix == MIX_TEXT) {
		for (unsigned at = 0, i = 0; at < GMM_PAGE_BYTES - 16; i++) {
			const char *word = words[longs[i % 512] % 10];

			memcpy(page + at, word, strlen(word));
			at += (unsigned)strlen(word);
		}
	} else if (mix == MIX_HEAP) { /* pointers near each other, lengths, some data */
		for (unsigned i = 0; i < 512; i++)
			longs[i] = i % 4 == 0	? 0x7f0000000000 + (longs[i] & 0xffff0)
				   : i % 4 == 1 ? longs[i] & 0xff
				   : i % 4 == 2 ? longs[i] & (seed & 1 ? ~UINT64_C(0) : 0xffff)
						: 0;
	} else if (mix == MIX_SPARSE) { /* a few words in an empty page */
		uint64_t first = longs[0] % 64;

		memset(page, 0, GMM_PAGE_BYTES);
		for (uint64_t i = 0; i < first + 1; i++)
			longs[(seed * 31 + i * 7) % 512] = seed * i + 1;
	} else {
		for (unsigned i = 0; i < 512; i++)
			longs[i] = seed + i * (i % 3);
	}
}

#define N_PAGES 24000u

struct store {
	struct spans s;
	uint64_t names[N_PAGES];
	uint16_t bytes[N_PAGES];
};

static void store_pages(struct store *st, enum mix mix)
{
	unsigned char *page = help_pages(1);
	char packed[SPAN_CONTENTS_MAX];

	st->s = make(256 << 20);
	for (unsigned i = 0; i < N_PAGES; i++) {
		int n;

		fill(page, mix, i);
		n = LZ4_compress_default((char *)page, packed, (int)GMM_PAGE_BYTES, sizeof(packed));
		st->bytes[i] = (uint16_t)(n > 0 ? n : 0);
		st->names[i] = n > 0 ? spans_add(&st->s, packed, (unsigned)n, i) : SPAN_NO_OBJECT;
	}
	free(page);
}

static void check_waste(const struct store *st, const char *what)
{
	uint64_t stored = st->s.contents_bytes, taken = taken_bytes(&st->s);
	double percent;

	for (uint32_t at = st->s.dirty; at != SPAN_NONE; at = st->s.spans[at].next)
		taken -= SPAN_BYTES; /* goes back in maintain() */
	percent = 100.0 * (double)taken / (double)stored - 100;
	printf("%-28s %6llu KiB stored, %4.1f %% more taken\n", what,
	       (unsigned long long)stored >> 10, percent);
	ck_assert_uint_le(taken, stored + stored / 10);
}

START_TEST(at_most_a_tenth_is_wasted)
{
	static const char *const names[] = {"text", "heap", "sparse", "numbers", "all of these"};
	static struct store st;

	for (unsigned mix = MIX_TEXT; mix <= MIX_ALL; mix++) {
		if (mix == MIX_SPARSE || mix == MIX_NUMBERS)
			continue; /* alone a page is a hundred bytes: heads count, not packing */
		store_pages(&st, (enum mix)mix);
		check_waste(&st, names[mix]);
		spans_fini(&st.s);
	}
}
END_TEST

/* Three in four go, at random: what is left moves together. */
START_TEST(at_most_a_tenth_is_wasted_after_removals)
{
	static struct store st;
	struct span_object object;

	store_pages(&st, MIX_ALL);
	srandom(1);
	for (unsigned i = 0; i < N_PAGES; i++)
		if (random() % 4 && spans_remove(&st.s, st.names[i]))
			st.names[i] = SPAN_NO_OBJECT;
	check_waste(&st, "all, three in four removed");
	ck_assert_uint_gt(st.s.n_moved, 0);
	for (unsigned i = 0; i < N_PAGES; i++) {
		if (st.names[i] == SPAN_NO_OBJECT)
			continue;
		if (!spans_get(&st.s, st.names[i], &object) || object.bytes != st.bytes[i] ||
		    object.sum != i)
			ck_abort_msg("object %u", i);
	}
	spans_fini(&st.s);
}
END_TEST

/* Pages come and go; moving what is left does not cost more than they do. */
START_TEST(at_most_a_tenth_is_wasted_in_turnover)
{
	static struct store st;
	unsigned char *page = help_pages(1);
	char packed[SPAN_CONTENTS_MAX];
	uint64_t n_moved;

	store_pages(&st, MIX_ALL);
	n_moved = st.s.n_moved;
	srandom(2);
	for (unsigned i = 0; i < 2 * N_PAGES; i++) {
		unsigned at = (unsigned)random() % N_PAGES;
		int n;

		fill(page, MIX_ALL, N_PAGES + i);
		n = LZ4_compress_default((char *)page, packed, (int)GMM_PAGE_BYTES, sizeof(packed));
		spans_remove(&st.s, st.names[at]);
		st.names[at] = n > 0 ? spans_add(&st.s, packed, (unsigned)n, i) : SPAN_NO_OBJECT;
	}
	check_waste(&st, "all, in turnover");
	printf("%.2f objects moved for each that left\n",
	       (double)(st.s.n_moved - n_moved) / (2 * N_PAGES));
	ck_assert_uint_lt(st.s.n_moved - n_moved, 2 * N_PAGES);
	spans_fini(&st.s);
	free(page);
}
END_TEST

/* ---- Capacity ---- */

START_TEST(capacity_is_a_limit)
{
	struct spans s = make(1 << 20);
	uint64_t last = 0, name, n = 0;

	while ((name = add(&s, 1000, 1)) != SPAN_NO_OBJECT) {
		last = name;
		n++;
		ck_assert_uint_le(taken_bytes(&s), 1 << 20);
	}
	/* 31 spans: the 32nd would leave nothing for what is beside them. */
	ck_assert_uint_ge(n, 31 * (SPAN_BYTES / (1000 + HEAD_BYTES + 8)));
	ck_assert_uint_le(n, 31 * (SPAN_BYTES / (1000 + HEAD_BYTES)));
	ck_assert(spans_remove(&s, last));
	ck_assert_uint_ne(add(&s, 1000, 2), SPAN_NO_OBJECT);
	spans_fini(&s);
}
END_TEST

START_TEST(spans_change_their_class)
{
	struct spans s = make(1 << 20);
	static uint64_t names[40000];

	for (unsigned size = 3000; size > 30; size /= 3) {
		unsigned n = 0;

		while ((names[n] = add(&s, size, 0xff)) != SPAN_NO_OBJECT)
			n++;
		ck_assert_uint_le(taken_bytes(&s), 1 << 20);
		ck_assert_uint_ge(n, (1 << 20) * 8 / 10 / (size + HEAD_BYTES));
		while (n--) {
			check(&s, names[n], size, 0xff);
			spans_remove(&s, names[n]);
		}
	}
	spans_fini(&s);
}
END_TEST

/* No span is free, but a class has a span's worth of room: its objects move together. */
START_TEST(room_in_one_class_serves_another)
{
	struct spans s = make(1 << 20);
	static uint64_t names[4000];
	unsigned n = 0, n_small = 0;

	while ((names[n] = add(&s, 1000, (unsigned char)n)) != SPAN_NO_OBJECT)
		n++;
	for (unsigned i = 0; i < n; i += 16)
		ck_assert(spans_remove(&s, names[i]));
	while (add(&s, 100, 7) != SPAN_NO_OBJECT)
		n_small++;
	ck_assert_uint_ge(n_small, SPAN_BYTES / 128);
	ck_assert_uint_le(taken_bytes(&s), 1 << 20);
	for (unsigned i = 0; i < n; i++)
		if (i % 16)
			check(&s, names[i], 1000, (unsigned char)i);
	spans_fini(&s);
}
END_TEST

/* Against a list of what must be there. */
START_TEST(random_objects)
{
	enum { N = 3000 };
	struct spans s = make(2 << 20);
	static uint64_t names[N];
	static uint16_t bytes[N];
	unsigned n_refused = 0;

	memset(names, 0xff, sizeof(names));
	srandom(3);
	for (unsigned i = 0; i < 300000; i++) {
		unsigned at = (unsigned)random() % N;

		if (names[at] != SPAN_NO_OBJECT) {
			check(&s, names[at], bytes[at], (unsigned char)(bytes[at] + at));
			ck_assert(spans_remove(&s, names[at]));
			names[at] = SPAN_NO_OBJECT;
		} else {
			bytes[at] = (uint16_t)(random() % (i % 9000 < 3000 ? 200 : 3072) + 1);
			names[at] = add(&s, bytes[at], (unsigned char)(bytes[at] + at));
			n_refused += names[at] == SPAN_NO_OBJECT;
		}
		if (taken_bytes(&s) > 2 << 20)
			ck_abort_msg("more than the capacity is taken");
		if (i % 5000 == 0)
			spans_trim(&s, 3);
	}
	ck_assert_uint_gt(s.n_moved, 1000);
	ck_assert_uint_gt(n_refused, 100);
	spans_fini(&s);
}
END_TEST

UNIT_MAIN("store_spans", every_size_comes_back, wild_names_are_nobodys, at_most_a_tenth_is_wasted,
	  at_most_a_tenth_is_wasted_after_removals, at_most_a_tenth_is_wasted_in_turnover,
	  capacity_is_a_limit, spans_change_their_class, room_in_one_class_serves_another,
	  random_objects)
