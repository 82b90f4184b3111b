/* Taken: what the VMM has taken out of the guest's own page-frame allocator.
 *
 * The allocator's block lies where the guest writes as it likes; these notes are ours alone, and
 * whoever relies on a frame being taken asks them. Frames have their guest frame number here.
 * An area of 512 frames is noted as a whole, in one bit, or frame by frame.
 * Written under the lock of who takes (shared_frames.c); read by anybody without one.
 */
#ifndef MM_TAKEN_H
#define MM_TAKEN_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#define TAKEN_AREA 512u

struct taken {
	uint64_t n_frames; /* 0: no allocator is shared */
	uint64_t n;	   /* frames taken now */
	uint64_t *whole;   /* a bit an area: all of it */
	uint64_t *some;	   /* a bit an area: frames of it, which words[] has */
	uint64_t *words;   /* a bit a frame */
};

/* Nothing is taken. Address space only. 0, -ENOMEM. */
int taken_init(struct taken *t, uint64_t n_frames);
void taken_fini(struct taken *t);

/* Host memory that the notes may take. */
uint64_t taken_bytes(const struct taken *t);

/* Notes a whole area, or a frame. False: it, or a part of it, is noted already. */
bool taken_add_area(struct taken *t, uint64_t area);
bool taken_add(struct taken *t, uint64_t frame);

/* Strikes out an area that is noted as a whole, from `from` on. False: there is none. */
bool taken_pop_area(struct taken *t, uint64_t from, uint64_t *area);

/* Strikes out up to n frames of one word's 64; how many, ascending. Frames of whole areas
 * come last. */
unsigned taken_pop(struct taken *t, unsigned n, uint64_t *frames);

static inline bool taken_bit(const uint64_t *bits, uint64_t i)
{
	return __atomic_load_n(&bits[i / 64], __ATOMIC_RELAXED) >> (i % 64) & 1;
}

static inline uint64_t taken_n(const struct taken *t)
{
	return __atomic_load_n(&t->n, __ATOMIC_ACQUIRE);
}

static inline bool taken_has(const struct taken *t, uint64_t frame)
{
	return taken_n(t) && frame < t->n_frames &&
	       (taken_bit(t->whole, frame / TAKEN_AREA) || taken_bit(t->words, frame));
}

/* Any frame of an area. */
static inline bool taken_has_some(const struct taken *t, uint64_t area)
{
	return taken_n(t) && area <= (t->n_frames - 1) / TAKEN_AREA &&
	       (taken_bit(t->whole, area) || taken_bit(t->some, area));
}

#endif
