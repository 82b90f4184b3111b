/* Slots: which 4 KiB places of a store are taken.
 *
 * The page-frame allocator (guestmm/frames.h) decides: a slot is a frame of the file. A run of
 * neighbours is handed out at a time, so that what is evicted together is written, and
 * later read, in one operation: slots are got from the allocator many at a time, kept aside in
 * spare[], and handed out run by run. Beside the allocator there are three bits a slot:
 *   live     holds a page that its owner may read
 *   busy     a read of it is under way: it may not be handed out again before that ends
 *   backed   the file has blocks behind it, which a free slot does not need
 * All of it is reserved at once and committed as it is touched. The store's lock (its
 * caller's) guards it.
 */
#ifndef MM_STORE_SLOTS_H
#define MM_STORE_SLOTS_H

#include <guestmm/frames.h>
#include <stdbool.h>
#include <stdint.h>

#define SLOTS_SPARE 128u

struct slots {
	uint64_t n;
	uint64_t n_taken; /* by the store: spare ones are not */
	uint64_t n_stale; /* not taken, yet backed */
	uint64_t n_high;  /* no slot at or above this was ever taken */
	struct gmm_frames *frames;
	uint64_t spare[SLOTS_SPARE]; /* ascending; those from i_spare on are there */
	unsigned i_spare, n_spare;
	uint64_t *live, *busy, *backed;
};

/* 0, -EINVAL (none, or more than the allocator can do), -ENOMEM. */
int slots_init(struct slots *s, uint64_t n);
void slots_fini(struct slots *s);

/* Takes a run of 1 to max neighbouring slots, returns its length; 0: none is free. */
unsigned slots_get(struct slots *s, unsigned max, uint64_t *first);

/* Gives back slots that slots_get() or slots_get_stale() took. */
void slots_put(struct slots *s, uint64_t first, uint64_t n);

/* Takes a run of at most max neighbouring slots that are free, yet backed, at or after
 * *from, and moves *from behind it. Returns its length, 0: there is none before the end. */
uint64_t slots_get_stale(struct slots *s, uint64_t *from, uint64_t max, uint64_t *first);

/* The file has no blocks behind these taken slots any more. */
void slots_unback(struct slots *s, uint64_t first, uint64_t n);

uint64_t slots_metadata_bytes(const struct slots *s);

static inline bool slots_bit(const uint64_t *bits, uint64_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static inline void slots_bit_set(uint64_t *bits, uint64_t i)
{
	bits[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline void slots_bit_clear(uint64_t *bits, uint64_t i)
{
	bits[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

#endif
