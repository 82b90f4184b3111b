/* The heap's beginning, and the account of what it has from the kernel. */
#include "heap.h"
#include "malloc.h"
#include "os.h"

#define MMAP_THRESHOLD_BYTES (1ul << 20)
#define TRIM_THRESHOLD_BYTES (8ul << 20)
#define CACHE_CLASS_BYTES    (8ul << 10)

struct heap gm_heap = {
	.mmap_threshold = MMAP_THRESHOLD_BYTES,
	.trim_threshold = TRIM_THRESHOLD_BYTES,
	.cache_bytes = CACHE_CLASS_BYTES,
	.grow_segments = 1,
};

void heap_init(struct heap *heap)
{
	if (__atomic_load_n(&heap->ready, __ATOMIC_ACQUIRE))
		return;
	os_lock(&heap->init_lock);
	if (!heap->ready) {
		heap->secret = os_random();
		for (unsigned i = 0; i < N_CLASSES; i++)
			slab_shape_choose(&heap->bins[i].shape, i);
		__atomic_store_n(&heap->ready, 1, __ATOMIC_RELEASE);
	}
	os_unlock(&heap->init_lock);
}

void heap_mapped(struct heap *heap, int64_t bytes)
{
	uint64_t now = __atomic_add_fetch(&heap->mapped_bytes, (uint64_t)bytes, __ATOMIC_RELAXED);
	uint64_t peak = counter_get(&heap->mapped_peak_bytes);

	while (now > peak && !__atomic_compare_exchange_n(&heap->mapped_peak_bytes, &peak, now,
							  true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

void *heap_map(struct heap *heap, size_t bytes, size_t align)
{
	void *p = os_map(bytes, align);

	if (p)
		heap_mapped(heap, (int64_t)bytes);
	return p;
}

void heap_unmap(struct heap *heap, void *p, size_t bytes)
{
	os_unmap(p, bytes);
	heap_mapped(heap, -(int64_t)bytes);
}
