/* Random numbers that are the same everywhere for a seed. */
#ifndef GUEST_RANDOM_H
#define GUEST_RANDOM_H

#include <stdint.h>

/* Steele, Lea, Flood: SplitMix, a bijection of 64-bit words. */
static inline uint64_t mix64(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static inline uint64_t random_next(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15u;
	return mix64(*state);
}

/* 0 <= result < n, n > 0. */
static inline uint64_t random_below(uint64_t *state, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)random_next(state) * n) >> 64);
}

/* The i-th of 0..n-1 in an order that looks random: mixes inside the next power of two
 * by steps that can be undone, and walks on while it is outside. */
static inline uint64_t permute(uint64_t i, uint64_t n, uint64_t seed)
{
	unsigned bits = n > 1 ? 64u - (unsigned)__builtin_clzl(n - 1) : 1;
	uint64_t mask = bits < 64 ? (1ull << bits) - 1 : UINT64_MAX;
	unsigned shift = (bits + 1) / 2;

	do {
		i = (i + seed) & mask;
		i = (i * 0x9e3779b97f4a7c15u) & mask;
		i ^= i >> shift;
		i = (i * 0xbf58476d1ce4e5b9u) & mask;
		i ^= i >> shift;
	} while (i >= n);
	return i;
}

#endif
