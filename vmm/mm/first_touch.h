/* First touches: zeros for the touched page, and for those that will be wanted next. Under the
 * space's lock.
 *
 * Neighbours come along where first touches run in order, past pages that are in use already; and,
 * where the limit has a frame for every page, where a quarter of the neighbourhood is in use.
 */
#ifndef MM_FIRST_TOUCH_H
#define MM_FIRST_TOUCH_H

#include "fault.h"

/* The page of f is EMPTY or BALLOONED. */
enum fault_outcome first_touch(struct gmm_space *s, const struct fault *f);

#endif
