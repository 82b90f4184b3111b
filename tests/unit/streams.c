/* Streams: windows grow in order, stay at one otherwise. */
#include <check.h>

#include "streams.h"
#include "unit.h"

START_TEST(order_doubles_the_window)
{
	struct streams s;
	uint32_t p = 100;

	streams_init(&s);
	for (uint32_t want = 1; want <= 64; want *= 2) {
		struct stream *st = streams_meet(&s, p, p, 32);

		ck_assert_uint_eq(st->window, want < 32 ? want : 32);
		p += st->window;
		streams_advance(st, p);
	}
}
END_TEST

START_TEST(random_faults_stay_single)
{
	struct streams s;

	streams_init(&s);
	for (uint32_t i = 0; i < 1000; i++) {
		struct stream *st = streams_meet(&s, i * 7919 % 100003, i * 7919 % 100003, 32);

		ck_assert_uint_eq(st->window, 1);
		streams_advance(st, i * 7919 % 100003 + 1);
	}
}
END_TEST

START_TEST(streams_do_not_disturb_each_other)
{
	struct streams s;
	uint32_t at[STREAMS_N - 1];

	streams_init(&s);
	for (uint32_t i = 0; i < STREAMS_N - 1; i++)
		at[i] = i * 100000;
	for (int round = 0; round < 5; round++) {
		for (uint32_t i = 0; i < STREAMS_N - 1; i++) {
			struct stream *st = streams_meet(&s, at[i], at[i], 1000);

			ck_assert_uint_eq(st->window, 1u << round);
			at[i] += st->window;
			streams_advance(st, at[i]);
		}
		uint32_t elsewhere = 50000000 + (uint32_t)round * 977;

		streams_advance(streams_meet(&s, elsewhere, elsewhere, 1000), PAGE_NONE);
	}
}
END_TEST

/* From a stream's place on all is there: it goes on behind that, and of several the one that came
 * furthest in order, or else the nearest. */
START_TEST(what_is_there_is_passed_by)
{
	struct streams s;
	struct stream *far, *near, *single;

	streams_init(&s);
	streams_advance(far = streams_meet(&s, 100, 100, 32), 101);
	streams_advance(near = streams_meet(&s, 110, 110, 32), 111);
	ck_assert_ptr_ne(far, near);
	ck_assert_ptr_eq(streams_meet(&s, 101, 120, 32), near);
	ck_assert_uint_eq(near->window, 2);
	streams_advance(near, 122);
	ck_assert_ptr_eq(streams_meet(&s, 101, 105, 32), far);
	ck_assert_uint_eq(far->window, 2);
	streams_advance(far, 107);
	ck_assert_uint_eq(streams_meet(&s, 108, 109, 32)->window, 1);
	streams_advance(single = streams_meet(&s, 123, 130, 32), 131);
	ck_assert_uint_eq(single->window, 1);
	ck_assert_ptr_eq(streams_meet(&s, 122, 140, 32), near);
	ck_assert_uint_eq(near->window, 4);
}
END_TEST

UNIT_MAIN("streams", order_doubles_the_window, random_faults_stay_single,
	  streams_do_not_disturb_each_other, what_is_there_is_passed_by)
