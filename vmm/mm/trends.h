/* Trends: where reads from the store are going, so that pages can be brought in ahead of them.
 *
 * A trend follows one chain of faults that lie near each other: its distances from fault to fault
 * are kept, and the stride that the majority of the last 4 or 8 of them has is its direction (as in
 * Leap, Al Maruf and Chowdhury, USENIX ATC 2020). Faults that are near no trend of their thread
 * belong to a further one that has no bound on distances. So streams that run at once, forward,
 * backward or by a stride, have a trend each, whether or not it is known which thread they are of.
 *
 * Where pages are there already their touches are not seen: order through memory of which a part is
 * there shows no majority of any distance. So it is kept beside them whether a fault was at the
 * next page that could be read, up or down, and where no distance has the majority that may have
 * it.
 *
 * A trend with a stride has a path and a window: so many pages of the path are brought in at a
 * time. Touches of pages that are there are not seen; therefore the first page behind a window is
 * left where it is, as a mark. A fault there proves that the window was of use, and doubles it. A
 * fault off the path halves it, and another stride begins with a single page. Behind the mark of a
 * large window a second one is brought in, the lead: it is there already when the mark is reached,
 * and the next is on its way while the guest works through it.
 *
 * What is in order for a guest's program is so in its physical memory within blocks of 2 MiB, the
 * largest piece that programs get as a rule; which block is next nobody can tell. So a path leads
 * into another block only where its trend has been seen to go on there.
 *
 * Pages are numbers here; nothing is touched. Under the space's lock.
 */
#ifndef MM_TRENDS_H
#define MM_TRENDS_H

#include "page.h"

#define TRENDS_N	 64u
#define TREND_HISTORY	 8u
#define TREND_WINDOW_MAX 127u
#define TREND_LEAD_MIN	 15u  /* windows from this size on have a lead */
#define TREND_BLOCK	 512u /* pages */

struct trend {
	page_no last;	 /* where it was seen last */
	page_no mark;	 /* where it is to be seen next; PAGE_NONE: it has no path */
	page_no end;	 /* the first page behind what was brought in; the mark where there is no
			    lead */
	page_no proven;	 /* what was brought in before it is known to be of use: for the caller */
	int32_t stride;	 /* pages from one to the next; 0: none known */
	uint32_t window; /* pages; 0: the last guess was bad */
	uint32_t who;	 /* the thread whose faults these are; 0: nobody knows */
	bool wide;	 /* takes what is near no other trend of its thread */
	bool lead;	 /* what is wanted next lies behind a lead, and begins with the mark */
	bool wants;	 /* more of its path is worth bringing in */
	bool crossed;	 /* it has gone on from one block into another */
	page_no block;	 /* where it was seen last */
	uint8_t n_deltas, at;
	int16_t deltas[TREND_HISTORY];
	int8_t orders[TREND_HISTORY]; /* 1 or -1 for the next page that could be read; or 0 */
	uint64_t met;		      /* when it was last met */
};

struct trends {
	struct trend all[TRENDS_N];
	uint64_t clock;
};

void trends_init(struct trends *t);

/* Where a fault was: at page p, with no other page that could be read from `from` to `to`, and in
 * the block of 2 MiB that begins at page `block`; PAGE_NONE: in none. */
struct place {
	page_no p, from, to, block;
};

/* A fault of `who`. Returns its trend; see trend->wants. */
struct trend *trends_fault(struct trends *t, uint32_t who, struct place at);

/* What is at a page of a path. */
enum trend_page { TREND_READS, TREND_PASSES_BY, TREND_ENDS };
typedef enum trend_page trend_look_fn(const void *user, page_no p);

struct trend_ahead {
	uint32_t n;    /* pages to bring in, and the mark among them */
	uint32_t mark; /* which of them that is; n: none, the path ends before */
	page_no pages[2 * TREND_WINDOW_MAX + 1];
};

/* What is wanted next of a trend's path, `max` pages at most: a window, the mark, and a lead; or,
 * behind a lead, the mark and the next. A trend that must not bring in any has a mark all the same.
 */
void trend_ahead(const struct trend *trend, uint32_t max, trend_look_fn *look, const void *user,
		 struct trend_ahead *ahead);

/* What was wanted is out: up to before `end`, but for the mark. */
void trend_sent(struct trend *trend, page_no mark, page_no end);

/* How many strides from a to b; 0 where b is not ahead of a on such a path. */
uint32_t trend_steps(const struct trend *trend, page_no a, page_no b);

/* p, one stride further; PAGE_NONE where page numbers end. */
page_no trend_step(const struct trend *trend, page_no p);

#endif
