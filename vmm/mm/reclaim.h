/* Reclaim: how memory is taken from the guest. Under the space's lock. */
#ifndef MM_RECLAIM_H
#define MM_RECLAIM_H

#include "space.h"

/* Something is short, on its way out or asked for. Cheap: asked in each dispatch. */
bool reclaim_is_due(struct gmm_space *s);

/* Evicts and writes so that free frames stay above the watermarks and the limit is met.
 * True: more is left to do at once. */
bool reclaim_balance(struct gmm_space *s);

/* It has something to take or to write, and nothing is lost if it does so a little later. */
bool reclaim_may_wait(struct gmm_space *s);

/* Pages that it would take now, and how many of them were found elsewhere. */
uint64_t reclaim_wants(struct gmm_space *s);
void reclaim_had(struct gmm_space *s, uint64_t n);

#endif
