/* Shared frames: the guest's page-frame allocator, out of which the VMM takes what is free.
 * See <guestmm/balloon.h>, which has the public face. */
#ifndef MM_SHARED_FRAMES_H
#define MM_SHARED_FRAMES_H

#include <guestmm/balloon.h>

struct shared_frames;

/* Errors: as gmm_balloon_share(). */
int shared_frames_new(struct gmm_space *space, const struct gmm_balloon_share *share,
		      struct shared_frames **out);

/* What is taken stays taken: the guest is over. Takes NULL. */
void shared_frames_free(struct shared_frames *sh);

/* Pages that are free in the guest, as the block says: no more than it can have, but not to be
 * relied on. */
uint64_t shared_frames_n_free(const struct shared_frames *sh);

/* One step, some ten MiB, towards `goal` pages taken. False: nothing was done, for the goal is
 * met, no more is free, or somebody waits in shared_frames_return(). */
bool shared_frames_step(struct shared_frames *sh, uint64_t goal);

/* Gives back up to n pages, at once. Returns how many. */
uint64_t shared_frames_return(struct shared_frames *sh, uint64_t n);

#endif
