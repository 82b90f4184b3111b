/* Working sets: which pages a guest touches, seen at a sample of them. Under the space's lock.
 *
 * A page of the sample that was not touched for a moment is laid aside: its frame moves to a range
 * of addresses of this file's own, so that the next touch is a fault, which brings it back without
 * I/O. To everybody else such a page is RESIDENT as before, with the same word: it has a
 * frame, is charged, may be evicted or dropped, and the policy does not learn of it. One rule makes
 * that right: whoever is about to act on a RESIDENT page's mapping calls working_set_return()
 * first, and goes on only if that says that the page is there.
 *
 * In a block that the kernel maps as one page the block is laid aside, whole, never split; a touch
 * of any of its pages counts for all of the sample that are in it, for the block leaves as one
 * under pressure, too. Kernels that cannot put such a block back as one (before 6.14) have theirs
 * left alone: nothing is seen there, and their pages pass for what the others are on average, in
 * the curve as well.
 *
 * At most 1024 pages are in the sample: where more are in use, every other goes. What it costs is
 * paid in advance, a touch's cost when its page is laid aside, out of a budget of 6 ms a second:
 * more pages in use are looked at more seldom, and no guest can make it dearer. The pages that
 * nobody touches stay aside and cost nothing; then there is no work at all.
 */
#ifndef MM_WORKING_SET_H
#define MM_WORKING_SET_H

#include <stddef.h>

#include "curve.h"
#include "page.h"

struct gmm_space;
struct gmm_stats;

struct ws_page {
	uint64_t touched_ns; /* last seen to be touched; 0: never */
	uint64_t armed_ns;   /* since when a touch would have been seen; 0: it would not */
	uint16_t slot;	     /* where it is laid aside, if it is */
	bool used;	     /* else the rest means nothing, but for `slot` */
	bool came_back;	     /* when it was last watched, that ended with a touch */
};

/* How eagerly: what holds unless a test is after races. */
struct ws_pace {
	uint64_t permille;  /* of a CPU */
	uint64_t burst_ns;  /* saved up at most */
	uint64_t tick_ns;   /* between two ticks */
	uint64_t cool_ns;   /* that a page is left alone after a touch, about */
	uint64_t window_ns; /* what was touched in it is in use */
};

struct working_set {
	bool on;
	unsigned level;	       /* one page of 2^level is in the sample */
	struct ws_page *pages; /* by group; NULL: not begun yet */
	uint32_t n_reserved, n, n_used;
	char *aside; /* a page for each slot */
	uint16_t *free_slots;
	uint32_t n_free, n_away;
	char *aside_blocks; /* 2 MiB for each block, mapped when the first goes there */
	size_t aside_blocks_bytes;
	struct ws_pace pace;
	uint32_t hand, n_to_look; /* the sweep that lays aside */
	int64_t budget_ns;	  /* may be below 0 */
	uint64_t filled_ns, tick_ns;
	uint64_t move_ns; /* what laying aside or bringing back costs, about */
	uint64_t dice;
	struct curve curve;
	uint64_t n_touches, n_armed, spent_ns;
};

void working_set_init(struct gmm_space *s, bool on, uint64_t now_ns);
void working_set_fini(struct gmm_space *s);

/* Page p was touched. True: for no other reason than that it was laid aside; it is still. */
bool working_set_touch(struct gmm_space *s, page_no p, uint64_t now_ns);

/* Maps p again if it is laid aside. False: that cannot be done just now. */
bool working_set_return(struct gmm_space *s, page_no p);

/* The same for all of [p, p + n). */
bool working_set_return_run(struct gmm_space *s, page_no p, uint64_t n);

/* The pages [p, p + n) were evicted: their next touch is a fault anyway. */
void working_set_left(struct gmm_space *s, page_no p, uint64_t n);

/* The content of [p, p + n) was dropped: what comes next is a first touch. */
void working_set_forget(struct gmm_space *s, page_no p, uint64_t n);

/* Lays aside what is due. */
void working_set_tick(struct gmm_space *s);

/* When the next tick is due; 0: there is nothing to do. */
uint64_t working_set_next_ns(const struct gmm_space *s);

/* What this file itself takes. */
size_t working_set_bytes(const struct gmm_space *s);

void working_set_stats(struct gmm_space *s, struct gmm_stats *out);

#endif
