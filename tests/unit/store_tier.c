/* Tiers and the faulty wrapper: who takes a page, what moves down, what an error costs. */
#include <errno.h>

#include "store_help.h"
#include "store_slow.h"

#define N 512u

static struct gmm_store *ram(void)
{
	struct gmm_store_ram_config config = {.size = sizeof(config), .capacity_bytes = 1 << 20};
	struct gmm_store *st = NULL;

	ck_assert_int_eq(gmm_store_ram_new(&config, &st), 0);
	return st;
}

static struct gmm_store *file(void)
{
	struct gmm_store_file_config config = {.size = sizeof(config), .capacity_bytes = 16 << 20};
	struct gmm_store *st = NULL;

	ck_assert_int_eq(gmm_store_file_new(&config, &st), 0);
	return st;
}

static struct gmm_store *tier(struct gmm_store *a, struct gmm_store *b)
{
	struct gmm_store *stores[] = {a, b}, *st = NULL;

	ck_assert_int_eq(gmm_store_tier_new(stores, 2, &st), 0);
	return st;
}

static void settle(struct gmm_store *st)
{
	for (unsigned i = 0; i < 50; i++) {
		ck_assert_ptr_null(st->ops->reap(st));
		usleep(1000);
	}
}

START_TEST(a_page_goes_to_the_first_that_takes_it)
{
	struct gmm_store *upper = ram(), *lower = file(), *st = tier(upper, lower);
	unsigned char *pages = help_pages(N), *in = help_pages(N);
	uint64_t slots[N];
	int results[N];

	for (unsigned i = 0; i < N; i++)
		(i % 2 ? help_fill_noise : help_fill_text)(pages + i * GMM_PAGE_BYTES, i);
	ck_assert_uint_eq(help_write(st, pages, N, slots, NULL), 0);
	ck_assert_uint_eq(help_stats(upper).n_slots_used, N / 2);
	ck_assert_uint_eq(help_stats(lower).n_slots_used, N / 2);
	/* What one level refuses goes on together. */
	ck_assert_uint_le(help_stats(lower).writes, 8);
	help_read(st, in, N, slots, results);
	ck_assert_int_eq(memcmp(in, pages, N * GMM_PAGE_BYTES), 0);
	st->ops->release(st, slots, N);
	st->ops->release(st, slots, N);
	ck_assert_uint_eq(help_stats(st).n_slots_used, 0);
	gmm_store_free(st);
	free(in);
	free(pages);
}
END_TEST

START_TEST(the_coldest_pages_move_down)
{
	struct gmm_store *upper = ram(), *lower = file(), *st = tier(upper, lower);
	unsigned char *pages = help_pages(2 * N), *in = help_pages(2 * N);
	static uint64_t slots[2 * N];
	static int results[2 * N];
	uint64_t n_passed;

	for (unsigned i = 0; i < 2 * N; i++)
		help_fill_text(pages + i * GMM_PAGE_BYTES, i);
	for (unsigned i = 0; i < 2 * N; i += 16)
		ck_assert_uint_eq(help_write(st, pages + i * GMM_PAGE_BYTES, 16, slots + i, NULL),
				  0);
	settle(st);
	ck_assert_uint_eq(help_stats(st).n_slots_used, 2 * N);
	ck_assert_uint_gt(help_stats(upper).reads, 256); /* read to be written back */
	ck_assert_uint_gt(help_stats(upper).n_slots_used, 300);
	n_passed = help_stats(upper).reads;
	/* The first are down by now: reading them does not go to the upper store. */
	help_read(st, in, 16, slots, results);
	ck_assert_uint_eq(help_stats(upper).reads, n_passed);
	help_read(st, in, 2 * N, slots, results);
	ck_assert_int_eq(memcmp(in, pages, 2 * N * GMM_PAGE_BYTES), 0);
	gmm_store_free(st);
	free(in);
	free(pages);
}
END_TEST

/* Room is made before it is needed, a few pages a call, and the caller is told to come back. */
START_TEST(a_nearly_full_level_makes_room)
{
	struct gmm_store *upper = ram(), *lower = file(), *st = tier(upper, lower);
	unsigned char *pages = help_pages(2 * N);
	static uint64_t slots[2 * N];
	unsigned n_calls = 0;

	for (unsigned i = 0; i < 2 * N; i++)
		help_fill_text(pages + i * GMM_PAGE_BYTES, i);
	for (unsigned i = 0; i < 2 * N; i += 8) {
		struct pollfd pfd = {.fd = st->ops->fd(st), .events = POLLIN};

		ck_assert_uint_eq(help_write(st, pages + i * GMM_PAGE_BYTES, 8, slots + i, NULL),
				  0);
		/* Until it has nothing to do, however long the device takes. */
		for (unsigned n = 0; n < 2000; n++) {
			uint64_t before = help_stats(upper).reads;

			if (poll(&pfd, 1, 5) == 0 && help_stats(upper).room_bytes >= (1 << 20) / 32)
				break;
			ck_assert_ptr_null(st->ops->reap(st));
			ck_assert_uint_le(help_stats(upper).reads - before, 8);
			n_calls++;
		}
		ck_assert_uint_ge(help_stats(upper).room_bytes, (1 << 20) / 32);
	}
	ck_assert_uint_eq(help_stats(upper).writes, 2 * N); /* none passed by */
	ck_assert_uint_gt(help_stats(lower).n_slots_used, N);
	ck_assert_uint_ge(help_stats(lower).written_bytes / help_stats(lower).writes,
			  16 * GMM_PAGE_BYTES); /* batched */
	ck_assert_uint_gt(n_calls, N / 32);
	gmm_store_free(st);
	free(pages);
}
END_TEST

/* Nobody below takes a page: it is not tried again and again. */
START_TEST(write_back_to_a_full_level_rests)
{
	struct gmm_store *upper = ram(), *lower = slow_new(4, 3), *st = tier(upper, lower);
	unsigned char *pages = help_pages(N);
	static uint64_t slots[N];
	uint64_t n_read;

	for (unsigned i = 0; i < N; i++)
		help_fill_text(pages + i * GMM_PAGE_BYTES, i);
	for (unsigned i = 0; i < 460; i += 4)
		help_write(st, pages + i * GMM_PAGE_BYTES, 4, slots + i, NULL);
	settle(st);
	n_read = help_stats(upper).reads;
	ck_assert_uint_gt(n_read, 0);
	settle(st);
	ck_assert_uint_eq(help_stats(upper).reads, n_read);
	/* Pages go, and there may be room. */
	st->ops->release(st, slots, 8);
	settle(st);
	ck_assert_uint_gt(help_stats(upper).reads, n_read);
	gmm_store_free(st);
	free(pages);
}
END_TEST

START_TEST(wild_slots_are_refused)
{
	struct gmm_store *st = tier(ram(), slow_new(10, 1));
	unsigned char *page = help_pages(1);
	struct gmm_store_io io = {.verb = GMM_STORE_READ, .page = page}, *list[] = {&io};
	const uint64_t wild[] = {0, UINT64_C(3) << 33, UINT64_C(1) << 35, GMM_SLOT_NONE,
				 UINT64_MAX};

	for (unsigned i = 0; i < 5; i++) {
		io.slot = wild[i];
		ck_assert_int_eq(st->ops->submit(st, list, 1), -EINVAL);
	}
	st->ops->release(st, wild, 5);
	/* A well-formed name of nothing is the lower store's to refuse. */
	io.slot = (UINT64_C(1) << 33) + 5;
	ck_assert_int_eq(st->ops->submit(st, list, 1), 0);
	help_wait(st, 1);
	ck_assert_int_eq(io.result, -EINVAL);
	gmm_store_free(st);
	free(page);
}
END_TEST

START_TEST(two_to_four_stores_make_a_tier)
{
	struct gmm_store *stores[5], *st = NULL;

	for (unsigned i = 0; i < 5; i++)
		stores[i] = slow_new(10, i);
	ck_assert_int_eq(gmm_store_tier_new(stores, 1, &st), -EINVAL);
	ck_assert_int_eq(gmm_store_tier_new(stores, 5, &st), -EINVAL);
	ck_assert_int_eq(gmm_store_tier_new(stores, 4, &st), 0);
	gmm_store_free(st);
	gmm_store_free(stores[4]);
}
END_TEST

static int fail_all(void *user, enum gmm_store_verb verb, uint64_t n_seen)
{
	(void)n_seen;
	return verb == *(enum gmm_store_verb *)user ? -EIO : 0;
}

static int fail_third(void *user, enum gmm_store_verb verb, uint64_t n_seen)
{
	(void)user;
	(void)verb;
	return n_seen == 2 ? EIO : 0;
}

START_TEST(an_injected_error_hits_its_operation)
{
	struct gmm_store *under = file(), *st = NULL;
	unsigned char *pages = help_pages(4);
	uint64_t slots[4];
	int error = 0;

	ck_assert_int_eq(gmm_store_faulty_new(under, fail_third, NULL, &st), 0);
	memset(pages, 9, 4 * GMM_PAGE_BYTES);
	ck_assert_uint_eq(help_write(st, pages, 4, slots, &error), 1);
	ck_assert_int_eq(error, -EIO);
	ck_assert_uint_eq(slots[2], GMM_SLOT_NONE);
	ck_assert_uint_ne(slots[3], GMM_SLOT_NONE);
	ck_assert_uint_eq(help_stats(st).errors, 1);
	ck_assert_uint_eq(help_write(st, pages, 4, slots, &error), 0);
	gmm_store_free(st);
	free(pages);
}
END_TEST

START_TEST(writes_go_round_a_broken_level)
{
	enum gmm_store_verb verb = GMM_STORE_WRITE;
	struct gmm_store *broken = NULL, *lower = file(), *st;
	unsigned char *pages = help_pages(8), *in = help_pages(8);
	uint64_t slots[8];
	int results[8];

	ck_assert_int_eq(gmm_store_faulty_new(ram(), fail_all, &verb, &broken), 0);
	st = tier(broken, lower);
	for (unsigned i = 0; i < 8; i++)
		help_fill_text(pages + i * GMM_PAGE_BYTES, i);
	ck_assert_uint_eq(help_write(st, pages, 8, slots, NULL), 0);
	ck_assert_uint_eq(help_stats(lower).n_slots_used, 8);
	help_read(st, in, 8, slots, results);
	ck_assert_int_eq(memcmp(in, pages, 8 * GMM_PAGE_BYTES), 0);
	gmm_store_free(st);
	free(in);
	free(pages);
}
END_TEST

START_TEST(a_broken_lower_level_costs_no_page)
{
	enum gmm_store_verb verb = GMM_STORE_WRITE;
	struct gmm_store *broken = NULL, *upper = ram(), *st;
	unsigned char *pages = help_pages(600), *in = help_pages(1);
	static uint64_t slots[600];
	int result, error = 0;
	unsigned n_failed;

	ck_assert_int_eq(gmm_store_faulty_new(file(), fail_all, &verb, &broken), 0);
	st = tier(upper, broken);
	for (unsigned i = 0; i < 600; i++)
		help_fill_text(pages + i * GMM_PAGE_BYTES, i);
	n_failed = help_write(st, pages, 600, slots, &error);
	ck_assert_int_eq(error, -EIO);
	settle(st);
	ck_assert_uint_eq(help_stats(upper).n_slots_used, 600 - n_failed);
	for (unsigned i = 0; i < 600; i++) {
		if (slots[i] == GMM_SLOT_NONE)
			continue;
		help_read(st, in, 1, &slots[i], &result);
		ck_assert_int_eq(result, 0);
		ck_assert_int_eq(memcmp(in, pages + i * GMM_PAGE_BYTES, GMM_PAGE_BYTES), 0);
	}
	gmm_store_free(st);
	free(in);
	free(pages);
}
END_TEST

/* The page is on its way down when it is released: neither place may stay taken. */
START_TEST(a_page_released_while_it_moves_leaves_nothing)
{
	struct gmm_store *upper = slow_new(64, 1), *lower = slow_new(500, 2),
			 *st = tier(upper, lower);
	unsigned char *pages = help_pages(128);
	uint64_t slots[128];

	for (unsigned i = 0; i < 128; i++)
		help_fill_text(pages + i * GMM_PAGE_BYTES, i);
	help_write(st, pages, 128, slots, NULL);
	ck_assert_ptr_null(st->ops->reap(st));
	st->ops->release(st, slots, 128);
	settle(st);
	ck_assert_uint_eq(help_stats(upper).n_slots_used, 0);
	ck_assert_uint_eq(help_stats(lower).n_slots_used, 0);
	gmm_store_free(st);
	free(pages);
}
END_TEST

UNIT_MAIN("store_tier", a_page_goes_to_the_first_that_takes_it, the_coldest_pages_move_down,
	  a_nearly_full_level_makes_room, write_back_to_a_full_level_rests, wild_slots_are_refused,
	  two_to_four_stores_make_a_tier, an_injected_error_hits_its_operation,
	  writes_go_round_a_broken_level, a_broken_lower_level_costs_no_page,
	  a_page_released_while_it_moves_leaves_nothing)
