/* Reads: how a page comes back from a store, or from a window's file. Under the space's lock.
 *
 * A page is FILLING from the submission of its read until its content is mapped or is known to be
 * lost.
 */
#ifndef MM_READ_H
#define MM_READ_H

#include "space.h"

#define READ_BATCH_MAX 256u

/* A transfer that reads page p into a taken slot, not submitted yet. NULL: there is none, and the
 * slot stays the caller's. */
struct transfer *read_prepare(struct gmm_space *s, page_no p, bay_slot slot);

/* Submits up to READ_BATCH_MAX prepared reads of one store; their pages become FILLING. On failure
 * they are dropped: -EAGAIN and what else a store's submit() says. */
int read_submit(struct gmm_space *s, struct transfer *const *xs, unsigned n);

/* Both, for one page that somebody waits for. NULL: no frame, no transfer, or the store is busy. */
struct transfer *read_begin(struct gmm_space *s, page_no p);

/* Up to READ_BATCH_MAX reads have ended, in any order: puts their pages in place, neighbours by one
 * call, or marks them as lost. Those that cannot be put in place just now are among the ready. */
void read_ended(struct gmm_space *s, struct transfer **xs, unsigned n);

#endif
