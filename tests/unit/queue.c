/* Page queues: order, lazy deletion, growth, trimming. */
#include <errno.h>

#include "queue.h"
#include "unit.h"

static struct queue_set make(uint64_t n_pages)
{
	struct queue_set set;

	ck_assert_int_eq(queue_init(&set, n_pages), 0);
	return set;
}

static void expect(struct queue_set *set, unsigned q, uint64_t page)
{
	uint64_t got = UINT64_MAX;

	ck_assert(queue_pop(set, q, &got));
	ck_assert_uint_eq(got, page);
}

START_TEST(first_in_first_out)
{
	struct queue_set set = make(10000);
	uint64_t page;

	for (uint64_t i = 0; i < 10000; i++)
		queue_push(&set, 1, i);
	ck_assert_uint_eq(queue_pages(&set, 1), 10000);
	for (uint64_t i = 0; i < 10000; i++)
		expect(&set, 1, i);
	ck_assert(!queue_pop(&set, 1, &page));
	queue_fini(&set);
}
END_TEST

START_TEST(a_dropped_page_does_not_come_up)
{
	struct queue_set set = make(16);

	for (uint64_t i = 0; i < 4; i++)
		queue_push(&set, 1, i);
	queue_drop(&set, 1);
	queue_drop(&set, 1);
	queue_drop(&set, 9);
	ck_assert_uint_eq(queue_of(&set, 1), QUEUE_NONE);
	queue_push(&set, 1, 1); /* comes again: at the end, not where it was */
	queue_push(&set, 2, 2); /* moves */
	ck_assert_uint_eq(queue_of(&set, 2), 2);
	expect(&set, 1, 0);
	expect(&set, 1, 3);
	expect(&set, 1, 1);
	expect(&set, 2, 2);
	queue_fini(&set);
}
END_TEST

/* A run is dropped like each of its pages, wherever it begins and ends. */
START_TEST(runs_are_dropped)
{
	for (uint64_t first = 0; first < 40; first++)
		for (uint64_t end = first; end <= 80; end += 7) {
			struct queue_set set = make(80);

			for (uint64_t i = 0; i < 80; i++)
				if (i % 3)
					queue_push(&set, i % 3 == 1 ? 1 : 2, i);
			queue_drop_run(&set, first, end - first);
			for (uint64_t i = 0; i < 80; i++)
				if (i % 3 && (i < first || i >= end))
					expect(&set, i % 3 == 1 ? 1 : 2, i);
			ck_assert_uint_eq(queue_pages(&set, 1) + queue_pages(&set, 2), 0);
			queue_fini(&set);
		}
}
END_TEST

START_TEST(dead_entries_never_fill_a_ring)
{
	struct queue_set set = make(2048);
	uint64_t page;

	for (unsigned round = 0; round < 1000; round++)
		for (uint64_t i = 0; i < 64; i++)
			queue_push(&set, 1 + round % 2, i);
	ck_assert_uint_eq(queue_pages(&set, 2), 64);
	ck_assert_uint_le(queue_metadata_bytes(&set), 1024 + 2 * 2048 * 4);
	for (uint64_t i = 0; i < 64; i++)
		expect(&set, 2, i);
	ck_assert(!queue_pop(&set, 1, &page));
	queue_fini(&set);
}
END_TEST

START_TEST(trimming_keeps_order)
{
	for (unsigned start = 0; start < 20000; start += 1234) {
		struct queue_set set = make(20000);

		for (uint64_t i = 0; i < 20000; i++)
			queue_push(&set, 1, i);
		/* The ring's head stands at `start`, its contents wrap around for some. */
		for (uint64_t i = 0; i < start; i++) {
			expect(&set, 1, i);
			queue_push(&set, 1, i);
		}
		for (uint64_t i = 0; i < 20000; i++)
			if (i % 40)
				queue_drop(&set, i);
		queue_trim(&set);
		ck_assert_uint_lt(queue_metadata_bytes(&set), 10000 + 4 * 1024 * 4);
		for (uint64_t k = 0; k < 20000; k++)
			if ((start + k) % 20000 % 40 == 0)
				expect(&set, 1, (start + k) % 20000);
		queue_fini(&set);
	}
}
END_TEST

/* What clean.c counts with: four and a half bytes for each page that was in a queue at once. */
START_TEST(a_ring_has_little_slack)
{
	struct queue_set set = make(100000);
	uint64_t n = 46000, page;

	for (uint64_t i = 0; i < 10 * n; i++) {
		if (queue_pages(&set, 1) == n) {
			ck_assert(queue_pop(&set, 1, &page));
			queue_drop(&set, (page + n / 2) % 100000);
		}
		queue_push(&set, 1, i * 7919 % 100000);
	}
	ck_assert_uint_ge(queue_ring_bytes(&set), n * 4);
	ck_assert_uint_le(queue_ring_bytes(&set), n * 4 * 17 / 15 + 2 * 4096);
	queue_fini(&set);
}
END_TEST

START_TEST(sizes_are_checked)
{
	struct queue_set set;

	ck_assert_int_eq(queue_init(&set, 0), -EINVAL);
	ck_assert_int_eq(queue_init(&set, (UINT64_C(1) << 32) + 1), -EINVAL);
	for (unsigned shift = 29; shift <= 32; shift++) {
		uint64_t last = (UINT64_C(1) << shift) - 1;

		ck_assert_int_eq(queue_init(&set, last + 1), 0);
		queue_push(&set, 1, last);
		queue_push(&set, 1, 0);
		queue_push(&set, 1, last - 1);
		expect(&set, 1, last);
		expect(&set, 1, 0);
		expect(&set, 1, last - 1);
		ck_assert_uint_eq(queue_pages(&set, 1), 0);
		queue_fini(&set);
	}
}
END_TEST

/* With so many pages an entry has no room for a tag: all old ones of a page look alive. */
START_TEST(a_ring_full_of_doubles_is_swept)
{
	struct queue_set set = make(UINT64_C(1) << 32);
	uint64_t page;

	for (unsigned i = 0; i < set.rings[0].capacity; i++)
		queue_push(&set, 1, 7);
	queue_push(&set, 1, 9);
	ck_assert_uint_eq(set.rings[0].n, 2);
	expect(&set, 1, 7);
	expect(&set, 1, 9);
	ck_assert(!queue_pop(&set, 1, &page));
	queue_fini(&set);
}
END_TEST

UNIT_MAIN("queue", first_in_first_out, a_dropped_page_does_not_come_up, runs_are_dropped,
	  dead_entries_never_fill_a_ring, trimming_keeps_order, a_ring_has_little_slack,
	  sizes_are_checked, a_ring_full_of_doubles_is_swept)
