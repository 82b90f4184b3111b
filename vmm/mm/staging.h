/* The staging queue: pages that were evicted and are not written yet, oldest first. Under the
 * space's lock.
 *
 * A staged page's word says EVICTING, its content lies in the bay slot that is queued. Reclaim
 * stages, writeback takes the oldest, a touch or a discard takes whichever it is about.
 */
#ifndef MM_STAGING_H
#define MM_STAGING_H

#include "space.h"

/* Queues page p's content, as the newest; or, where it is to be tried first again, as the oldest.
 */
void staging_push(struct gmm_space *s, page_no p, bay_slot slot);
void staging_push_first(struct gmm_space *s, page_no p, bay_slot slot);

void staging_remove(struct gmm_space *s, bay_slot slot);

/* Takes the oldest. BAY_NONE: nothing is staged. */
bay_slot staging_pop(struct gmm_space *s);

#endif
