/* Bays: where a space's frames are while no guest page has them.
 *
 * A bay is a range of address space cut into page-sized slots. A slot is
 *   vacant   no page behind it
 *   zero     a frame that is all zero, ready to be mapped in the guest
 *   dirty    a free frame with old content: only to be overwritten whole, or zeroed
 *   taken    in the hands of a transfer or of the staging queue
 * Every slot that is not vacant is charged to the pool. Invariant 3 of the design, that no byte of
 * old content is ever seen by another page, is kept here: only bay_get_zero() and
 * bay_get_zero_huge() hand out frames for a demand-zero fill. The space's lock guards everything.
 *
 * The first BAY_SLOTS slots are for single frames; behind them lie huge slots, 2 MiB each, whose
 * 512 slots come and go together (bay_huge.c). One that was taken apart is used up frame by frame.
 */
#ifndef MM_BAY_H
#define MM_BAY_H

#include <guestmm/frames.h>

#include "page.h"
#include "pool.h"

typedef uint32_t bay_slot;
#define BAY_NONE	 UINT32_MAX
#define BAY_SLOTS	 4096u /* for single frames: 16 MiB of address space */
#define BAY_HUGE	 32u   /* huge slots behind them: 64 MiB */
#define BAY_ALL		 (BAY_SLOTS + BAY_HUGE * GMM_HUGE_PAGES)
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

enum bay_huge_state {
	BAY_HUGE_VACANT,
	BAY_HUGE_ZERO,	/* 512 free frames, all zero, in no list */
	BAY_HUGE_DIRTY, /* the same with old content */
	BAY_HUGE_PARTS, /* some are taken or vacant; the free ones are in its lists */
};

struct bay_huge {
	enum bay_huge_state state;
	struct bay_list zero, dirty; /* PARTS: its free frames */
	uint16_t n_vacant;	     /* PARTS */
	bool whole;		     /* PARTS: to the kernel it is one page still */
};

struct bay {
	char *base;
	struct bay_entry *entries;
	struct gmm_frames *vacancy;  /* frame i is free: slot i below BAY_SLOTS is vacant */
	struct bay_list zero, dirty; /* free frames below BAY_SLOTS */
	uint32_t n_zero, n_dirty;    /* all free frames, those of huge slots too */
	struct bay_huge huge[BAY_HUGE];
	bool has_huge; /* bay_enable_huge() was called, and the host has such pages */
	/* Makes 512 single pages of the huge page at hva; on failure they stay together. 0, -errno.
	 */
	int (*split)(void *user, char *hva);
	/* The range was mapped anew: what was set up for it must be set up again. 0, -errno. */
	int (*renewed)(void *user, char *hva, size_t bytes);
	void *user;
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

/* n frames with whatever content, ascending, side by side where there are such. Returns how many.
 */
unsigned bay_get_several(struct bay *b, unsigned n, bay_slot *slots);

/* Any frame, those below the floor too: for eviction, which frees more than it takes. */
bay_slot bay_get_last(struct bay *b);

/* n slots without a frame, ascending and side by side where possible. 0, -ENOMEM. */
int bay_get_vacant(struct bay *b, unsigned n, bay_slot *slots);

void bay_put_zero(struct bay *b, bay_slot slot);
void bay_put_dirty(struct bay *b, bay_slot slot);
void bay_put_vacant(struct bay *b, bay_slot slot);

/* n slots side by side from `first` on. */
void bay_put_vacant_run(struct bay *b, bay_slot first, unsigned n);

/* The frame in a taken slot now belongs to the guest, which got a copy of it: the slot is
 * vacant, the charge stays. */
void bay_hand_over(struct bay *b, bay_slot slot);

/* How many of slots[0..n) stand side by side from the first on. */
static inline unsigned bay_run(const bay_slot *slots, unsigned n)
{
	unsigned len = 1;

	while (len < n && slots[len] == slots[len - 1] + 1)
		len++;
	return len;
}

static inline uint32_t bay_n_free(const struct bay *b)
{
	return b->n_zero + b->n_dirty;
}

static inline void bay_list_push(struct bay *b, struct bay_list *list, bay_slot slot)
{
	b->entries[slot].next = list->head;
	list->head = slot;
	list->n++;
}

static inline bay_slot bay_list_pop(struct bay *b, struct bay_list *list)
{
	bay_slot slot = list->head;

	if (slot == BAY_NONE)
		return slot;
	list->head = b->entries[slot].next;
	list->n--;
	return slot;
}

/* ---- huge frames: bay_huge.c ---- */

/* Lets the bay have huge frames. Before any is asked for. */
void bay_enable_huge(struct bay *b);

/* 512 frames that are all zero, side by side and aligned: the first one's slot. BAY_NONE: the limit
 * leaves no room, or all huge slots are in use. */
bay_slot bay_get_zero_huge(struct bay *b);
void bay_put_zero_huge(struct bay *b, bay_slot first);

/* 512 slots without a frame, side by side and aligned, for a huge frame that is charged already. */
bay_slot bay_get_vacant_huge(struct bay *b);
void bay_put_vacant_huge(struct bay *b, bay_slot first);

/* For bay.c: the free frames of huge slots, one by one. */
void bay_huge_push(struct bay *b, bay_slot slot, bool zero);
bay_slot bay_huge_pop(struct bay *b, bool zero, bool break_up);
void bay_huge_vacate(struct bay *b, bay_slot slot);
/* Gives huge slots back to the host that are free as a whole, until n frames are given. How many.
 */
unsigned bay_huge_trim(struct bay *b, unsigned n);
/* Free frames that are pages of their own to the kernel. */
unsigned bay_huge_n_single(const struct bay *b);
/* One of them; `split` makes one. */
bay_slot bay_huge_pop_single(struct bay *b, bool split);

/* Is the frame in this slot part of a page of 2 MiB? */
static inline bool bay_is_whole(const struct bay *b, bay_slot slot)
{
	return slot >= BAY_SLOTS && b->huge[(slot - BAY_SLOTS) / GMM_HUGE_PAGES].whole;
}

static inline struct bay_huge *bay_huge_of(struct bay *b, bay_slot slot)
{
	return &b->huge[(slot - BAY_SLOTS) / GMM_HUGE_PAGES];
}

/* Makes up to n zeroed frames ahead of need. Returns how many. */
unsigned bay_populate(struct bay *b, unsigned n);

/* Zeroes up to n dirty frames. Returns how many. */
unsigned bay_scrub(struct bay *b, unsigned n);

/* Gives about n free frames back to the host, down to the floor: a huge frame goes whole. Frames of
 * a huge page of which others are in use still go only if `split`: it is split for them. Returns
 * how many went. */
unsigned bay_trim(struct bay *b, unsigned n, bool split);

/* Gives what is free beyond `keep` frames, about `most` of it, back to the host, splits nothing for
 * it, and leaves as many single frames, which are what faults take. Returns how many went. */
unsigned bay_trim_above(struct bay *b, unsigned keep, unsigned most);

#endif
