/* The guest's malloc, built for the host: sizes, alignment, what malloc and its kin promise. */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "malloc_help.h"

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
		  small_things)
