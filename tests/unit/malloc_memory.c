/* The guest's malloc, built for the host: memory that it takes, keeps and gives back. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "malloc_help.h"

START_TEST(large_blocks_come_and_go_with_their_mapping)
{
	struct gm_malloc_stats before, with, after;
	char *small, *p;

	small = gm_malloc(10);
	before = stats_now();
	p = gm_malloc(8 << 20);
	memset(p, 1, 8 << 20);
	with = stats_now();
	ck_assert_uint_eq(with.large_blocks, before.large_blocks + 1);
	ck_assert_uint_eq(with.large_bytes, before.large_bytes + (8 << 20));
	ck_assert_uint_ge(with.mapped_bytes, before.mapped_bytes + (8 << 20));
	gm_free(p);
	after = stats_now();
	ck_assert_uint_eq(after.large_blocks, before.large_blocks);
	ck_assert_uint_le(after.mapped_bytes, before.mapped_bytes + 65536); /* its table */
	ck_assert_int_eq(msync(p, 4096, MS_ASYNC), -1);
	ck_assert_int_eq(errno, ENOMEM); /* nothing is mapped there */
	gm_free(small);
}
END_TEST

START_TEST(the_mmap_threshold_is_tunable)
{
	void *p;

	ck_assert_int_eq(gm_mallopt(GM_MMAP_THRESHOLD, 16384), 0);
	p = gm_malloc(16383);
	ck_assert_uint_eq(stats_now().large_blocks, 0);
	p = gm_realloc(p, 16384);
	ck_assert_uint_eq(stats_now().large_blocks, 1);
	p = gm_realloc(p, 100);
	ck_assert_uint_eq(stats_now().large_blocks, 0);
	gm_free(p);
	ck_assert_int_eq(gm_mallopt(GM_MMAP_THRESHOLD, 2 << 20), 0);
	p = gm_malloc((2 << 20) - 1);
	ck_assert_uint_eq(stats_now().large_blocks, 0);
	gm_free(p);
	ck_assert_int_eq(gm_mallopt(GM_MMAP_THRESHOLD, 4095), -EINVAL);
	ck_assert_int_eq(gm_mallopt(GM_MMAP_THRESHOLD, (2 << 20) + 1), -EINVAL);
	ck_assert_int_eq(gm_mallopt((enum gm_mallopt)99, 1), -EINVAL);
}
END_TEST

/* Pages of [p, p + n) that hold memory. */
static size_t n_resident(const char *p, size_t n)
{
	unsigned char resident[4096];
	size_t count = 0;

	ck_assert_uint_le(n / 4096, sizeof(resident));
	ck_assert_int_eq(mincore((void *)(uintptr_t)p, n, resident), 0);
	for (size_t i = 0; i < n / 4096; i++)
		count += resident[i] & 1;
	return count;
}

START_TEST(idle_memory_beyond_the_threshold_goes_back)
{
	enum { N = 400, BYTES = 100000 };
	static char *blocks[N];
	uint64_t idle;

	ck_assert_int_eq(gm_mallopt(GM_TRIM_THRESHOLD, 4 << 20), 0);
	for (unsigned i = 0; i < N; i++) {
		blocks[i] = gm_malloc(BYTES);
		memset(blocks[i], 1, BYTES);
	}
	for (unsigned i = 0; i < N; i += 2)
		gm_free(blocks[i]);
	idle = stats_now().idle_bytes;
	ck_assert_uint_le(idle, 4 << 20);
	ck_assert_uint_ge(stats_now().trimmed_bytes, (uint64_t)N / 2 * BYTES - (4 << 20));
	for (unsigned i = 1; i < N; i += 2)
		for (unsigned j = 0; j < BYTES; j++)
			if (blocks[i][j] != 1)
				ck_abort_msg("byte %u of block %u", j, i);
	for (unsigned i = 1; i < N; i += 2)
		gm_free(blocks[i]);
	ck_assert_uint_le(stats_now().idle_bytes, 4 << 20);
}
END_TEST

START_TEST(trim_gives_back_what_is_free_between_live_blocks)
{
	char *first, *middle, *last, *page;

	first = gm_malloc(100000);
	middle = gm_malloc(400000);
	last = gm_malloc(100000);
	memset(middle, 1, 400000);
	page = (char *)(((uintptr_t)middle + 4095) & ~(uintptr_t)4095);
	ck_assert_uint_eq(n_resident(page, 65536), 16);
	gm_free(middle);
	ck_assert_uint_eq(n_resident(page, 65536), 16);
	ck_assert_int_eq(gm_malloc_trim(1 << 30), 0);
	ck_assert_uint_eq(n_resident(page, 65536), 16);
	ck_assert_int_eq(gm_malloc_trim(0), 1);
	ck_assert_uint_eq(n_resident(page, 65536), 0);
	ck_assert_uint_eq(stats_now().idle_bytes, 0);
	ck_assert_int_eq(gm_malloc_trim(0), 0);
	gm_free(first);
	gm_free(last);
}
END_TEST

START_TEST(after_a_trim_no_segment_is_left)
{
	void *blocks[N_EACH];
	uint64_t bare;

	gm_free(gm_malloc(1));	     /* the cache and the segment map stay */
	gm_free(gm_malloc(4 << 20)); /* and the table of large blocks */
	gm_malloc_trim(0);
	bare = stats_now().mapped_bytes;
	ck_assert_uint_lt(bare, SEGMENT_BYTES);
	for (size_t i = 0; i < N_EACH; i++)
		blocks[i] = gm_malloc(one_of_each[i]);
	ck_assert_uint_gt(stats_now().mapped_bytes, bare);
	for (size_t i = 0; i < N_EACH; i++)
		gm_free(blocks[i]);
	ck_assert_int_eq(gm_malloc_trim(0), 1);
	ck_assert_uint_eq(stats_now().mapped_bytes, bare);
}
END_TEST

START_TEST(statistics_add_up)
{
	struct gm_class_stats class;
	struct gm_malloc_stats s;
	void *blocks[N_EACH];
	uint64_t bytes = 0;

	for (size_t i = 0; i < N_EACH; i++) {
		blocks[i] = gm_malloc(one_of_each[i]);
		bytes += one_of_each[i];
		s = stats_now();
		ck_assert_uint_eq(s.live_blocks, i + 1);
		ck_assert_uint_eq(s.live_bytes, bytes);
		ck_assert_uint_ge(s.mapped_bytes, bytes);
		ck_assert_uint_ge(s.mapped_peak_bytes, s.mapped_bytes);
	}
	ck_assert_int_eq(gm_malloc_class_stats(size_class(25), &class), 0);
	ck_assert_uint_eq(class.block_bytes, 32);
	ck_assert_uint_eq(class.live_blocks, 1);
	ck_assert_uint_eq(class.allocations, 1);
	ck_assert_uint_eq(class.slabs, 1);
	ck_assert_int_eq(gm_malloc_class_stats(N_CLASSES, &class), -EINVAL);
	for (size_t i = 0; i < N_EACH; i++) {
		blocks[i] = gm_realloc(blocks[i], one_of_each[i] + 3);
		ck_assert_uint_eq(stats_now().live_bytes, bytes + 3 * (i + 1));
	}
	for (size_t i = 0; i < N_EACH; i++)
		gm_free(blocks[i]);
	s = stats_now();
	ck_assert_uint_eq(s.live_blocks, 0);
	ck_assert_uint_eq(s.live_bytes, 0);
}
END_TEST

START_TEST(caches_are_bounded)
{
	enum { N = 5000 };
	static void *blocks[N];
	const struct cache *cache;
	size_t bytes = 0;

	for (size_t n = 1; n < BLOCK_MAX_BYTES; n = n * 3 / 2 + 1) {
		for (unsigned i = 0; i < N / 10; i++)
			blocks[i] = gm_malloc(n);
		for (unsigned i = 0; i < N / 10; i++)
			gm_free(blocks[i]);
	}
	cache = gm_heap.caches;
	for (unsigned class = 0; class < N_CLASSES; class ++) {
		ck_assert_uint_le(cache->n[class], CACHE_BLOCKS);
		ck_assert_uint_le(cache->n[class] * size_of_class(class), 8192);
		bytes += cache->n[class] * size_of_class(class);
	}
	ck_assert_uint_gt(bytes, 0);
	gm_malloc_thread_done();
	for (unsigned class = 0; class < N_CLASSES; class ++)
		ck_assert_uint_eq(cache->n[class], 0);
}
END_TEST

START_TEST(empty_slabs_go_back_all_but_one)
{
	enum { N = 2000 };
	static void *blocks[N];
	struct gm_class_stats class;

	for (unsigned i = 0; i < N; i++)
		blocks[i] = gm_malloc(5000);
	ck_assert_int_eq(gm_malloc_class_stats(size_class(5001), &class), 0);
	ck_assert_uint_gt(class.slabs, 20);
	for (unsigned i = 0; i < N; i++)
		gm_free(blocks[i]);
	gm_malloc_thread_done();
	gm_malloc_class_stats(size_class(5001), &class);
	ck_assert_uint_eq(class.slabs, 1);
	ck_assert_uint_eq(class.live_blocks, 0);
	gm_malloc_trim(0);
	gm_malloc_class_stats(size_class(5001), &class);
	ck_assert_uint_eq(class.slabs, 0);
}
END_TEST

/* Many at once: the table grows, and closes its gaps when they go in another order. */
START_TEST(many_large_blocks_are_told_apart)
{
	enum { N = 1000 };
	static char *blocks[N];

	ck_assert_int_eq(gm_mallopt(GM_MMAP_THRESHOLD, 4096), 0);
	for (unsigned i = 0; i < N; i++) {
		blocks[i] = gm_malloc(4096 + i);
		blocks[i][4095 + i] = (char)i;
	}
	for (unsigned i = 0; i < N; i++) {
		unsigned j = i * 617 % N;

		ck_assert_uint_eq(gm_malloc_usable_size(blocks[j]), 4096 + j);
		ck_assert_int_eq(blocks[j][4095 + j], (char)j);
		gm_free(blocks[j]);
	}
	ck_assert_uint_eq(stats_now().large_blocks, 0);
}
END_TEST

#ifndef SANITIZED
START_TEST(out_of_memory_is_told_and_survived)
{
	struct rlimit limit = {64 << 20, RLIM_INFINITY};
	static char *blocks[100000];
	unsigned n = 0;

	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0); /* this test is a process of its own */
	errno = 0;
	while (n < 100000 && (blocks[n] = gm_malloc(10000 + n)))
		memset(blocks[n++], 1, 10000);
	ck_assert_uint_gt(n, 1000);
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_ptr_null(gm_malloc(40 << 20));
	ck_assert_ptr_null(gm_realloc(blocks[0], 40 << 20));
	ck_assert_uint_eq(gm_malloc_usable_size(blocks[0]), 10000);
	for (unsigned i = 0; i < n; i++)
		gm_free(blocks[i]);
	gm_malloc_trim(0);
	blocks[0] = gm_malloc(30 << 20);
	ck_assert_ptr_nonnull(blocks[0]);
	gm_free(blocks[0]);
}
END_TEST
#endif
UNIT_MAIN_TIMEOUT("malloc_memory", 100, large_blocks_come_and_go_with_their_mapping,
		  the_mmap_threshold_is_tunable, idle_memory_beyond_the_threshold_goes_back,
		  trim_gives_back_what_is_free_between_live_blocks, after_a_trim_no_segment_is_left,
		  statistics_add_up, caches_are_bounded, empty_slabs_go_back_all_but_one,
#ifndef SANITIZED
		  out_of_memory_is_told_and_survived,
#endif
		  many_large_blocks_are_told_apart)
