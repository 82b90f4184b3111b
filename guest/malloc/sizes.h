/* Size classes: multiples of 16 up to 128, then eight to a doubling.
 *
 * A block of class c is at most an eighth of its own size bigger than the smallest request
 * that lands in it, which is the bound that malloc.h promises: rounding up to one of
 * eight steps between 2^k and 2^(k+1) loses less than one step, 2^k / 8.
 */
#ifndef GUEST_MALLOC_SIZES_H
#define GUEST_MALLOC_SIZES_H

#include <stddef.h>
#include <stdint.h>

#define QUANTUM_BYTES	16u
#define BLOCK_MAX_BYTES 32768u
#define N_CLASSES	72u

/* The class of blocks with room for `bytes`, guard included; bytes in 1..BLOCK_MAX_BYTES. */
static inline unsigned size_class(size_t bytes)
{
	unsigned doubling;

	if (bytes <= 128)
		return (unsigned)((bytes - 1) / QUANTUM_BYTES);
	doubling = 63u - (unsigned)__builtin_clzl(bytes - 1) - 7u;
	return 8 + 8 * doubling + (unsigned)((bytes - 1 - (128ul << doubling)) >> (4 + doubling));
}

static inline uint32_t size_of_class(unsigned class)
{
	unsigned doubling = (class - 8) / 8, step = (class - 8) % 8;

	if (class < 8)
		return (class + 1) * QUANTUM_BYTES;
	return (128u << doubling) + ((step + 1) << (4 + doubling));
}

/* How a class's slabs are cut. */
struct slab_shape {
	uint32_t block_bytes;
	uint32_t pages;	     /* of a slab */
	uint32_t n_blocks;   /* in a slab */
	uint32_t tail_bytes; /* what the slab's own state takes, at its end */
	uint64_t inverse;    /* 2^40 / block_bytes, rounded up: turns offsets into indices */
};

void slab_shape_choose(struct slab_shape *shape, unsigned class);

#endif
