/* Guest memory for devices: copying, holding, discarding, looking, over regions, gaps and windows.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "fault/vm.h"

#define GAP	     (4 * MIB) /* RAM below and from 5 MiB on */
#define AFTER	     (5 * MIB)
#define WINDOW	     (8 * MIB)
#define WINDOW_BYTES 10000u

/* RAM, a gap, RAM in two regions side by side, a window on a file; no worker, one thread. */
static struct gmm_space *s;
static struct gmm_pool *pool;
static char *hvas[4];

static void setup(void)
{
	struct gmm_pool_config limit = {.size = sizeof(limit), .limit_bytes = 2 * MIB};
	struct gmm_space_config config = {.size = sizeof(config)};
	char path[] = "/tmp/guestmm-access-XXXXXX";
	int fd = mkstemp(path), ret;

	ck_assert_int_ge(fd, 0);
	unlink(path);
	for (unsigned i = 0; i < WINDOW_BYTES; i++)
		ck_assert_int_eq(write(fd, &(char){(char)(i % 251)}, 1), 1);
	ck_assert_int_eq(gmm_pool_new(&limit, &pool), 0);
	config.pool = pool;
	config.store = vm_store(16 * MIB, NULL, NULL);
	ret = gmm_space_new(&config, &s);
	if (ret == -EPERM || ret == -ENOSYS)
		UNIT_SKIP("userfaultfd is not to be had here: %s", strerror(-ret));
	ck_assert_int_eq(ret, 0);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){0}, GAP, (void **)&hvas[0]), 0);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){AFTER}, MIB, (void **)&hvas[1]), 0);
	ck_assert_int_eq(gmm_space_add_ram(s, (gmm_gpa){AFTER + MIB}, MIB, (void **)&hvas[2]), 0);
	ck_assert_int_eq(
		gmm_space_add_file(s, (gmm_gpa){WINDOW}, fd, WINDOW_BYTES, (void **)&hvas[3]), 0);
	close(fd);
}

static void teardown(void)
{
	s = gmm_space_free(s);
	pool = gmm_pool_free(pool);
}

static char buf[64 * 1024], back[64 * 1024];

static void fill(unsigned seed)
{
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (char)(i * 7 + seed + i / 4096);
}

START_TEST(any_length_at_any_address)
{
	static const struct {
		uint64_t gpa;
		size_t n;
	} cases[] = {
		{0, 1},
		{4095, 2},
		{1, 4096},
		{4096, 4096},
		{12345, 50000},
		{GAP - 1, 1},
		{GAP - 5000, 5000},
		{AFTER, 3},
		{AFTER + MIB - 7, 14},
		{AFTER + MIB - 20000, 40000},
	};

	setup();
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fill(i);
		ck_assert_int_eq(gmm_space_write(s, (gmm_gpa){cases[i].gpa}, buf, cases[i].n), 0);
		memset(back, 0, sizeof(back));
		ck_assert_int_eq(gmm_space_read(s, (gmm_gpa){cases[i].gpa}, back, cases[i].n), 0);
		ck_assert_mem_eq(buf, back, cases[i].n);
	}
	ck_assert_int_eq(gmm_space_read(s, (gmm_gpa){0}, back, 0), 0);
	teardown();
}
END_TEST

START_TEST(what_is_not_all_there_is_refused_whole)
{
	setup();
	fill(1);
	ck_assert_int_eq(gmm_space_write(s, (gmm_gpa){GAP - 4096}, buf, 4096), 0);
	memset(buf, 0x11, sizeof(buf));
	ck_assert_int_eq(gmm_space_write(s, (gmm_gpa){GAP - 4096}, buf, 4097), -EFAULT);
	ck_assert_int_eq(gmm_space_write(s, (gmm_gpa){GAP - 4096}, buf, 65536), -EFAULT);
	ck_assert_int_eq(gmm_space_read(s, (gmm_gpa){GAP}, back, 1), -EFAULT);
	ck_assert_int_eq(gmm_space_read(s, (gmm_gpa){AFTER - 1}, back, 2), -EFAULT);
	ck_assert_int_eq(gmm_space_read(s, (gmm_gpa){UINT64_MAX}, back, 1), -EFAULT);
	ck_assert_int_eq(gmm_space_read(s, (gmm_gpa){UINT64_MAX - 1}, back, 4), -EFAULT);
	fill(1);
	ck_assert_int_eq(gmm_space_read(s, (gmm_gpa){GAP - 4096}, back, 4096), 0);
	ck_assert_mem_eq(buf, back, 4096); /* nothing was copied */
	teardown();
}
END_TEST

START_TEST(windows_are_read_only)
{
	void *hva;

	setup();
	ck_assert_int_eq(gmm_space_read(s, (gmm_gpa){WINDOW}, back, 12288), 0);
	for (unsigned i = 0; i < 12288; i++)
		ck_assert_int_eq(back[i], i < WINDOW_BYTES ? (char)(i % 251) : 0);
	ck_assert_int_eq(gmm_space_write(s, (gmm_gpa){WINDOW}, buf, 1), -EROFS);
	ck_assert_int_eq(gmm_space_hold(s, (gmm_gpa){WINDOW}, 1, true, &hva), -EROFS);
	ck_assert_int_eq(gmm_space_hold(s, (gmm_gpa){WINDOW}, 1, false, &hva), 0);
	ck_assert_ptr_eq(hva, hvas[3]);
	gmm_space_release(s, (gmm_gpa){WINDOW}, 1);
	ck_assert_int_eq(gmm_space_discard(s, (gmm_gfn){WINDOW >> 12}, 3),
			 0); /* dropped, no more */
	ck_assert_int_eq(gmm_space_read(s, (gmm_gpa){WINDOW + 4096}, back, 10), 0);
	ck_assert_int_eq(back[0], (char)(4096 % 251));
	teardown();
}
END_TEST

START_TEST(holds_pin_what_they_show)
{
	struct gmm_stats stats = {.size = sizeof(stats)};
	void *hva, *again;

	setup();
	ck_assert_int_eq(gmm_space_hold(s, (gmm_gpa){5000}, 8192, true, &hva), 0);
	ck_assert_ptr_eq(hva, hvas[0] + 5000);
	memset(hva, 0x5a, 8192);
	ck_assert_int_eq(gmm_space_hold(s, (gmm_gpa){8000}, 10, true, &again), 0);
	ck_assert_ptr_eq(again, hvas[0] + 8000);
	/* Given up, or pressed for, they stay. */
	ck_assert_int_eq(gmm_space_discard(s, (gmm_gfn){1}, 3), 0);
	for (uint64_t gpa = 64 * 1024; gpa < GAP; gpa += 4096)
		ck_assert_int_eq(gmm_space_write(s, (gmm_gpa){gpa}, "x", 1), 0);
	for (unsigned i = 0; i < 8192; i++)
		ck_assert_int_eq(((char *)hva)[i], 0x5a);
	gmm_space_stats(s, &stats);
	ck_assert_uint_gt(stats.reclaim.written, 0);
	gmm_space_release(s, (gmm_gpa){8000}, 10);
	gmm_space_release(s, (gmm_gpa){5000}, 8192);
	ck_assert_int_eq(gmm_space_discard(s, (gmm_gfn){1}, 3), 0);
	ck_assert_int_eq(gmm_space_read(s, (gmm_gpa){5000}, back, 8192), 0);
	for (unsigned i = 0; i < 8192; i++)
		ck_assert_int_eq(back[i], 0);
	teardown();
}
END_TEST

START_TEST(holds_that_cannot_be_are_refused)
{
	void *hva = NULL;

	setup();
	ck_assert_int_eq(gmm_space_hold(s, (gmm_gpa){0}, 0, true, &hva), -EINVAL);
	ck_assert_int_eq(gmm_space_hold(s, (gmm_gpa){0}, 64 * 1024 + 1, true, &hva), -EINVAL);
	ck_assert_int_eq(gmm_space_hold(s, (gmm_gpa){GAP}, 1, true, &hva), -EFAULT);
	ck_assert_int_eq(gmm_space_hold(s, (gmm_gpa){GAP - 1}, 2, true, &hva), -EFAULT);
	/* Side by side for the guest, apart in this process. */
	ck_assert_int_eq(gmm_space_hold(s, (gmm_gpa){AFTER + MIB - 1}, 2, true, &hva), -EFAULT);
	ck_assert_ptr_null(hva);
	gmm_space_release(s, (gmm_gpa){GAP}, 1); /* nothing */
	ck_assert_int_eq(gmm_space_hold(s, (gmm_gpa){0}, 64 * 1024, true, &hva), 0);
	gmm_space_release(s, (gmm_gpa){0}, 64 * 1024);
	teardown();
}
END_TEST

START_TEST(discards_reach_over_regions_but_not_over_gaps)
{
	uint8_t states[512];

	setup();
	fill(3);
	ck_assert_int_eq(gmm_space_write(s, (gmm_gpa){AFTER + MIB - 8192}, buf, 16384), 0);
	ck_assert_int_eq(gmm_space_discard(s, (gmm_gfn){(AFTER >> 12) - 1}, 2), -EFAULT);
	ck_assert_int_eq(gmm_space_discard(s, (gmm_gfn){(AFTER >> 12)}, 513), -EFAULT);
	ck_assert_int_eq(gmm_space_read(s, (gmm_gpa){AFTER + MIB - 8192}, back, 16384), 0);
	ck_assert_mem_eq(buf, back, 16384);
	ck_assert_int_eq(gmm_space_discard(s, (gmm_gfn){AFTER >> 12}, 512), 0);
	ck_assert_int_eq(gmm_space_states(s, (gmm_gfn){AFTER >> 12}, 512, states), 0);
	for (unsigned i = 0; i < 512; i++)
		ck_assert_uint_eq(states[i], GMM_PAGE_EMPTY);
	ck_assert_int_eq(gmm_space_discard(s, (gmm_gfn){0}, 0), 0);
	ck_assert_int_eq(gmm_space_states(s, (gmm_gfn){GAP >> 12}, 1, states), -EFAULT);
	ck_assert_int_eq(gmm_space_states(s, (gmm_gfn){UINT64_MAX}, 1, states), -EFAULT);
	teardown();
}
END_TEST

UNIT_MAIN("access", any_length_at_any_address, what_is_not_all_there_is_refused_whole,
	  windows_are_read_only, holds_pin_what_they_show, holds_that_cannot_be_are_refused,
	  discards_reach_over_regions_but_not_over_gaps)
