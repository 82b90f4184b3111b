/* Sums: a 64-bit checksum for each slot of a file.
 *
 * They are the largest part of what a stored page costs in memory, so a part of each is kept where
 * there is room for it anyway: a slot's name has 33 bits, of which the file's slots need 17 for
 * each 512 MiB. The name's low bits are the checksum's low bits, its `check`; the others stand
 * here, packed. What is verified are all 64 bits.
 */
#ifndef MM_STORE_SUMS_H
#define MM_STORE_SUMS_H

#include <stdbool.h>
#include <stdint.h>

/* A tier names a slot of a store below by so many bits. */
#define SUMS_NAME_BITS 33u

struct sums {
	uint8_t *bytes;
	uint64_t n;
	unsigned check_bits; /* of a name; 0 or at least 8 */
};

/* For n slots: 0, -ENOMEM. */
int sums_init(struct sums *s, uint64_t n);
void sums_fini(struct sums *s);

/* Notes the sum of slot i and returns the name of a page in it that has this sum. */
uint64_t sums_set(struct sums *s, uint64_t i, uint64_t sum);

/* Has the page that is called `name` this sum? */
bool sums_match(const struct sums *s, uint64_t name, uint64_t sum);

/* The slot that the name means; it may be one that there is not. */
static inline uint64_t sums_index(const struct sums *s, uint64_t name)
{
	return name >> s->check_bits;
}

/* What those of the first n slots take. */
uint64_t sums_bytes(const struct sums *s, uint64_t n);

#endif
