/* Thread caches: arrays of free blocks, so that most calls take no lock. Bounded per class
 * by GM_CACHE_BYTES and CACHE_BLOCKS; half a class's worth moves at once. A thread that
 * ends leaves its cache, empty but with its counts, to the next one. */
#include <string.h>

#include "heap.h"
#include "malloc.h"
#include "os.h"

struct cache *cache_mine(struct heap *heap)
{
	void **slot = os_thread_slot();
	struct cache *cache = *slot;

	if (__builtin_expect(cache != NULL, 1))
		return cache;
	heap_init(heap);
	os_lock(&heap->cache_lock);
	for (cache = heap->caches; cache && cache->in_use; cache = cache->next)
		;
	if (!cache) {
		cache = heap_map(heap, pages_of(sizeof(*cache)) * PAGE_BYTES, PAGE_BYTES);
		if (cache) {
			cache->next = heap->caches;
			heap->caches = cache;
		}
	}
	if (cache)
		cache->in_use = 1;
	os_unlock(&heap->cache_lock);
	*slot = cache;
	return cache;
}

static unsigned cache_limit(const struct heap *heap, unsigned class)
{
	size_t bytes = __atomic_load_n(&heap->cache_bytes, __ATOMIC_RELAXED);
	size_t n = bytes / heap->bins[class].shape.block_bytes;

	return n < CACHE_BLOCKS ? (unsigned)n : CACHE_BLOCKS;
}

void *cache_get(struct heap *heap, struct cache *cache, unsigned class)
{
	void *block;
	unsigned limit, n;

	if (cache && cache->n[class])
		return cache->blocks[class][--cache->n[class]];
	limit = cache ? cache_limit(heap, class) : 0;
	if (limit < 2)
		return slab_get(heap, class, &block, 1) ? block : NULL;
	n = slab_get(heap, class, cache->blocks[class], limit / 2);
	if (!n)
		return NULL;
	cache->n[class] = (uint16_t)(n - 1);
	return cache->blocks[class][n - 1];
}

void cache_put(struct heap *heap, struct cache *cache, unsigned class, void *p)
{
	unsigned limit = cache ? cache_limit(heap, class) : 0;
	void **blocks;
	unsigned n, out;

	if (limit == 0) {
		slab_put(heap, class, &p, 1);
		return;
	}
	blocks = cache->blocks[class];
	n = cache->n[class];
	if (n >= limit) {
		out = n - limit / 2; /* the oldest go */
		slab_put(heap, class, blocks, out);
		n -= out;
		memmove(blocks, blocks + out, n * sizeof(*blocks));
	}
	blocks[n] = p;
	cache->n[class] = (uint16_t)(n + 1);
}

void cache_flush(struct heap *heap, struct cache *cache)
{
	for (unsigned class = 0; class < N_CLASSES; class ++) {
		if (cache->n[class])
			slab_put(heap, class, cache->blocks[class], cache->n[class]);
		cache->n[class] = 0;
	}
}

void gm_malloc_thread_done(void)
{
	struct heap *heap = &gm_heap;
	void **slot = os_thread_slot();
	struct cache *cache = *slot;

	if (!cache)
		return;
	cache_flush(heap, cache);
	*slot = NULL;
	os_lock(&heap->cache_lock);
	cache->in_use = 0;
	os_unlock(&heap->cache_lock);
}
