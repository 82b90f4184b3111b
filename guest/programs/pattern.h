/* Contents that can be made and checked from a seed alone. */
#ifndef GUEST_PATTERN_H
#define GUEST_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#include "random.h"

/* The byte at i is byte i % 8 of a word that depends on the seed and on i / 8. */
static inline uint64_t pattern_word(uint64_t seed, uint64_t i)
{
	return (seed + i) * 0x9e3779b97f4a7c15u ^ seed;
}

static inline void pattern_fill(uint64_t *to, uint64_t n, uint64_t seed)
{
	unsigned char *tail = (unsigned char *)(to + n / 8);

	for (uint64_t i = 0; i < n / 8; i++)
		to[i] = pattern_word(seed, i);
	for (uint64_t i = 0; i < n % 8; i++)
		tail[i] = (unsigned char)(pattern_word(seed, n / 8) >> 8 * i);
}

static inline bool pattern_verify(const uint64_t *from, uint64_t n, uint64_t seed)
{
	const unsigned char *tail = (const unsigned char *)(from + n / 8);
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < n / 8; i++)
		wrong |= from[i] ^ pattern_word(seed, i);
	for (uint64_t i = 0; i < n % 8; i++)
		wrong |= tail[i] ^ (unsigned char)(pattern_word(seed, n / 8) >> 8 * i);
	return wrong == 0;
}

/* Of what is there, whatever it ought to be. */
static inline uint64_t pattern_checksum(const uint64_t *from, uint64_t n)
{
	const unsigned char *tail = (const unsigned char *)(from + n / 8);
	uint64_t sum = n;

	for (uint64_t i = 0; i < n / 8; i++)
		sum = (sum ^ from[i]) * 0x100000001b3u;
	for (uint64_t i = 0; i < n % 8; i++)
		sum = (sum ^ tail[i]) * 0x100000001b3u;
	return mix64(sum);
}

#endif
