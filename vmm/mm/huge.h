/* Huge frames in the guest: 2 MiB blocks that are mapped as one. Under the space's lock.
 *
 * A block is 512 pages of RAM, aligned like the processor's 2 MiB pages. Each of its pages keeps a
 * state word of its own; one bit a block says that the kernel maps the block as one page, so that
 * it can leave by one move, and that a part of it must not be discarded before it is split: the
 * kernel would keep all of the huge page for as long as one page of it is used, and frames that
 * nobody is charged for would exist (invariant 2).
 */
#ifndef MM_HUGE_H
#define MM_HUGE_H

#include <guestmm/space.h>

#include "bay.h"
#include "page.h"

struct gmm_space;

enum huge_knowledge { HUGE_UNKNOWN, HUGE_YES, HUGE_NO };

struct huge {
	enum gmm_huge mode;
	uint8_t *blocks; /* enum huge_flag, one byte a block, found by the block's first page / 512
			  */
	size_t n_reserved;
	page_no next;	 /* where a run of fills goes on */
	uint32_t window; /* blocks for the next fill of that run */
	/* Does this kernel free page tables that a discard has emptied (6.14, CONFIG_PT_RECLAIM)?
	 * Without it a block that had single pages can never be mapped as one again. */
	enum huge_knowledge reclaims_tables;
	bool splits_pinned; /* this kernel refuses to, at once, what it cannot: see huge_is_held()
			     */
	page_no hand;	    /* huge_gather() looks on here, */
	uint64_t n_to_look; /* at so many blocks */
	uint64_t n_mapped;  /* blocks that are mapped as one now */
	uint64_t n_away;    /* of them, those laid aside: to everybody else they are mapped */
	unsigned n_torn;    /* blocks that came back as single pages, while it is not known why */
	uint64_t n_filled, n_taken, n_split, n_gathered;
};

/* 0, -ENOMEM. */
int huge_init(struct huge *h, enum gmm_huge mode, uint64_t n_pages_max);
void huge_fini(struct huge *h);

/* The first page of p's block; PAGE_NONE where p lies in no whole block of RAM. */
page_no huge_block(const struct gmm_space *s, page_no p);

/* The first page of p's block where that is mapped as one, else PAGE_NONE. */
page_no huge_mapped(const struct gmm_space *s, page_no p);

/* A first touch of p, right behind memory in use or not: fills the block, and those behind it where
 * blocks are filled in order. Returns how many pages, from the block's first one on; 0: single
 * pages are the better choice. */
uint32_t huge_fill(struct gmm_space *s, page_no p, bool goes_on);

/* How many pages may be filled from p on, at most n, without spoiling the next block. */
uint32_t huge_clip(const struct gmm_space *s, page_no p, uint32_t n);

/* A page of p's block comes or goes alone. */
void huge_used(struct gmm_space *s, page_no p);

/* Takes a block out of the guest as one. Returns how many of its pages left, from the first on,
 * into the bay slots from *first on: all; none (a page is held or pinned, no huge slot is vacant);
 * or a part, where the kernel had single pages after all. */
unsigned huge_take(struct gmm_space *s, page_no block, bay_slot *first);

/* Is a page of the block held? Then it may be pinned, and the block cannot be split. A kernel
 * before 6.18 is not asked; later ones are, and this says no: UFFDIO_MOVE of one page out of a huge
 * page that is pinned tries again without end, in the kernel (move_pages() in mm/userfaultfd.c;
 * seen with Linux 6.12, not with 6.18). */
bool huge_is_held(const struct gmm_space *s, page_no block);

/* Before the resident pages [p, p + n) are discarded: splits the blocks that go in part.
 * -EBUSY: that cannot be done now, they are held or pinned. */
int huge_prepare_discard(struct gmm_space *s, page_no p, uint64_t n);

/* For working_set.c. The block with page p where that is laid aside, else PAGE_NONE. */
page_no huge_away(const struct gmm_space *s, page_no p);

/* Can blocks be laid aside at all, without being split for it? */
bool huge_may_lay_aside(const struct gmm_space *s);

/* Lays a mapped block aside. False: it stays (a page is held or pinned). */
bool huge_lay_aside(struct gmm_space *s, page_no block, char *aside);

/* False: it stays aside for now. */
bool huge_bring_back(struct gmm_space *s, page_no block, char *aside);

/* Puts one block of single pages together again, if there is one and frames are plenty. */
void huge_gather(struct gmm_space *s);

/* Is there anything left for huge_gather() to look at? */
bool huge_wants_to_gather(const struct gmm_space *s);

#endif
