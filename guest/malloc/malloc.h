/* The guest programs' malloc. Also a host library of its own, so that it can be tested,
 * sanitized and fuzzed where the tools are.
 *
 * What it promises:
 *  - blocks are aligned to 16 bytes; a block of n bytes takes at most n / 8 more than it
 *    asked for (for n < 128: at most 16 bytes, the alignment), guard included;
 *  - a byte past the requested size is guarded, and so is every block's state: an
 *    overflow is found when the block is freed or reallocated, a second free at once,
 *    and so is a pointer that malloc never gave. Each is told with its address on
 *    standard error, and ends the program by abort();
 *  - a freed block's memory is never written to: what malloc knows lies apart from
 *    what it gives, so reading a list never brings in a page that was swapped out;
 *  - a large block is a mapping of its own, gone from the process when freed; smaller
 *    free memory goes back to the kernel when more than a threshold of it lies idle;
 *  - any thread may free what another one allocated.
 */
#ifndef GUEST_MALLOC_H
#define GUEST_MALLOC_H

#include <stddef.h>
#include <stdint.h>

/* As in ISO C and POSIX. NULL and errno ENOMEM where memory is short. gm_realloc(p, 0)
 * frees p and returns NULL. gm_malloc(0) returns a block of no bytes. */
void *gm_malloc(size_t n);
void *gm_calloc(size_t n, size_t size);
void *gm_realloc(void *p, size_t n);
void gm_free(void *p);

/* align: a power of two (posix_memalign: and a multiple of sizeof(void *)). EINVAL
 * otherwise; n need not be a multiple of it. */
void *gm_aligned_alloc(size_t align, size_t n);
int gm_posix_memalign(void **p, size_t align, size_t n);

/* Exactly the bytes that were asked for: what lies beyond is guarded. 0 for NULL. */
size_t gm_malloc_usable_size(const void *p);

/* Gives free memory back to the kernel, all but pad_bytes of it. Returns 1 where it gave
 * some back, else 0. Thread caches other than the caller's are left alone. */
int gm_malloc_trim(size_t pad_bytes);

/* A thread that ends hands its cached blocks back. It may allocate again later. */
void gm_malloc_thread_done(void);

enum gm_mallopt {
	GM_MMAP_THRESHOLD, /* blocks from this size on are mapped apart; 4 KiB..2 MiB, default 1 MiB
			    */
	GM_TRIM_THRESHOLD, /* free bytes kept before they go back; default 8 MiB */
	GM_CACHE_BYTES,	   /* a thread's cache, per size class; 0 for none, default 8 KiB */
};

/* 0, or -EINVAL for an unknown option or a value out of its range. */
int gm_mallopt(enum gm_mallopt option, size_t value);

/* A sum over all threads, exact when no other thread allocates meanwhile. */
struct gm_malloc_stats {
	uint64_t live_blocks, live_bytes;   /* as asked for */
	uint64_t large_blocks, large_bytes; /* of these: mapped apart */
	uint64_t mapped_bytes;		    /* from the kernel, in all */
	uint64_t mapped_peak_bytes;	    /* the most that it ever was */
	uint64_t idle_bytes;		    /* free, may hold memory: what trimming gives back */
	uint64_t trims, trimmed_bytes;	    /* given back so far, large blocks apart */
};

void gm_malloc_stats(struct gm_malloc_stats *stats);

struct gm_class_stats {
	uint32_t block_bytes;
	uint32_t slab_bytes; /* blocks are cut from slabs of this size */
	uint64_t slabs;
	uint64_t live_blocks;
	uint64_t allocations; /* since the start */
};

/* Size class i: 0, or -EINVAL past the last one. */
int gm_malloc_class_stats(unsigned i, struct gm_class_stats *stats);

/* The bytes that a block of n bytes really takes, guard and rounding included; 0 where n
 * is too big for any. */
size_t gm_malloc_block_bytes(size_t n);

#endif
