/* The budget: never above the limit, shared fairly, told to those who wait. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bay.h"
#include "pool.h"
#include "unit.h"

static struct gmm_pool *pool_of(uint64_t pages)
{
	struct gmm_pool_config config = {.size = sizeof(config), .limit_bytes = pages << 12};
	struct gmm_pool *pool;

	ck_assert_int_eq(gmm_pool_new(&config, &pool), 0);
	return pool;
}

START_TEST(bad_limits_are_refused)
{
	struct gmm_pool_config config = {.size = sizeof(config), .limit_bytes = 4096};
	struct gmm_pool *pool = NULL;

	ck_assert_int_eq(gmm_pool_new(&config, &pool), -EINVAL);
	config.limit_bytes = GMM_POOL_MIN_BYTES + 1;
	ck_assert_int_eq(gmm_pool_new(&config, &pool), -EINVAL);
	config.limit_bytes = GMM_POOL_MIN_BYTES;
	config.size = 1;
	ck_assert_int_eq(gmm_pool_new(&config, &pool), -EINVAL);
	ck_assert_ptr_null(pool);
	pool = pool_of(1024);
	ck_assert_int_eq(gmm_pool_set_limit(pool, 0), -EINVAL);
	ck_assert_int_eq(gmm_pool_set_limit(pool, GMM_POOL_MIN_BYTES), 0);
	ck_assert_ptr_null(gmm_pool_free(pool));
	ck_assert_ptr_null(gmm_pool_free(NULL));
}
END_TEST

START_TEST(charges_stop_at_the_limit)
{
	struct gmm_pool *pool = pool_of(1000);
	struct pool_member a = {0}, b = {0};
	struct gmm_pool_stats stats = {.size = sizeof(stats)};

	pool_join(pool, &a, eventfd(0, EFD_NONBLOCK));
	pool_join(pool, &b, eventfd(0, EFD_NONBLOCK));
	ck_assert(pool_charge(&a, 600));
	ck_assert(!pool_charge(&b, 401));
	ck_assert(pool_charge(&b, 400));
	ck_assert(!pool_charge(&a, 1));
	ck_assert_uint_eq(pool_available(pool), 0);
	gmm_pool_set_limit(pool, 600 << 12);
	ck_assert_uint_eq(pool_excess(pool), 400);
	ck_assert_uint_eq(pool_share(pool), 300);
	pool_uncharge(&a, 399);
	ck_assert(!pool_charge(&b, 1));
	pool_uncharge(&a, 2);
	ck_assert(pool_charge(&b, 1));
	gmm_pool_stats(pool, &stats);
	ck_assert_uint_eq(stats.used_peak_bytes, 1000 << 12);
	ck_assert_uint_eq(stats.used_bytes, 600 << 12);
	pool_uncharge(&a, 199);
	pool_uncharge(&b, 401);
	close(a.wake_fd);
	close(b.wake_fd);
	pool_leave(&a);
	pool_leave(&b);
	gmm_pool_free(pool);
}
END_TEST

START_TEST(who_starves_is_woken)
{
	struct gmm_pool *pool = pool_of(1000);
	struct pool_member a = {0}, b = {0};
	eventfd_t n;

	pool_join(pool, &a, eventfd(0, EFD_NONBLOCK));
	pool_join(pool, &b, eventfd(0, EFD_NONBLOCK));
	ck_assert(pool_charge(&a, 1000));
	pool_starve(&b, true);
	ck_assert_int_eq(eventfd_read(a.wake_fd, &n), 0); /* a is asked to give */
	ck_assert_int_ne(eventfd_read(b.wake_fd, &n), 0);
	pool_uncharge(&a, 1);
	ck_assert_int_eq(eventfd_read(b.wake_fd, &n), 0); /* b is told that there is one */
	pool_starve(&b, false);
	pool_uncharge(&a, 999);
	ck_assert_int_ne(eventfd_read(b.wake_fd, &n), 0);
	close(a.wake_fd);
	close(b.wake_fd);
	pool_leave(&a);
	pool_leave(&b);
	gmm_pool_free(pool);
}
END_TEST

static void *charge_and_uncharge(void *arg)
{
	struct pool_member *m = arg;

	for (int i = 0; i < 200000; i++)
		if (pool_charge(m, 1 + (uint64_t)i % 300))
			pool_uncharge(m, 1 + (uint64_t)i % 300);
	return NULL;
}

START_TEST(two_threads_never_pass_it)
{
	struct gmm_pool *pool = pool_of(512);
	struct pool_member m[2] = {0};
	struct gmm_pool_stats stats = {.size = sizeof(stats)};
	pthread_t t[2];

	for (int i = 0; i < 2; i++) {
		pool_join(pool, &m[i], eventfd(0, EFD_NONBLOCK));
		pthread_create(&t[i], NULL, charge_and_uncharge, &m[i]);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], NULL);
		pool_leave(&m[i]);
		close(m[i].wake_fd);
	}
	gmm_pool_stats(pool, &stats);
	ck_assert_uint_le(stats.used_peak_bytes, 512 << 12);
	ck_assert_uint_eq(stats.used_bytes, 0);
	gmm_pool_free(pool);
}
END_TEST

START_TEST(a_frame_is_zeroed_before_it_is_handed_out)
{
	struct gmm_pool *pool = pool_of(512);
	struct pool_member m = {0};
	struct bay bay;
	bay_slot slots[512];
	unsigned n = 0;

	pool_join(pool, &m, eventfd(0, EFD_NONBLOCK));
	ck_assert_int_eq(bay_init(&bay, &m), 0);
	while (n < 512 && (slots[n] = bay_get_any(&bay)) != BAY_NONE)
		memset(bay_hva(&bay, slots[n++]), 0x5a, 4096);
	ck_assert_uint_eq(n, 512); /* the limit, not one less or more */
	ck_assert_uint_eq(bay_get_zero(&bay), BAY_NONE);
	for (unsigned i = 0; i < n; i++)
		bay_put_dirty(&bay, slots[i]);
	ck_assert_uint_eq(bay_scrub(&bay, 100), 100);
	for (unsigned i = 0; i < 512; i++) {
		bay_slot slot = bay_get_zero(&bay);
		const char *page = bay_hva(&bay, slot);

		ck_assert_uint_ne(slot, BAY_NONE);
		ck_assert_msg(page[0] == 0 && memcmp(page, page + 1, 4095) == 0, "slot %u", slot);
		slots[i] = slot;
	}
	for (unsigned i = 0; i < n; i++)
		bay_put_zero(&bay, slots[i]);
	ck_assert_uint_eq(bay_trim(&bay, 12, true), 12);
	ck_assert_uint_eq(pool_available(pool), 12);
	bay_fini(&bay);
	ck_assert_uint_eq(pool_available(pool), 512);
	close(m.wake_fd);
	pool_leave(&m);
	gmm_pool_free(pool);
}
END_TEST

START_TEST(an_older_caller_gets_no_more_than_it_knows)
{
	struct gmm_pool *pool = pool_of(512);
	struct gmm_pool_stats stats;

	memset(&stats, 0xa5, sizeof(stats));
	stats.size = offsetof(struct gmm_pool_stats, used_bytes);
	gmm_pool_stats(pool, &stats);
	ck_assert_uint_eq(stats.size, offsetof(struct gmm_pool_stats, used_bytes));
	ck_assert_uint_eq(stats.limit_bytes, 512 << 12);
	ck_assert_uint_eq(stats.used_bytes, UINT64_C(0xa5a5a5a5a5a5a5a5));
	gmm_pool_free(pool);
}
END_TEST

UNIT_MAIN("pool", an_older_caller_gets_no_more_than_it_knows, bad_limits_are_refused,
	  charges_stop_at_the_limit, who_starves_is_woken, two_threads_never_pass_it,
	  a_frame_is_zeroed_before_it_is_handed_out)
