/* Spans: objects of all sizes, little waste, memory given back. */
#include <stdlib.h>
#include <string.h>

#include "store/spans.h"
#include "unit.h"

static struct spans make(uint64_t bytes)
{
	struct spans s;

	ck_assert_int_eq(spans_init(&s, bytes), 0);
	return s;
}

START_TEST(every_size_comes_back)
{
	struct spans s = make(64 << 20);
	static uint64_t names[SPAN_OBJECT_MAX];
	char contents[SPAN_OBJECT_MAX];

	for (unsigned bytes = 1; bytes <= SPAN_OBJECT_MAX - SPAN_HEAD_BYTES; bytes++) {
		memset(contents, (int)bytes, bytes);
		names[bytes] = spans_add(&s, contents, bytes);
		ck_assert_uint_ne(names[bytes], SPAN_NO_OBJECT);
	}
	for (unsigned bytes = 1; bytes <= SPAN_OBJECT_MAX - SPAN_HEAD_BYTES; bytes++) {
		unsigned got;
		const void *object = spans_get(&s, names[bytes], &got);

		memset(contents, (int)bytes, bytes);
		if (!object || got != bytes || memcmp(object, contents, bytes) != 0)
			ck_abort_msg("object of %u bytes", bytes);
	}
	for (unsigned bytes = 1; bytes <= SPAN_OBJECT_MAX - SPAN_HEAD_BYTES; bytes++) {
		if (!spans_remove(&s, names[bytes]) || spans_remove(&s, names[bytes]))
			ck_abort_msg("object of %u bytes", bytes);
	}
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
	char byte = 1;
	unsigned bytes;
	uint64_t name;

	for (unsigned i = 0; i < 6; i++) {
		ck_assert_ptr_null(spans_get(&s, wild[i], &bytes));
		ck_assert(!spans_remove(&s, wild[i]));
	}
	name = spans_add(&s, &byte, 1);
	ck_assert(!spans_remove(&s, name + 1));
	ck_assert(spans_remove(&s, name));
	ck_assert(!spans_remove(&s, name)); /* its span is free now */
	spans_fini(&s);
}
END_TEST

/* Sizes as compressed pages have them: all between, more of the middling ones. */
START_TEST(at_most_a_tenth_is_wasted)
{
	struct spans s = make(64 << 20);
	char contents[SPAN_OBJECT_MAX] = {0};
	uint64_t sum = 0;

	srandom(1);
	while (sum < 32 << 20) {
		unsigned bytes = 60 + (unsigned)((random() % 1500 + random() % 1500));

		ck_assert_uint_ne(spans_add(&s, contents, bytes), SPAN_NO_OBJECT);
		sum += bytes;
	}
	printf("held %.1f %% more than stored\n",
	       100.0 * (double)spans_held_bytes(&s) / (double)sum - 100);
	ck_assert_uint_le(spans_held_bytes(&s), sum + sum / 10);
	spans_fini(&s);
}
END_TEST

START_TEST(capacity_is_a_limit)
{
	struct spans s = make(1 << 20);
	char contents[SPAN_OBJECT_MAX] = {0};
	uint64_t last = 0, name, n = 0;

	while ((name = spans_add(&s, contents, 1000)) != SPAN_NO_OBJECT) {
		last = name;
		n++;
	}
	ck_assert_uint_eq(n, (1 << 20) / SPAN_BYTES * (SPAN_BYTES / 1024));
	ck_assert_uint_le(spans_held_bytes(&s), 1 << 20);
	ck_assert(spans_remove(&s, last));
	ck_assert_uint_eq(spans_add(&s, contents, 1000), last);
	spans_fini(&s);
}
END_TEST

START_TEST(spans_change_their_class)
{
	struct spans s = make(1 << 20);
	static uint64_t names[40000];
	char contents[SPAN_OBJECT_MAX];
	unsigned bytes;

	memset(contents, 0xff, sizeof(contents));
	for (unsigned size = 3000; size > 20; size /= 3) {
		unsigned n = 0;

		while ((names[n] = spans_add(&s, contents, size)) != SPAN_NO_OBJECT)
			n++;
		ck_assert_uint_ge(n, (1 << 20) * 8 / 10 / size);
		while (n--) {
			if (!spans_get(&s, names[n], &bytes) || bytes != size)
				ck_abort_msg("object of %u bytes", size);
			spans_remove(&s, names[n]);
		}
	}
	spans_fini(&s);
}
END_TEST

UNIT_MAIN("store_spans", every_size_comes_back, wild_names_are_nobodys, at_most_a_tenth_is_wasted,
	  capacity_is_a_limit, spans_change_their_class)
