/* Sums for those who ask. */
#include <errno.h>
#include <string.h>

#include "heap.h"
#include "malloc.h"
#include "os.h"

/* Adds up a class over all caches. The caller holds cache_lock. */
static void class_sum(const struct heap *heap, unsigned class, uint64_t *allocations,
		      uint64_t *frees)
{
	*allocations = *frees = 0;
	for (const struct cache *c = heap->caches; c; c = c->next) {
		*allocations += counter_get(&c->counts[class].allocations);
		*frees += counter_get(&c->counts[class].frees);
	}
}

static void sum_small(struct heap *heap, struct gm_malloc_stats *stats)
{
	uint64_t allocations, frees;

	os_lock(&heap->cache_lock);
	for (const struct cache *c = heap->caches; c; c = c->next)
		stats->live_bytes += (uint64_t)__atomic_load_n(&c->live_bytes, __ATOMIC_RELAXED);
	for (unsigned class = 0; class < N_CLASSES; class ++) {
		class_sum(heap, class, &allocations, &frees);
		stats->live_blocks += allocations - frees;
	}
	os_unlock(&heap->cache_lock);
}

void gm_malloc_stats(struct gm_malloc_stats *stats)
{
	struct heap *heap = &gm_heap;

	memset(stats, 0, sizeof(*stats));
	sum_small(heap, stats);
	os_lock(&heap->run_lock);
	stats->live_blocks += heap->run_blocks;
	stats->live_bytes += counter_get(&heap->run_bytes);
	stats->idle_bytes = heap->n_dirty * PAGE_BYTES;
	stats->trims = heap->trims;
	stats->trimmed_bytes = heap->trimmed_bytes;
	os_unlock(&heap->run_lock);
	os_lock(&heap->large_lock);
	stats->large_blocks = heap->large.n_used;
	stats->large_bytes = heap->large.bytes;
	os_unlock(&heap->large_lock);
	stats->live_blocks += stats->large_blocks;
	stats->live_bytes += stats->large_bytes;
	stats->mapped_bytes = counter_get(&heap->mapped_bytes);
	stats->mapped_peak_bytes = counter_get(&heap->mapped_peak_bytes);
}

int gm_malloc_class_stats(unsigned i, struct gm_class_stats *stats)
{
	struct heap *heap = &gm_heap;
	struct bin *bin;
	uint64_t frees;

	if (i >= N_CLASSES)
		return -EINVAL;
	heap_init(heap);
	bin = &heap->bins[i];
	stats->block_bytes = bin->shape.block_bytes;
	stats->slab_bytes = bin->shape.pages * (uint32_t)PAGE_BYTES;
	os_lock(&bin->lock);
	stats->slabs = bin->n_slabs;
	os_unlock(&bin->lock);
	os_lock(&heap->cache_lock);
	class_sum(heap, i, &stats->allocations, &frees);
	os_unlock(&heap->cache_lock);
	stats->live_blocks = stats->allocations - frees;
	return 0;
}
