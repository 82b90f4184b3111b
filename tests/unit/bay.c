/* A bay's frames: charged before they are there, zero where they are said to be, given back when
 * nobody needs them. */
#include "bay.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit.h"

static struct gmm_pool *pool;
static struct pool_member member;
static struct bay bay;

static void setup(uint64_t limit_pages)
{
	struct gmm_pool_config config = {.size = sizeof(config),
					 .limit_bytes = limit_pages << GMM_PAGE_SHIFT};

	ck_assert_int_eq(gmm_pool_new(&config, &pool), 0);
	member.wake_fd = eventfd(0, EFD_NONBLOCK);
	pool_join(pool, &member, member.wake_fd);
	ck_assert_int_eq(bay_init(&bay, &member), 0);
}

static uint64_t n_used(void)
{
	struct gmm_pool_stats stats = {.size = sizeof(stats)};

	gmm_pool_stats(pool, &stats);
	return stats.used_bytes >> GMM_PAGE_SHIFT;
}

static void teardown(void)
{
	bay_fini(&bay);
	ck_assert_uint_eq(n_used(), 0);
	pool_leave(&member);
	close(member.wake_fd);
	pool = gmm_pool_free(pool);
}

static bool is_zero(bay_slot slot)
{
	const char *page = bay_hva(&bay, slot);

	for (unsigned i = 0; i < GMM_PAGE_BYTES; i++)
		if (page[i])
			return false;
	return true;
}

START_TEST(frames_are_charged_up_to_the_limit)
{
	bay_slot slots[600];
	unsigned n = 0;

	setup(512);
	while (n < 600 && (slots[n] = bay_get_zero(&bay)) != BAY_NONE) {
		ck_assert(is_zero(slots[n]));
		memset(bay_hva(&bay, slots[n]), 0xff, GMM_PAGE_BYTES);
		for (unsigned i = 0; i < n; i += 37)
			ck_assert_uint_ne(slots[i], slots[n]);
		ck_assert_uint_le(n_used(), 512);
		n++;
	}
	ck_assert_uint_eq(n, 512);
	ck_assert_uint_eq(bay_get_any(&bay), BAY_NONE);
	ck_assert_uint_eq(bay_get_last(&bay), BAY_NONE);
	ck_assert_uint_eq(n_used(), 512);
	while (n)
		bay_put_dirty(&bay, slots[--n]);
	ck_assert_uint_eq(bay_n_free(&bay), 512);
	teardown();
}
END_TEST

/* Invariant 3: what was used comes back zeroed, in whatever way it went. */
START_TEST(used_frames_come_back_zeroed)
{
	bay_slot slots[512];

	setup(512);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 512; i++) {
			slots[i] = bay_get_zero(&bay);
			ck_assert_uint_ne(slots[i], BAY_NONE);
			ck_assert(is_zero(slots[i]));
		}
		for (unsigned i = 0; i < 512; i++) {
			if (i % 3 == 0) {
				bay_put_zero(&bay, slots[i]); /* still zero */
				continue;
			}
			memset(bay_hva(&bay, slots[i]), 0xee, GMM_PAGE_BYTES);
			bay_put_dirty(&bay, slots[i]);
		}
		if (round % 2)
			ck_assert_uint_eq(bay_scrub(&bay, 100), 100);
	}
	ck_assert_uint_eq(bay_n_free(&bay), 512);
	while (bay_scrub(&bay, 50))
		;
	ck_assert_uint_eq(bay.n_zero, 512);
	ck_assert_uint_eq(bay.n_dirty, 0);
	teardown();
}
END_TEST

START_TEST(the_floor_is_for_evictions_alone)
{
	bay_slot slots[512];
	unsigned n = 0;

	setup(512);
	ck_assert_uint_eq(bay_populate(&bay, 16), 16);
	bay.floor = 16;
	while ((slots[n] = bay_get_any(&bay)) != BAY_NONE)
		n++;
	ck_assert_uint_eq(n, 512 - 16);
	ck_assert_uint_eq(bay_get_zero(&bay), BAY_NONE);
	ck_assert_uint_eq(bay_trim(&bay, 16, true), 0);
	slots[n] = bay_get_last(&bay);
	ck_assert_uint_ne(slots[n++], BAY_NONE);
	while (n)
		bay_put_dirty(&bay, slots[--n]);
	ck_assert_uint_eq(bay_trim(&bay, 1000, true), 512 - 16);
	ck_assert_uint_eq(n_used(), 16);
	teardown();
}
END_TEST

static unsigned n_resident(bay_slot slot)
{
	unsigned char resident = 0;

	ck_assert_int_eq(mincore(bay_hva(&bay, slot), GMM_PAGE_BYTES, &resident), 0);
	return resident & 1;
}

START_TEST(what_is_trimmed_is_the_hosts_again)
{
	bay_slot slots[64];

	setup(512);
	for (unsigned i = 0; i < 64; i++) {
		slots[i] = bay_get_any(&bay);
		memset(bay_hva(&bay, slots[i]), 1, GMM_PAGE_BYTES);
	}
	for (unsigned i = 0; i < 64; i++)
		bay_put_dirty(&bay, slots[i]);
	bay_trim(&bay, UINT32_MAX, true);
	ck_assert_uint_eq(n_used(), 0);
	for (unsigned i = 0; i < 64; i++)
		ck_assert_uint_eq(n_resident(slots[i]), 0);
	teardown();
}
END_TEST

START_TEST(vacant_slots_stand_side_by_side)
{
	bay_slot slots[64];

	setup(512);
	ck_assert_int_eq(bay_get_vacant(&bay, 64, slots), 0);
	for (unsigned i = 1; i < 64; i++)
		ck_assert_uint_eq(slots[i], slots[0] + i);
	ck_assert_uint_eq(n_used(), 0); /* no frame, no charge */
	for (unsigned i = 0; i < 64; i++)
		bay_put_vacant(&bay, slots[i]);
	teardown();
}
END_TEST

/* Any number, again and again: in a few runs, up to the limit. */
START_TEST(several_frames_stand_side_by_side)
{
	bay_slot slots[600];
	unsigned n, n_runs;

	setup(512);
	for (unsigned round = 0; round < 50; round++) {
		unsigned want = 1 + round * 7 % 126;

		n = bay_get_several(&bay, want, slots);
		ck_assert_uint_eq(n, want);
		n_runs = 1;
		for (unsigned i = 1; i < n; i++) {
			ck_assert_uint_gt(slots[i], slots[i - 1]);
			n_runs += slots[i] != slots[i - 1] + 1;
		}
		ck_assert_uint_le(n_runs, 8);
		for (unsigned i = 0; i < n; i++)
			bay_put_dirty(&bay, slots[i]);
	}
	n = bay_get_several(&bay, 599, slots);
	ck_assert_uint_eq(n, 512);
	ck_assert_uint_eq(bay_get_several(&bay, 1, &slots[n]), 0);
	while (n)
		bay_put_dirty(&bay, slots[--n]);
	teardown();
}
END_TEST

/* The guest has a copy: the buffer's frame goes, its charge is now the guest page's. */
START_TEST(a_charge_outlives_its_frame_when_it_is_handed_over)
{
	bay_slot slot;

	setup(512);
	ck_assert_uint_eq(bay_populate(&bay, 1), 1);
	slot = bay_get_last(&bay);
	memset(bay_hva(&bay, slot), 1, GMM_PAGE_BYTES);
	ck_assert_uint_eq(n_used(), 1);
	bay_hand_over(&bay, slot);
	ck_assert_uint_eq(n_used(), 1);
	ck_assert_uint_eq(n_resident(slot), 0);
	pool_uncharge(&member, 1);
	teardown();
}
END_TEST

UNIT_MAIN("bay", frames_are_charged_up_to_the_limit, used_frames_come_back_zeroed,
	  the_floor_is_for_evictions_alone, what_is_trimmed_is_the_hosts_again,
	  vacant_slots_stand_side_by_side, several_frames_stand_side_by_side,
	  a_charge_outlives_its_frame_when_it_is_handed_over)
