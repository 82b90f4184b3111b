/* Thrashing: does the guest wait for pages that it had a moment ago?
 *
 * The verdict is over the last ten seconds, in periods of two. It is `on` where two things meet.
 *
 * For 40 % of the time at least one thread waited for memory: `some` of the kernel's pressure stall
 * information (kernel/sched/psi.c), whose first average is over ten seconds too.
 *
 * And at least half of the pages that came back were refaults, by a distance as in the kernel's
 * mm/workingset.c: fewer pages were evicted while they were away than four times as many as may be
 * resident. (That file asks whether there were as many; but it decides whether a page is worth
 * keeping. A guest that goes through twice its limit in turns waits all the time, too.)
 *
 * It ends where the share falls below 20 %, or refaults are less than a quarter. Waiting alone
 * would blame a guest that reads a file for the first time; coming back alone one with a fast
 * store.
 *
 * How much more memory it would take follows from the refaults' distances, by that file's argument
 * too: a page that came back after d evictions would not have left had there been d frames more.
 */
#ifndef MM_THRASH_H
#define MM_THRASH_H

#include <stdbool.h>
#include <stdint.h>

#define THRASH_PERIOD_NS UINT64_C(2000000000)
#define THRASH_PERIODS	 5u
#define THRASH_ON	 400u /* permille of the time */
#define THRASH_OFF	 200u
#define THRASH_REACH	 4u   /* times the limit: what was away for longer is no refault */
#define THRASH_STEPS	 257u /* distances are told apart in steps of a 64th of the limit */

struct thrash_totals {
	uint64_t at_ns, some_ns, n_back, n_refaults;
};

struct thrash {
	struct thrash_totals ends[THRASH_PERIODS]; /* of the periods before, a ring */
	uint64_t n_periods;			   /* since the beginning */
	uint64_t n_back, n_refaults;		   /* pages, since the beginning */
	uint32_t distances[THRASH_STEPS];	   /* of refaults; fades, a fifth a period */
	uint32_t step_pages;
	/* The verdict. */
	bool is_on;
	uint32_t stalled_permille; /* of the window, the last ten seconds or less */
	uint64_t window_ns, window_refaults;
	uint64_t more_pages; /* that it would take to end it; 0: it is not thrashing */
	uint64_t most_more_pages, total_ns;
};

void thrash_init(struct thrash *t, uint64_t now_ns, uint64_t limit_pages);

/* A page was touched and had to be brought back; n_evictions meanwhile. */
void thrash_came_back(struct thrash *t, uint64_t n_evictions, uint64_t limit_pages);

/* Brings the verdict up to now; some_ns: the stall time since the beginning. */
void thrash_update(struct thrash *t, uint64_t now_ns, uint64_t some_ns);

#endif
