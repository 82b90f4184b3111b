/* Writeback: staged pages go to the store, and what becomes of them when it does not take them.
 * Under the space's lock. */
#ifndef MM_WRITEBACK_H
#define MM_WRITEBACK_H

#include "space.h"

/* Submits up to n of the oldest staged pages; one where the store is blocked, to see whether it is
 * well again. Returns how many. */
unsigned writeback_submit(struct gmm_space *s, uint64_t n);

/* A write ended: the page is SWAPPED, or it goes back to the guest. */
void writeback_ended(struct gmm_space *s, struct transfer *x);

/* With no store, what was staged goes back to the guest, and nothing is tried for a while. */
void writeback_refuse(struct gmm_space *s);

/* When the store may be tried again, 0: now. */
uint64_t writeback_blocked_until(const struct gmm_space *s);

/* The page's content is at this slot, and nowhere else. */
void writeback_swapped(struct gmm_space *s, page_no p, uint64_t slot);

#endif
