/* Trends: streams are found, forward, backward, by strides, several at once and among noise; what
 * is not read in order brings little in. A small simulation stands for the space: it knows which
 * pages are there, and brings in the windows that trends ask for.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "trends.h"
#include "unit.h"

#define N_PAGES 400000u
#define START	200000u

struct sim {
	struct trends trends;
	bool there[N_PAGES];
	bool guess[N_PAGES]; /* brought in, not touched yet */
	bool in_blocks;	     /* of 2 MiB */
	uint32_t n_faults, n_brought, n_used;
	uint32_t max; /* pages that may be brought in at a time */
	uint64_t random;
};

static struct sim *sim_new(void)
{
	struct sim *s = calloc(1, sizeof(*s));

	trends_init(&s->trends);
	s->max = UINT32_MAX;
	s->random = 88172645463325252u;
	return s;
}

static struct trend *fault_at(struct trends *t, uint32_t who, page_no p)
{
	return trends_fault(t, who, (struct place){p, p, p, PAGE_NONE});
}

static uint64_t sim_random(struct sim *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return s->random >> 11;
}

static enum trend_page sim_look(const void *user, page_no p)
{
	const struct sim *s = user;

	return p >= N_PAGES ? TREND_ENDS : s->there[p] ? TREND_PASSES_BY : TREND_READS;
}

/* As the space does it where frames abound. */
static void sim_window(struct sim *s, struct trend *t)
{
	struct trend_ahead ahead;
	page_no mark = PAGE_NONE, end = PAGE_NONE;

	trend_ahead(t, s->max, sim_look, s, &ahead);
	for (uint32_t i = 0; i < ahead.n; i++) {
		page_no p = ahead.pages[i];

		if (i == ahead.mark) {
			mark = end = p;
			continue;
		}
		s->there[p] = s->guess[p] = true;
		s->n_brought++;
		end = i > ahead.mark ? trend_step(t, p) : end;
	}
	trend_sent(t, mark, end);
}

static struct place sim_place(const struct sim *s, page_no p)
{
	struct place at = {p, p, p, s->in_blocks ? p - p % TREND_BLOCK : PAGE_NONE};

	while (at.from > 0 && p - at.from < 32 && s->there[at.from - 1])
		at.from--;
	while (at.to + 1 < N_PAGES && at.to - p < 32 && s->there[at.to + 1])
		at.to++;
	return at;
}

static void sim_touch(struct sim *s, uint32_t who, page_no p)
{
	struct trend *t;

	s->n_used += s->guess[p];
	s->guess[p] = false;
	if (s->there[p])
		return;
	s->n_faults++;
	s->there[p] = true;
	t = trends_fault(&s->trends, who, sim_place(s, p));
	if (t->wants)
		sim_window(s, t);
}

/* 1900 pages at any stride take a handful of faults, and one for each window. */
static void check_stride(int stride)
{
	struct sim *s = sim_new();
	uint32_t n = stride > 100 || stride < -100 ? 190 : 1900;

	for (uint32_t i = 0; i < n; i++)
		sim_touch(s, 1, (page_no)(START + stride * (int)i));
	ck_assert_msg(s->n_faults <= 10 + n / (TREND_WINDOW_MAX + 1), "stride %d: %u faults",
		      stride, s->n_faults);
	ck_assert_uint_eq(s->n_used + s->n_faults, n);
	ck_assert_uint_le(s->n_brought - s->n_used, 2 * TREND_WINDOW_MAX);
	free(s);
}

START_TEST(any_stride_is_found)
{
	static const int strides[] = {1, -1, 2, -3, 7, 64, -100, 1000, -777};

	for (size_t i = 0; i < sizeof(strides) / sizeof(strides[0]); i++)
		check_stride(strides[i]);
}
END_TEST

START_TEST(streams_at_once_do_not_disturb_each_other)
{
	struct sim *s = sim_new();

	for (uint32_t i = 0; i < 1000; i++)
		for (uint32_t k = 0; k < 8; k++) /* four up, four down, of two threads */
			sim_touch(s, k % 2, k % 4 < 2 ? 10000 * (k + 1) + i : 10000 * (k + 1) - i);
	ck_assert_uint_le(s->n_faults, 8 * (10 + 1000 / TREND_WINDOW_MAX));
	ck_assert_uint_eq(s->n_used + s->n_faults, 8 * 1000);
	free(s);
}
END_TEST

static bool sim_takes_part(struct sim *s, unsigned of)
{
	return sim_random(s) % of == 0;
}

/* One page of so many is absent, at random, in memory that is walked through. */
static void check_partly_there(int step, unsigned of)
{
	struct sim *s = sim_new();
	uint32_t n_absent = 0;

	for (page_no p = 0; p < N_PAGES; p++)
		s->there[p] = !sim_takes_part(s, of);
	for (int i = 0; i < 40000; i++)
		n_absent += !s->there[(int)START + step * i];
	for (int i = 0; i < 40000; i++)
		sim_touch(s, 1, (page_no)((int)START + step * i));
	/* a window looks 256 pages further than it is large */
	ck_assert_msg(s->n_faults <= 16 + 40000 / 256 + n_absent / TREND_WINDOW_MAX,
		      "step %d, 1 of %u absent: %u faults for %u pages", step, of, s->n_faults,
		      n_absent);
	ck_assert_uint_le(s->n_brought - s->n_used, 2 * TREND_WINDOW_MAX);
	free(s);
}

START_TEST(order_is_found_where_a_part_is_there)
{
	static const unsigned parts[] = {2, 3, 6, 10, 30};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		check_partly_there(1, parts[i]);
		check_partly_there(-1, parts[i]);
	}
}
END_TEST

/* For a while nothing may be brought in, and no two absent pages lie side by side: order is found
 * again as soon as frames are. */
START_TEST(order_outlives_a_shortage)
{
	struct sim *s = sim_new();
	uint32_t n_faults;
	page_no p = START;

	memset(s->there, true, sizeof(s->there));
	for (page_no i = START; i < N_PAGES; i += 2 + (page_no)(sim_random(s) % 17))
		s->there[i] = false;
	for (; s->n_faults < 20; p++)
		sim_touch(s, 1, p);
	for (s->max = 0; s->n_faults < 80; p++)
		sim_touch(s, 1, p);
	n_faults = s->n_faults;
	s->max = UINT32_MAX;
	for (; p < START + 20000; p++)
		sim_touch(s, 1, p);
	ck_assert_uint_le(s->n_faults - n_faults, 10 + 20000 / 256 + 2000 / TREND_WINDOW_MAX);
	free(s);
}
END_TEST

/* Pages in order within blocks that are in none: nothing is brought in of the block beside one,
 * until a trend was seen to go on there. */
static void check_blocks(int step)
{
	struct sim *s = sim_new();
	page_no first = step > 0 ? 0 : TREND_BLOCK - 1;
	uint32_t n_faults;

	s->in_blocks = true;
	for (uint32_t b = 0; b < 64; b++)
		for (int i = 0; i < (int)TREND_BLOCK; i++)
			sim_touch(s, 1,
				  b * 37 % 64 * TREND_BLOCK * 2 + first + (page_no)(step * i));
	ck_assert_uint_eq(s->n_brought, s->n_used);
	ck_assert_uint_le(s->n_faults, 64 * 13);
	n_faults = s->n_faults;
	for (int i = 0; i < 64 * (int)TREND_BLOCK; i++)
		sim_touch(s, 1, START - START % TREND_BLOCK + (page_no)(step * i));
	ck_assert_uint_le(s->n_faults - n_faults, 16 + 64 * TREND_BLOCK / TREND_WINDOW_MAX);
	ck_assert_uint_le(s->n_brought - s->n_used, 2 * TREND_WINDOW_MAX);
	free(s);
}

START_TEST(blocks_in_no_order_are_not_left)
{
	check_blocks(1);
	check_blocks(-1);
}
END_TEST

/* A fault that is near, but no step of the path, does not take it into another block. */
START_TEST(noise_leaves_no_block)
{
	struct trends t;
	struct trend *trend;
	struct trend_ahead ahead;
	struct sim *s = sim_new();

	trends_init(&t);
	for (page_no p = 480; p < 490; p++)
		trend = trends_fault(&t, 1, (struct place){p, p, p, 0});
	ck_assert_ptr_eq(trends_fault(&t, 1, (struct place){560, 560, 560, 512}), trend);
	ck_assert(!trend->crossed);
	trend = trends_fault(&t, 1, (struct place){500, 500, 500, 0});
	ck_assert(trend->wants);
	trend->window = TREND_WINDOW_MAX;
	trend_ahead(trend, UINT32_MAX, sim_look, s, &ahead);
	ck_assert_uint_eq(ahead.n, 12);
	ck_assert_uint_eq(ahead.mark, 11);
	ck_assert_uint_eq(ahead.pages[ahead.mark], TREND_BLOCK);
	free(s);
}
END_TEST

/* Every other touch is anywhere: the stream among them is served all the same. */
START_TEST(noise_does_not_hide_a_stream)
{
	struct sim *s = sim_new();
	uint32_t n_noise = 0;

	for (uint32_t i = 0; i < 2000; i++) {
		sim_touch(s, 1, START + 3 * i);
		n_noise += !s->there[i * 7919 % 100000];
		sim_touch(s, 1, i * 7919 % 100000);
	}
	ck_assert_uint_le(s->n_faults - n_noise, 10 + 2000 / TREND_WINDOW_MAX);
	free(s);
}
END_TEST

START_TEST(random_reads_bring_nothing_in)
{
	struct sim *s = sim_new();

	for (uint32_t i = 0; i < 20000; i++)
		sim_touch(s, 1, (page_no)(sim_random(s) % N_PAGES));
	ck_assert_uint_le(s->n_brought, 600);
	free(s);
}
END_TEST

/* The same in memory of which most is there: few have another that could be read beside them. */
START_TEST(random_reads_where_most_is_there_bring_little_in)
{
	struct sim *s = sim_new();

	for (page_no p = 0; p < N_PAGES; p++)
		s->there[p] = !sim_takes_part(s, 8);
	for (uint32_t i = 0; i < 100000; i++)
		sim_touch(s, 1, START + (page_no)(sim_random(s) % 20000));
	ck_assert_msg(s->n_brought - s->n_used <= s->n_faults / 4,
		      "%u brought in, %u of use, %u faults", s->n_brought, s->n_used, s->n_faults);
	free(s);
}
END_TEST

/* Near each other, but in no order. */
START_TEST(random_reads_in_a_small_place_bring_little_in)
{
	struct sim *s = sim_new();

	for (uint32_t i = 0; i < 4000; i++)
		sim_touch(s, 1, START + (page_no)(sim_random(s) % 8000));
	ck_assert_uint_le(s->n_brought - s->n_used, s->n_faults / 4);
	free(s);
}
END_TEST

/* Runs of a few pages each, anywhere: what is brought in beyond their ends is no more than they
 * have. */
START_TEST(short_runs_waste_no_more_than_they_are_long)
{
	struct sim *s = sim_new();
	uint32_t n_touched = 0;

	for (uint32_t i = 0; i < 3000; i++) {
		page_no p = (page_no)(sim_random(s) % (N_PAGES - 20));
		uint32_t n = 1 + (uint32_t)(sim_random(s) % 16);

		n_touched += n;
		for (uint32_t k = 0; k < n; k++)
			sim_touch(s, 1, p + k);
	}
	ck_assert_uint_le(s->n_brought - s->n_used, n_touched * 6 / 10);
	ck_assert_uint_le(s->n_faults, n_touched * 6 / 10);
	free(s);
}
END_TEST

/* A window doubles with each fault at the mark, and is halved by one off the path. */
START_TEST(windows_grow_and_collapse)
{
	struct trends t;
	struct trend *trend = NULL;
	page_no p = START;

	trends_init(&t);
	ck_assert(!fault_at(&t, 1, p++)->wants);
	for (uint32_t want = 1; want <= TREND_WINDOW_MAX; want = want * 2 + 1) {
		trend = fault_at(&t, 1, p);
		ck_assert(trend->wants && !trend->lead);
		ck_assert_int_eq(trend->stride, 1);
		ck_assert_uint_eq(trend->window, want);
		ck_assert_uint_eq(trend->end, p + 1);
		p += 1 + trend->window;
		trend_sent(trend, p, p);
	}
	for (uint32_t want = TREND_WINDOW_MAX / 2; want > 7; want /= 2) {
		p = trend->last - 40 - want; /* not where it was going */
		ck_assert_ptr_eq(fault_at(&t, 1, p), trend);
		ck_assert_uint_eq(trend->window, want);
		trend_sent(trend, p + 1 + want, p + 1 + want);
	}
}
END_TEST

/* Behind the mark a lead is out: what is wanted at the mark begins behind that. A fault before the
 * mark, or in the lead, is no proof. */
START_TEST(a_lead_is_gone_on_from)
{
	struct trends t;
	struct trend *trend;

	trends_init(&t);
	fault_at(&t, 1, START);
	trend = fault_at(&t, 1, START + 1);
	trend->window = 15;
	trend_sent(trend, START + 17, START + 33);
	ck_assert_ptr_eq(fault_at(&t, 1, START + 5), trend);
	ck_assert(!trend->wants);
	ck_assert_ptr_eq(fault_at(&t, 1, START + 17), trend);
	ck_assert(trend->wants && trend->lead);
	ck_assert_uint_eq(trend->window, 31);
	ck_assert_uint_eq(trend->end, START + 33);
	trend_sent(trend, START + 33, START + 65);
	ck_assert_ptr_eq(fault_at(&t, 1, START + 40), trend);
	ck_assert(trend->wants && trend->lead);
	ck_assert_uint_eq(trend->window, 31);
}
END_TEST

/* A stream goes on whoever waits for it: where KVM has a worker of the kernel's do it, nobody knows
 * whose it is. Two threads that are known do not take each other's. */
START_TEST(threads_are_told_apart_where_they_are_known)
{
	struct trends t;

	trends_init(&t);
	fault_at(&t, 1, START);
	ck_assert(!fault_at(&t, 2, START + 1)->wants);
	ck_assert(fault_at(&t, 0, START + 2)->wants);
	trends_init(&t);
	for (page_no i = 0; i < 4; i++) { /* two that go up side by side */
		ck_assert_int_eq(fault_at(&t, 1, START + 3 * i)->stride, i > 1 ? 3 : 0);
		ck_assert_int_eq(fault_at(&t, 2, START + 1 + 5 * i)->stride, i > 1 ? 5 : 0);
	}
}
END_TEST

UNIT_MAIN("trends", any_stride_is_found, streams_at_once_do_not_disturb_each_other,
	  order_is_found_where_a_part_is_there, order_outlives_a_shortage,
	  blocks_in_no_order_are_not_left, noise_leaves_no_block, noise_does_not_hide_a_stream,
	  random_reads_bring_nothing_in, random_reads_where_most_is_there_bring_little_in,
	  random_reads_in_a_small_place_bring_little_in,
	  short_runs_waste_no_more_than_they_are_long, windows_grow_and_collapse,
	  a_lead_is_gone_on_from, threads_are_told_apart_where_they_are_known)
