/* A slab's own state, at the end of its pages. */
#ifndef GUEST_MALLOC_SLAB_H
#define GUEST_MALLOC_SLAB_H

#include <stdint.h>

/* Guarded by the bin's lock, marks apart: a mark belongs to whoever owns its block. 0: the
 * program does not own it; else the bytes of the block past the requested size. */
struct slab {
	struct slab *next, *prev; /* the bin's list, while a block is free */
	char *blocks;
	uint16_t *marks;
	uint32_t n_free;
	uint32_t first_word; /* no bit is set in the words before */
	uint64_t free[];     /* a bit a block */
};

#endif
