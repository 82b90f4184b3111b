/* The guest's malloc, built for the host: what its header promises, one test each. */
#include "guest/malloc/malloc.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/malloc/heap.h"
#include "unit.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

/* One size of each kind of place: slab, run, mapping. */
static const size_t one_of_each[] = {1,	    24,	   100,	   1000,    5000,
				     31000, 40000, 300000, 1 << 20, 3 << 20};
#define N_EACH (sizeof(one_of_each) / sizeof(one_of_each[0]))

static struct gm_malloc_stats stats_now(void)
{
	struct gm_malloc_stats stats;

	gm_malloc_stats(&stats);
	return stats;
}

/* Runs f in a child; it must end by abort() and tell about the address that f left at *told. */
static void assert_dies(void (*f)(void *, void **), void *arg, const char *words)
{
	void **told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char text[512] = {0}, address[32];
	int pipes[2], status;
	ssize_t n;
	pid_t pid;

	ck_assert_int_eq(pipe(pipes), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		dup2(pipes[1], 2);
		f(arg, told);
		_exit(0);
	}
	close(pipes[1]);
	n = read(pipes[0], text, sizeof(text) - 1);
	close(pipes[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
		      "not aborted for: %s (status %#x, said: %s)", words, status, text);
	ck_assert_int_gt(n, 0);
	ck_assert_msg(strstr(text, words) != NULL, "wanted '%s', got '%s'", words, text);
	snprintf(address, sizeof(address), "%p ", *told);
	ck_assert_msg(strstr(text, address) != NULL, "wanted %s in: %s", address, text);
	munmap(told, 4096);
}

START_TEST(every_size_wastes_an_eighth_at_most)
{
	size_t last = 0;

	for (size_t n = 0; n <= (5u << 20); n++) {
		size_t bytes = gm_malloc_block_bytes(n), waste = bytes - n;

		if (bytes <= n || bytes < last) /* there must be room for the guard */
			ck_abort_msg("%zu bytes take %zu", n, bytes);
		if (waste > 16 && waste * 8 > bytes)
			ck_abort_msg("%zu bytes take %zu", n, bytes);
		if (n >= 128 && waste * 8 > n)
			ck_abort_msg("%zu bytes take %zu", n, bytes);
		last = bytes;
	}
	ck_assert_uint_eq(gm_malloc_block_bytes(SIZE_MAX), 0);
}
END_TEST

START_TEST(classes_hold_what_they_are_chosen_for)
{
	ck_assert_uint_eq(size_of_class(N_CLASSES - 1), BLOCK_MAX_BYTES);
	for (size_t bytes = 1; bytes <= BLOCK_MAX_BYTES; bytes++) {
		unsigned class = size_class(bytes);

		ck_assert_uint_lt(class, N_CLASSES);
		ck_assert_uint_ge(size_of_class(class), bytes);
		ck_assert(class == 0 || size_of_class(class - 1) < bytes);
	}
}
END_TEST

START_TEST(slabs_waste_little_and_find_their_blocks)
{
	for (unsigned class = 0; class < N_CLASSES; class ++) {
		struct slab_shape s;
		uint32_t bytes, left;

		slab_shape_choose(&s, class);
		bytes = s.pages * (uint32_t)PAGE_BYTES;
		ck_assert_uint_ge(s.n_blocks, 8);
		ck_assert_uint_le(s.n_blocks * s.block_bytes + s.tail_bytes, bytes);
		left = bytes - s.n_blocks * s.block_bytes - s.tail_bytes;
		ck_assert_uint_le(left * 8, bytes);
		for (uint32_t i = 0; i < bytes; i++)
			if ((i * s.inverse) >> 40 != i / s.block_bytes)
				ck_abort_msg("offset %u in class %u", i, class);
	}
}
END_TEST

/* Blocks of a class really lie as close as the promise says. */
START_TEST(neighbours_are_a_block_apart)
{
	for (size_t n = 1; n < BLOCK_MAX_BYTES; n += 1 + n / 7) {
		uintptr_t blocks[64], nearest = UINTPTR_MAX;

		for (size_t i = 0; i < 64; i++)
			blocks[i] = (uintptr_t)gm_malloc(n);
		for (size_t i = 0; i < 64; i++)
			for (size_t j = 0; j < 64; j++)
				if (blocks[i] > blocks[j] && blocks[i] - blocks[j] < nearest)
					nearest = blocks[i] - blocks[j];
		ck_assert_uint_eq(nearest, gm_malloc_block_bytes(n));
		for (size_t i = 0; i < 64; i++)
			gm_free((void *)blocks[i]);
	}
}
END_TEST

START_TEST(blocks_are_aligned)
{
	for (size_t n = 0; n < 70000; n += 1 + n / 50) {
		void *p = gm_malloc(n);

		ck_assert_uint_eq((uintptr_t)p % 16, 0);
		gm_free(p);
	}
	for (size_t align = 1; align <= 16u << 20; align *= 2)
		for (size_t i = 0; i < N_EACH; i++) {
			size_t n = one_of_each[i];
			char *p = gm_aligned_alloc(align, n);
			void *q = NULL;

			ck_assert_ptr_nonnull(p);
			ck_assert_uint_eq((uintptr_t)p % align, 0);
			ck_assert_uint_eq(gm_malloc_usable_size(p), n);
			memset(p, 0xa5, n);
			if (align >= sizeof(void *)) {
				ck_assert_int_eq(gm_posix_memalign(&q, align, n), 0);
				ck_assert_uint_eq((uintptr_t)q % align, 0);
				memset(q, 0x5a, n);
			}
			p = gm_realloc(p, n + 1);
			ck_assert_int_eq(p[n - 1], (char)0xa5);
			gm_free(p);
			gm_free(q);
		}
}
END_TEST

START_TEST(wrong_alignments_are_refused)
{
	void *p = &p;

	errno = 0;
	ck_assert_ptr_null(gm_aligned_alloc(0, 8));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(gm_aligned_alloc(24, 8));
	ck_assert_int_eq(gm_posix_memalign(&p, 4, 8), EINVAL);
	ck_assert_int_eq(gm_posix_memalign(&p, 48, 8), EINVAL);
	ck_assert_ptr_eq(p, &p);
	errno = 0;
	ck_assert_ptr_null(gm_aligned_alloc((size_t)1 << 63, 8));
	ck_assert_int_eq(errno, ENOMEM);
}
END_TEST

START_TEST(impossible_sizes_are_refused)
{
	void *p = gm_malloc(10);
	size_t sizes[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX,
			  (size_t)1 << 60};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		errno = 0;
		ck_assert_ptr_null(gm_malloc(sizes[i]));
		ck_assert_int_eq(errno, ENOMEM);
		ck_assert_ptr_null(gm_realloc(p, sizes[i]));
		ck_assert_ptr_null(gm_calloc(sizes[i], 2));
		ck_assert_ptr_null(gm_calloc(2, sizes[i]));
		ck_assert_ptr_null(gm_aligned_alloc(64, sizes[i]));
		ck_assert_ptr_null(gm_aligned_alloc(1 << 20, sizes[i]));
	}
	ck_assert_uint_eq(gm_malloc_usable_size(p), 10);
	gm_free(p);
}
END_TEST

START_TEST(calloc_reads_as_zero_in_used_memory)
{
	for (size_t i = 0; i < N_EACH; i++) {
		size_t n = one_of_each[i];

		for (unsigned round = 0; round < 3; round++) {
			char *p = gm_malloc(n);

			memset(p, 0xff, n);
			gm_free(p);
			if (round == 2)
				gm_malloc_trim(0);
			p = gm_calloc(1, n);
			for (size_t j = 0; j < n; j++)
				if (p[j] != 0)
					ck_abort_msg("byte %zu of %zu", j, n);
			memset(p, 0xff, n);
			gm_free(p);
		}
	}
}
END_TEST

START_TEST(realloc_keeps_the_content)
{
	for (size_t i = 0; i < N_EACH; i++)
		for (size_t j = 0; j < N_EACH; j++) {
			size_t from = one_of_each[i], to = one_of_each[j];
			unsigned char *p = gm_malloc(from);

			for (size_t k = 0; k < from; k++)
				p[k] = (unsigned char)(k * 31 + i);
			p = gm_realloc(p, to);
			ck_assert_uint_eq(gm_malloc_usable_size(p), to);
			for (size_t k = 0; k < from && k < to; k++)
				if (p[k] != (unsigned char)(k * 31 + i))
					ck_abort_msg("byte %zu, %zu to %zu", k, from, to);
			memset(p, 1, to);
			gm_free(p);
		}
	ck_assert_ptr_null(gm_realloc(gm_realloc(NULL, 100), 0));
	ck_assert_uint_eq(stats_now().live_blocks, 0);
}
END_TEST

START_TEST(middling_blocks_grow_and_shrink_where_they_are)
{
	char *p = gm_malloc(200000);

	ck_assert_ptr_eq(gm_realloc(p, 100000), p);
	ck_assert_ptr_eq(gm_realloc(p, 200000), p);
	ck_assert_ptr_eq(gm_realloc(p, 900000), p);
	memset(p, 7, 900000);
	gm_free(p);
	ck_assert_uint_eq(stats_now().live_bytes, 0);
}
END_TEST

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

/* What a program does wrong: each must be found. */
static void overrun_then_free(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	volatile char *p = *told = gm_malloc(n);

	p[n] = 0; /* what a string that is one too long writes */
	gm_free((void *)(uintptr_t)p);
}

static void overrun_then_realloc(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	volatile char *p = *told = gm_malloc(n);

	p[n] = (char)(p[n] + 1);
	gm_realloc((void *)(uintptr_t)p, n + 100);
}

static void overrun_after_realloc(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	volatile char *p = *told = gm_realloc(gm_malloc(n + 1), n);

	p[n] = (char)~p[n];
	gm_free((void *)(uintptr_t)p);
}

static void overrun_after_aligned(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	volatile char *p = *told = gm_aligned_alloc(64, n);

	p[n] = 0;
	gm_free((void *)(uintptr_t)p);
}

START_TEST(overruns_are_found)
{
	for (size_t n = 1; n < 200; n += 1 + n / 16)
		assert_dies(overrun_then_free, &n, "written past its end");
	for (size_t i = 0; i < N_EACH; i++) {
		size_t n = one_of_each[i];

		assert_dies(overrun_then_free, &n, "written past its end");
		assert_dies(overrun_then_realloc, &n, "written past its end");
		assert_dies(overrun_after_realloc, &n, "written past its end");
		assert_dies(overrun_after_aligned, &n, "written past its end");
	}
}
END_TEST

static void free_twice(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	void *p = *told = gm_malloc(n);
	uintptr_t again = (uintptr_t)p;

	gm_free(p);
	gm_free((void *)again);
}

static void free_twice_later(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	void *p = *told = gm_malloc(n), *other = gm_malloc(n);
	uintptr_t again = (uintptr_t)p;

	gm_free(p);
	gm_free(other);
	gm_malloc_thread_done();
	gm_free((void *)again);
}

static void realloc_freed(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	void *p = *told = gm_malloc(n);
	uintptr_t again = (uintptr_t)p;

	gm_free(p);
	gm_realloc((void *)again, 7);
}

START_TEST(second_frees_are_found)
{
	for (size_t i = 0; i < N_EACH; i++) {
		size_t n = one_of_each[i];

		assert_dies(free_twice, &n, "freed twice");
		assert_dies(free_twice_later, &n, "freed twice");
	}
	for (size_t i = 0; i < N_EACH; i++) {
		size_t n = one_of_each[i];

		assert_dies(realloc_freed, &n, "freed");
	}
}
END_TEST

static void free_inside(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	char *p = gm_malloc(n + 64);

	*told = p + 16;
	gm_free(*told);
}

static void free_wild(void *arg, void **told)
{
	gm_free(gm_malloc(1));
	*told = arg;
	gm_free(arg);
}

static void free_header(void *arg, void **told)
{
	char *p = gm_malloc(1);

	(void)arg;
	*told = (void *)((uintptr_t)p & ~(SEGMENT_BYTES - 1));
	gm_free(*told);
}

START_TEST(wrong_pointers_are_found)
{
	static char here[64];
	char on_stack[64];

	for (size_t i = 0; i < N_EACH; i++) {
		size_t n = one_of_each[i];

		assert_dies(free_inside, &n, n < (1 << 20) - 64 ? "not the start" : "did not come");
	}
	assert_dies(free_wild, here, "did not come from malloc");
	assert_dies(free_wild, on_stack, "did not come from malloc");
	assert_dies(free_wild, (void *)(uintptr_t)0x1234, "did not come from malloc");
	assert_dies(free_wild, (void *)UINT64_C(0xffff800000000000), "did not come from malloc");
	assert_dies(free_wild, (void *)UINTPTR_MAX, "did not come from malloc");
	assert_dies(free_header, NULL, "did not come from malloc");
}
END_TEST

START_TEST(small_things)
{
	void *p = gm_malloc(0), *q = gm_malloc(0);

	ck_assert_ptr_nonnull(p);
	ck_assert_ptr_ne(p, q);
	ck_assert_uint_eq(gm_malloc_usable_size(p), 0);
	ck_assert_uint_eq(gm_malloc_usable_size(NULL), 0);
	gm_free(p);
	gm_free(q);
	gm_free(NULL);
	for (size_t i = 0; i < N_EACH; i++) {
		p = gm_malloc(one_of_each[i]);
		ck_assert_uint_eq(gm_malloc_usable_size(p), one_of_each[i]);
		gm_free(p);
	}
}
END_TEST

UNIT_MAIN_TIMEOUT("malloc", 100, every_size_wastes_an_eighth_at_most,
		  classes_hold_what_they_are_chosen_for, slabs_waste_little_and_find_their_blocks,
		  neighbours_are_a_block_apart, blocks_are_aligned, wrong_alignments_are_refused,
		  impossible_sizes_are_refused, calloc_reads_as_zero_in_used_memory,
		  realloc_keeps_the_content, middling_blocks_grow_and_shrink_where_they_are,
		  large_blocks_come_and_go_with_their_mapping, the_mmap_threshold_is_tunable,
		  idle_memory_beyond_the_threshold_goes_back,
		  trim_gives_back_what_is_free_between_live_blocks, after_a_trim_no_segment_is_left,
		  statistics_add_up, caches_are_bounded, empty_slabs_go_back_all_but_one,
		  many_large_blocks_are_told_apart,
#ifndef SANITIZED
		  out_of_memory_is_told_and_survived,
#endif
		  overruns_are_found, second_frees_are_found, wrong_pointers_are_found,
		  small_things)
