/* Ranks: which page has the highest rank, among millions, at once.
 *
 * The owner keeps a byte for each page, and a table that makes a rank of a byte; 0: the page does
 * not take part. A tree of maxima stands above the bytes, 64 to a node, a byte each: a 63rd of the
 * bytes' own size. The owner tells of each byte it has changed.
 */
#ifndef MM_POLICY_RANKS_H
#define MM_POLICY_RANKS_H

#include <stdbool.h>
#include <stdint.h>

#define RANKS_FAN    64u
#define RANKS_LEVELS 6u /* above the bytes: enough for 2^36 pages */

struct ranks {
	const uint8_t *bytes;
	const uint8_t *rank_of; /* 256 of them */
	uint64_t n[RANKS_LEVELS + 1];
	uint8_t *maxima[RANKS_LEVELS + 1]; /* of level 1 and above; the last one has one entry */
	unsigned n_levels;
};

/* All bytes have rank 0 now, and stay where they are. n > 0. 0, -ENOMEM. */
int ranks_init(struct ranks *r, const uint8_t *bytes, uint64_t n, const uint8_t rank_of[256]);
void ranks_fini(struct ranks *r);

/* The page's byte was `old` before. */
void ranks_changed(struct ranks *r, uint64_t page, uint8_t old);

/* The highest rank of all; 0: no page takes part. */
unsigned ranks_highest(const struct ranks *r);

/* The last page before `before`, round the beginning, that has the highest rank, which is not 0. */
uint64_t ranks_find(const struct ranks *r, uint64_t before);

uint64_t ranks_metadata_bytes(const struct ranks *r);

#endif
