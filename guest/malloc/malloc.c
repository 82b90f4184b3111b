/* malloc's face: which part serves a request, and what is checked when a block comes back. */
#include "malloc.h"

#include <errno.h>
#include <string.h>

#include "heap.h"
#include "os.h"
#include "slab.h"

/* A block that came back, checked. */
struct block {
	struct page *page; /* NULL: a large block */
	uint16_t *mark;	   /* of a slab's block, else NULL */
	unsigned class;
	size_t n;     /* as requested */
	size_t slack; /* past that */
};

static void count_bytes(struct cache *cache, int64_t bytes)
{
	__atomic_store_n(&cache->live_bytes,
			 __atomic_load_n(&cache->live_bytes, __ATOMIC_RELAXED) + bytes,
			 __ATOMIC_RELAXED);
}

static struct page *page_of(const struct heap *heap, const void *p)
{
	struct segment *segment = segment_of(heap, p);

	if (!segment)
		return NULL;
	return &segment->pages[((uintptr_t)p & (SEGMENT_BYTES - 1)) / PAGE_BYTES];
}

static void *small_alloc(struct heap *heap, unsigned class, size_t n)
{
	struct cache *cache = cache_mine(heap);
	size_t slack = size_of_class(class) - n;
	unsigned same;
	void *p;

	p = cache ? cache_get(heap, cache, class) : NULL;
	if (!p)
		return NULL;
	__atomic_store_n(slab_mark(heap, page_of(heap, p), p, &same), (uint16_t)slack,
			 __ATOMIC_RELAXED);
	guard_set(heap, p, n, slack);
	counter_add(&cache->counts[class].allocations, 1);
	count_bytes(cache, (int64_t)n);
	return p;
}

static void *middling_alloc(struct heap *heap, size_t n, bool *zero)
{
	size_t pages = pages_of(n + 1), slack = pages * PAGE_BYTES - n;
	struct page *run;
	void *p;

	heap_init(heap);
	run = run_alloc(heap, pages, PAGE_RUN, (uint16_t)slack, zero);
	if (!run)
		return NULL;
	__atomic_add_fetch(&heap->run_bytes, n, __ATOMIC_RELAXED);
	p = run_address(run);
	guard_set(heap, p, n, slack);
	return p;
}

static bool is_large(const struct heap *heap, size_t n)
{
	return n >= __atomic_load_n(&heap->mmap_threshold, __ATOMIC_RELAXED);
}

static void *alloc(struct heap *heap, size_t n, bool *zero)
{
	void *p;

	*zero = false;
	if (is_large(heap, n)) {
		*zero = true;
		p = large_alloc(heap, PAGE_BYTES, n);
	} else if (n < BLOCK_MAX_BYTES) {
		p = small_alloc(heap, size_class(n + 1), n);
	} else {
		p = middling_alloc(heap, n, zero);
	}
	if (!p)
		errno = ENOMEM;
	return p;
}

void *gm_malloc(size_t n)
{
	bool zero;

	return alloc(&gm_heap, n, &zero);
}

void *gm_calloc(size_t n, size_t size)
{
	size_t bytes;
	bool zero;
	void *p;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	p = alloc(&gm_heap, bytes, &zero);
	if (p && !zero)
		memset(p, 0, bytes);
	return p;
}

static void block_check_slab(struct heap *heap, const void *p, struct block *b)
{
	size_t size;

	b->mark = slab_mark(heap, b->page, p, &b->class);
	size = size_of_class(b->class);
	b->slack = __atomic_load_n(b->mark, __ATOMIC_RELAXED);
	if (b->slack == 0)
		heap_die(p, SIZE_UNKNOWN, "was freed twice: it is free already");
	if (b->slack > size)
		heap_die(p, SIZE_UNKNOWN, "has lost its size: a block near it was overrun");
	b->n = size - b->slack;
}

static void block_check_run(const void *p, struct block *b)
{
	const struct page *page = b->page;

	if (page != &segment_of_page(page)->pages[page->first] ||
	    ((uintptr_t)p & (PAGE_BYTES - 1)) != 0)
		heap_die(p, SIZE_UNKNOWN, "is not the start of a block: pass what malloc returned");
	b->slack = page->detail;
	b->n = page->n * PAGE_BYTES - b->slack;
}

/* What is known of the block at p; ends the program where p is none, or was overrun. */
static struct block block_check(struct heap *heap, const void *p)
{
	struct block b = {.page = page_of(heap, p)};
	struct large large;

	if (!b.page) {
		if (!large_find(heap, p, &large))
			large_free(heap, (void *)(uintptr_t)p); /* which tells, and ends */
		b.n = large.n;
		b.slack = large.map + large.map_bytes - large.block - large.n;
	} else if (b.page->kind == PAGE_SLAB) {
		block_check_slab(heap, p, &b);
	} else if (b.page->kind == PAGE_RUN) {
		block_check_run(p, &b);
	} else if (b.page->kind == PAGE_FREE) {
		heap_die(p, SIZE_UNKNOWN, "was freed twice: its memory is free already");
	} else {
		heap_die(p, SIZE_UNKNOWN, "did not come from malloc");
	}
	guard_check(heap, p, b.n, b.slack);
	return b;
}

static void small_free(struct heap *heap, void *p, const struct block *b)
{
	struct cache *cache = cache_mine(heap);

	if (__atomic_exchange_n(b->mark, 0, __ATOMIC_RELAXED) == 0)
		heap_die(p, SIZE_UNKNOWN, "was freed twice, by two threads at once");
	if (cache) {
		counter_add(&cache->counts[b->class].frees, 1);
		count_bytes(cache, -(int64_t)b->n);
	}
	cache_put(heap, cache, b->class, p);
}

void gm_free(void *p)
{
	struct heap *heap = &gm_heap;
	struct block b;

	if (!p)
		return;
	b = block_check(heap, p);
	if (!b.page) {
		large_free(heap, p);
	} else if (b.mark) {
		small_free(heap, p, &b);
	} else {
		__atomic_sub_fetch(&heap->run_bytes, b.n, __ATOMIC_RELAXED);
		run_free(heap, b.page);
	}
}

/* Makes the block at p n bytes big without moving it, where its kind of place allows. */
static bool resize_in_place(struct heap *heap, void *p, const struct block *b, size_t n)
{
	size_t slack;

	if (!b->page || is_large(heap, n))
		return false;
	if (b->mark) {
		if (n >= BLOCK_MAX_BYTES || size_class(n + 1) != b->class)
			return false;
		slack = size_of_class(b->class) - n;
		__atomic_store_n(b->mark, (uint16_t)slack, __ATOMIC_RELAXED);
		if (cache_mine(heap))
			count_bytes(cache_mine(heap), (int64_t)n - (int64_t)b->n);
	} else {
		if (n < BLOCK_MAX_BYTES || !run_resize(heap, b->page, pages_of(n + 1)))
			return false;
		slack = pages_of(n + 1) * PAGE_BYTES - n;
		b->page->detail = (uint16_t)slack;
		__atomic_add_fetch(&heap->run_bytes, n - b->n, __ATOMIC_RELAXED);
	}
	guard_set(heap, p, n, slack);
	return true;
}

void *gm_realloc(void *p, size_t n)
{
	struct heap *heap = &gm_heap;
	struct block b;
	void *moved;

	if (!p)
		return gm_malloc(n);
	if (n == 0) {
		gm_free(p);
		return NULL;
	}
	b = block_check(heap, p);
	if (resize_in_place(heap, p, &b, n))
		return p;
	if (!b.page && is_large(heap, n) && n <= PTRDIFF_MAX / 2) {
		moved = large_resize(heap, p, n);
		if (moved)
			return moved;
	}
	moved = gm_malloc(n);
	if (!moved)
		return NULL;
	memcpy(moved, p, b.n < n ? b.n : n);
	gm_free(p);
	return moved;
}

static bool is_power_of_two(size_t n)
{
	return n && (n & (n - 1)) == 0;
}

/* Slabs begin at a page's start, so every block is as aligned as its size is. */
static void *aligned(struct heap *heap, size_t align, size_t n)
{
	bool zero;

	if (align <= QUANTUM_BYTES)
		return gm_malloc(n);
	if (align > PAGE_BYTES)
		return large_alloc(heap, align, n);
	if (n < BLOCK_MAX_BYTES && !is_large(heap, n))
		for (unsigned class = size_class(n + 1); class < N_CLASSES; class ++)
			if (size_of_class(class) % align == 0)
				return small_alloc(heap, class, n);
	return alloc(heap, n, &zero);
}

void *gm_aligned_alloc(size_t align, size_t n)
{
	void *p;

	if (!is_power_of_two(align)) {
		errno = EINVAL;
		return NULL;
	}
	p = aligned(&gm_heap, align, n);
	if (!p)
		errno = ENOMEM;
	return p;
}

int gm_posix_memalign(void **p, size_t align, size_t n)
{
	void *block;

	if (!is_power_of_two(align) || align % sizeof(void *))
		return EINVAL;
	block = aligned(&gm_heap, align, n);
	if (!block)
		return ENOMEM;
	*p = block;
	return 0;
}

size_t gm_malloc_usable_size(const void *p)
{
	return p ? block_check(&gm_heap, p).n : 0;
}

size_t gm_malloc_block_bytes(size_t n)
{
	if (n > PTRDIFF_MAX / 2)
		return 0;
	if (!is_large(&gm_heap, n) && n < BLOCK_MAX_BYTES)
		return size_of_class(size_class(n + 1));
	return pages_of(n + 1) * PAGE_BYTES;
}

int gm_mallopt(enum gm_mallopt option, size_t value)
{
	struct heap *heap = &gm_heap;

	switch (option) {
	case GM_MMAP_THRESHOLD:
		if (value < PAGE_BYTES || value > SEGMENT_BYTES / 2)
			return -EINVAL;
		__atomic_store_n(&heap->mmap_threshold, value, __ATOMIC_RELAXED);
		return 0;
	case GM_TRIM_THRESHOLD:
		__atomic_store_n(&heap->trim_threshold, value, __ATOMIC_RELAXED);
		return 0;
	case GM_CACHE_BYTES:
		__atomic_store_n(&heap->cache_bytes, value, __ATOMIC_RELAXED);
		return 0;
	}
	return -EINVAL;
}
