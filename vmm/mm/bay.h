/* Bays: where a space's frames are while no guest page has them.
 *
 * A bay is a range of address space cut into page-sized slots. A slot is
 *   vacant   no page behind it
 *   zero     a frame that is all zero, ready to be mapped in the guest
 *   dirty    a free frame with old content: only to be overwritten whole, or zeroed
 *   taken    in the hands of a transfer or of the staging queue
 * Every slot that is not vacant is charged to the pool. Invariant 3 of the design, that no byte of
 * old content is ever seen by another page, is kept here: only bay_get_zero() hands out frames
 * for a demand-zero fill. The space's lock guards everything.
 */
#ifndef MM_BAY_H
#define MM_BAY_H

#include <guestmm/frames.h>

#include "page.h"
#include "pool.h"

typedef uint32_t bay_slot;
#define BAY_NONE UINT32_MAX
#define BAY_SLOTS 4096u	     /* 16 MiB of address space */
#define BAY_POPULATE_MAX 64u /* frames made at once */

enum bay_stage {
	BAY_FREE,
	BAY_STAGED,  /* evicted, waits in the staging queue; a touch brings it back */
	BAY_WRITING, /* a transfer writes it to the store */
	BAY_READING, /* a transfer reads into it */
};

struct bay_entry {
	page_no page; /* whose content a taken slot has */
	bay_slot next, prev;
	uint16_t stage; /* enum bay_stage */
	uint16_t transfer;
};

struct bay_list {
	bay_slot head;
	uint32_t n;
};

struct bay {
	char *base;
	struct bay_entry *entries;
	struct gmm_frames *vacancy; /* frame i is free: slot i is vacant */
	struct bay_list zero, dirty;
	uint32_t floor; /* free frames kept for bay_get_last(): what eviction itself needs */
	struct pool_member *member;
	size_t metadata_bytes;
};

/* The range is mapped but not registered with any userfaultfd. 0, -ENOMEM. */
int bay_init(struct bay *b, struct pool_member *member);
void bay_fini(struct bay *b);

static inline char *bay_hva(const struct bay *b, bay_slot slot)
{
	return b->base + ((size_t)slot << GMM_PAGE_SHIFT);
}

/* A frame that is all zero / any frame; BAY_NONE where the limit leaves none but the floor. */
bay_slot bay_get_zero(struct bay *b);
bay_slot bay_get_any(struct bay *b);

/* Any frame, those below the floor too: for eviction, which frees more than it takes. */
bay_slot bay_get_last(struct bay *b);

/* n slots without a frame, ascending and side by side where possible. 0, -ENOMEM. */
int bay_get_vacant(struct bay *b, unsigned n, bay_slot *slots);

void bay_put_zero(struct bay *b, bay_slot slot);
void bay_put_dirty(struct bay *b, bay_slot slot);
void bay_put_vacant(struct bay *b, bay_slot slot);

/* The frame in a taken slot now belongs to the guest, which got a copy of it: the slot is
 * vacant, the charge stays. */
void bay_hand_over(struct bay *b, bay_slot slot);

static inline uint32_t bay_n_free(const struct bay *b)
{
	return b->zero.n + b->dirty.n;
}

/* Makes up to n zeroed frames ahead of need. Returns how many. */
unsigned bay_populate(struct bay *b, unsigned n);

/* Zeroes up to n dirty frames. Returns how many. */
unsigned bay_scrub(struct bay *b, unsigned n);

/* Gives up to n free frames back to the host, down to the floor. Returns how many. */
unsigned bay_trim(struct bay *b, unsigned n);

#endif
