/* Trends: where reads from the store are going, so that pages can be brought in ahead of them.
 *
 * A trend follows one chain of faults that lie near each other: its distances from fault to fault
 * are kept, and the stride that the majority of the last 4 or 8 of them has is its direction (as in
 * Leap, Al Maruf and Chowdhury, USENIX ATC 2020). Faults that are near no trend of their thread
 * belong to a further one that has no bound on distances. So streams that run at once, forward,
 * backward or by a stride, have a trend each, whether or not it is known which thread they are of.
 *
 * A trend with a stride has a path and a window: so many pages of the path are brought in at a
 * time. Touches of pages that are there are not seen; therefore the first page behind a window is
 * left where it is, as a mark. A fault there proves that the window was of use, and doubles it. A
 * fault off the path halves it, and another stride begins with a single page. Behind the mark of a
 * large window a second one is brought in, the lead: it is there already when the mark is reached,
 * and the next is on its way while the guest works through it.
 *
 * Pages are numbers here; nothing is touched. Under the space's lock.
 */
#ifndef MM_TRENDS_H
#define MM_TRENDS_H

#include "page.h"

#define TRENDS_N	 64u
#define TREND_HISTORY	 8u
#define TREND_WINDOW_MAX 127u
#define TREND_LEAD_MIN	 15u /* windows from this size on have a lead */

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
	uint8_t n_deltas, at;
	int32_t deltas[TREND_HISTORY];
	uint64_t met; /* when it was last met */
};

struct trends {
	struct trend all[TRENDS_N];
	uint64_t clock;
};

void trends_init(struct trends *t);

/* A fault of `who` at page p. Returns its trend; see trend->wants. */
struct trend *trends_fault(struct trends *t, uint32_t who, page_no p);

/* What was wanted is out: up to before `end`, but for the mark. */
void trend_sent(struct trend *trend, page_no mark, page_no end);

/* How many strides from a to b; 0 where b is not ahead of a on such a path. */
uint32_t trend_steps(const struct trend *trend, page_no a, page_no b);

/* p, one stride further; PAGE_NONE where page numbers end. */
page_no trend_step(const struct trend *trend, page_no p);

#endif
