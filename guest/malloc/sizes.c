/* How slabs are cut: with room for eight blocks at least, and as little left over as
 * slabs of at most 80 pages allow (an eighth at most, a sixteenth for nearly all). */
#include "heap.h"
#include "slab.h"

#define SLAB_MIN_PAGES 4u
#define SLAB_MAX_PAGES 80u

static uint32_t tail_bytes(uint32_t n)
{
	uint32_t words = (n + 63) / 64;

	return (uint32_t)((sizeof(struct slab) + words * 8 + n * 2 + 15) & ~15ul);
}

static uint32_t blocks_that_fit(uint32_t bytes, uint32_t block_bytes)
{
	uint32_t n = bytes / block_bytes;

	while (n && n * block_bytes + tail_bytes(n) > bytes)
		n--;
	return n;
}

void slab_shape_choose(struct slab_shape *shape, unsigned class)
{
	uint32_t block = size_of_class(class), best = 0, best_left = 0;

	for (uint32_t pages = SLAB_MIN_PAGES; pages <= SLAB_MAX_PAGES; pages++) {
		uint32_t bytes = pages * (uint32_t)PAGE_BYTES;
		uint32_t n = blocks_that_fit(bytes, block);
		uint32_t left = bytes - n * block - tail_bytes(n);

		if (n < 8)
			continue;
		if (!best || left * best < best_left * pages) {
			best = pages;
			best_left = left;
		}
		if (left * 16 <= bytes)
			break;
	}
	shape->block_bytes = block;
	shape->pages = best;
	shape->n_blocks = blocks_that_fit(best * (uint32_t)PAGE_BYTES, block);
	shape->tail_bytes = tail_bytes(shape->n_blocks);
	shape->inverse = ((1ull << 40) + block - 1) / block;
}
