/* Access: what others than the guest do with its memory. See <guestmm/space.h>. */
#ifndef MM_ACCESS_H
#define MM_ACCESS_H

#include "space.h"

/* Gives up page p's content, under the lock: true if it is EMPTY or `to` afterwards. Held pages
 * and pages that a read fills are not: the latter will read as zero. */
bool access_discard(struct gmm_space *s, page_no p, enum gmm_page_state to);

/* The same for n pages from p on in one region, coalesced. Returns how many. */
uint64_t access_discard_run(struct gmm_space *s, page_no p, uint64_t n, enum gmm_page_state to);

#endif
