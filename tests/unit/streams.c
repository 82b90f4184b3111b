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
		struct stream *st = streams_meet(&s, p, 32);

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
		struct stream *st = streams_meet(&s, i * 7919 % 100003, 32);

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
			struct stream *st = streams_meet(&s, at[i], 1000);

			ck_assert_uint_eq(st->window, 1u << round);
			at[i] += st->window;
			streams_advance(st, at[i]);
		}
		streams_advance(streams_meet(&s, 50000000 + (uint32_t)round * 977, 1000), PAGE_NONE);
	}
}
END_TEST

UNIT_MAIN("streams", order_doubles_the_window, random_faults_stay_single,
	  streams_do_not_disturb_each_other)
