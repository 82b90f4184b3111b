/* Prefetch: pages that are read before anybody asks. Under the space's lock.
 *
 * Faults only note where they were (trends.h). What that makes worth reading is submitted at the
 * end of a dispatch, when all reads that somebody waits for are under way, and mapped when it has
 * come.
 *
 * It takes free frames only, at most a quarter of them at a time, so that reclaim and faults come
 * first; none at all where a fault waits for a frame or the limit is exceeded. Pages that were
 * brought in carry PAGE_AHEAD until they are known to have been of use: their trend has come by
 * behind them, somebody waited for them while they were read, or a touch rescued them. Those that
 * are evicted with it were wasted. Where a fifth and more is wasted windows are cut short.
 */
#ifndef MM_PREFETCH_H
#define MM_PREFETCH_H

#include "threads.h"
#include "trends.h"

struct gmm_space;
struct transfer;

struct prefetch {
	uint64_t wanted;	   /* trends of which something is wanted, a bit each */
	uint32_t n_used, n_wasted; /* of late */
	struct trends trends;
	struct threads threads;
};

_Static_assert(TRENDS_N <= 64, "a bit a trend");

void prefetch_init(struct prefetch *p);

/* A fault of thread tid (0: of none) reads page p. */
void prefetch_fault(struct gmm_space *s, page_no p, int32_t tid);

/* Submits what is wanted. True: a store that works in memory has ended it already, look again. */
bool prefetch_run(struct gmm_space *s);

/* A touch waits for a page that is being read ahead, or rescues one with these flags. */
void prefetch_touched(struct gmm_space *s, struct transfer *x);
void prefetch_rescued(struct gmm_space *s, unsigned flags);

/* A page with these flags is evicted. */
void prefetch_evicted(struct gmm_space *s, unsigned flags);

#endif
