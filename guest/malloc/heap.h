/* The one object that all of malloc's state hangs from, and what its parts offer each other.
 *
 *   thread cache   arrays of free blocks per class, touched by its thread only
 *   bin            one per class: slabs with free blocks            lock: bin.lock
 *   runs           pages cut from 4 MiB segments, for slabs and middling blocks
 *                                                                  lock: heap.run_lock
 *   large          blocks that are mappings of their own            lock: heap.large_lock
 *
 * Lock order: cache_lock, then a bin's lock, then run_lock. large_lock is taken alone.
 */
#ifndef GUEST_MALLOC_HEAP_H
#define GUEST_MALLOC_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sizes.h"

#define PAGE_BYTES     4096ul
#define SEGMENT_SHIFT  22
#define SEGMENT_BYTES  (1ul << SEGMENT_SHIFT)
#define SEGMENT_PAGES  (SEGMENT_BYTES / PAGE_BYTES)
#define ADDRESS_BITS   47
#define MAP_LEAF_BITS  15 /* segments in one page of the segment map */
#define MAP_ROOT_SLOTS (1ul << (ADDRESS_BITS - SEGMENT_SHIFT - MAP_LEAF_BITS))
#define N_RUN_BINS     64
#define CACHE_BLOCKS   32 /* most blocks of a class in a thread's cache */
#define RECENT_FREES   64 /* large blocks that are remembered after their end */

enum page_kind {
	PAGE_INSIDE, /* a segment's header; zero, so that fresh segments need no loop */
	PAGE_FREE,
	PAGE_SLAB,
	PAGE_RUN, /* a middling block */
};

struct page {
	struct page *next, *prev; /* free runs: their bin's list, at the run's first page */
	uint16_t first;		  /* the run's first page; free runs: at both ends only */
	uint16_t n;		  /* pages of the run, kept likewise; in use: at the first */
	uint16_t detail;	  /* PAGE_SLAB: class, PAGE_RUN: bytes past the requested */
	uint8_t kind;		  /* enum page_kind; free runs: at both ends only */
	uint8_t dirty;		  /* may hold other bytes than zero */
};

struct segment {
	struct segment *next, *prev;
	uint32_t n_free; /* pages */
	uint32_t pad;
	struct page pages[SEGMENT_PAGES];
};

#define HEADER_PAGES  ((sizeof(struct segment) + PAGE_BYTES - 1) / PAGE_BYTES)
#define RUN_MAX_PAGES (SEGMENT_PAGES - HEADER_PAGES)

struct slab;

struct bin {
	uint32_t lock;
	uint32_t n_empty;     /* slabs in the list whose blocks are all free: at most one stays */
	struct slab *partial; /* slabs with a free block */
	uint64_t n_slabs;
	struct slab_shape shape; /* constant */
};

/* Written by its thread, summed up by any: relaxed atomics. */
struct class_counts {
	uint64_t allocations;
	uint64_t frees;
};

struct cache {
	struct cache *next;
	uint32_t in_use; /* guarded by cache_lock */
	int64_t live_bytes;
	struct class_counts counts[N_CLASSES];
	uint16_t n[N_CLASSES];
	void *blocks[N_CLASSES][CACHE_BLOCKS];
};

struct large {
	uintptr_t block; /* 0: slot is free */
	uintptr_t map;
	size_t map_bytes;
	size_t n; /* as requested */
};

struct large_table {
	struct large *slots;
	size_t n_slots; /* a power of two, or 0 */
	size_t n_used;
	uint64_t bytes;
	uintptr_t recent[RECENT_FREES];
	size_t n_recent;
};

struct heap {
	uint32_t ready; /* set once, with release */
	uint32_t init_lock;
	uint64_t secret;

	/* Tunables: relaxed atomics. */
	size_t mmap_threshold;
	size_t trim_threshold;
	size_t cache_bytes;

	uint64_t mapped_bytes, mapped_peak_bytes; /* relaxed atomics */

	struct bin bins[N_CLASSES];

	uint32_t run_lock;
	uint32_t grow_segments; /* how many the next growth asks for */
	struct segment *segments;
	struct page *free_runs[N_RUN_BINS];
	uint64_t free_run_bins; /* bit i: free_runs[i] has one */
	size_t n_dirty;		/* free pages that may hold memory */
	uint64_t run_blocks, run_bytes;
	uint64_t trims, trimmed_bytes;
	uint8_t *segment_map[MAP_ROOT_SLOTS]; /* a bit a segment; readers take no lock */

	uint32_t large_lock;
	struct large_table large;

	uint32_t cache_lock;
	struct cache *caches; /* all that ever were, for reuse and for sums */
};

/* heap.c */
extern struct heap gm_heap;
void heap_init(struct heap *heap);
void *heap_map(struct heap *heap, size_t bytes, size_t align);
void heap_unmap(struct heap *heap, void *p, size_t bytes);
void heap_mapped(struct heap *heap, int64_t bytes);

/* guard.c: a word derived from the block's address, over the first bytes past the
 * requested size; none of its bytes is zero, for that is what most overflows write. */
void guard_set(const struct heap *heap, void *p, size_t n, size_t slack);
void guard_check(const struct heap *heap, const void *p, size_t n, size_t slack);
_Noreturn void heap_die(const void *p, size_t n, const char *what);
#define SIZE_UNKNOWN SIZE_MAX

/* runs.c */
struct segment *segment_of(const struct heap *heap, const void *p);
struct page *run_alloc(struct heap *heap, size_t pages, enum page_kind kind, uint16_t detail,
		       bool *zero);
void run_free(struct heap *heap, struct page *run);
bool run_resize(struct heap *heap, struct page *run, size_t pages);
size_t runs_trim(struct heap *heap, size_t keep_bytes);
void *run_address(const struct page *run);
static inline struct segment *segment_of_page(const struct page *page)
{
	return (struct segment *)((uintptr_t)page & ~(SEGMENT_BYTES - 1));
}

/* slabs.c: blocks of a class, in batches. */
unsigned slab_get(struct heap *heap, unsigned class, void **blocks, unsigned n);
void slab_put(struct heap *heap, unsigned class, void *const *blocks, unsigned n);
void slab_release_empty(struct heap *heap, unsigned class);
uint16_t *slab_mark(const struct heap *heap, const struct page *page, const void *p,
		    unsigned *class);

/* cache.c */
struct cache *cache_mine(struct heap *heap);
void *cache_get(struct heap *heap, struct cache *cache, unsigned class);
void cache_put(struct heap *heap, struct cache *cache, unsigned class, void *p);
void cache_flush(struct heap *heap, struct cache *cache);

/* large.c */
void *large_alloc(struct heap *heap, size_t align, size_t n);
void large_free(struct heap *heap, void *p);
void *large_resize(struct heap *heap, void *p, size_t n);
bool large_find(struct heap *heap, const void *p, struct large *found);

static inline uint64_t counter_get(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* For counters with one writer. */
static inline void counter_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, counter_get(counter) + n, __ATOMIC_RELAXED);
}

static inline size_t pages_of(size_t bytes)
{
	return (bytes + PAGE_BYTES - 1) / PAGE_BYTES;
}

#endif
