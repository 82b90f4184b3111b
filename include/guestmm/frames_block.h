/* The block that gmm_frames lives in: its numbers, its errors, its layout. See frames.h. */
#ifndef GUESTMM_FRAMES_BLOCK_H
#define GUESTMM_FRAMES_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Errors, as on Linux; functions return them negated. */
#define GMM_FRAMES_EPERM    1	/* a frame is held by another class */
#define GMM_FRAMES_ENOENT   2	/* nobody holds the frame: it is free */
#define GMM_FRAMES_ENOMEM   12	/* not that many frames are free */
#define GMM_FRAMES_EBUSY    16	/* a frame asked for by number is in use */
#define GMM_FRAMES_EINVAL   22	/* wrong size or count */
#define GMM_FRAMES_ERANGE   34	/* no such frame */
#define GMM_FRAMES_EALREADY 114 /* double free: the frame is free already */

#define GMM_FRAMES_HUGE	   512u /* frames in a huge frame, in an area, and at most in a batch */
#define GMM_FRAMES_CALLERS 64u
#define GMM_FRAMES_ANYONE  0xffffffffu
#define GMM_FRAMES_MAX	   (UINT64_C(1) << 32) /* 16 TiB */

/* Who holds a frame. The default costs nothing; the meaning of the others is the users'. */
enum gmm_frames_holder {
	GMM_FRAMES_GUEST = 0,
	GMM_FRAMES_HOST = 1,   /* taken by the host */
	GMM_FRAMES_KERNEL = 2, /* the guest kernel's own */
	GMM_FRAMES_SLOT = 3,
};
#define GMM_FRAMES_HOLDERS 4u

struct gmm_frames_caller {
	uint64_t next1; /* the frame to try next, plus one; 0: none */
	uint64_t n_got; /* frames, since init */
	uint64_t n_put;
	uint64_t held[GMM_FRAMES_HOLDERS]; /* got less put as each class; guest: not kept */
	uint64_t reserved[9];		   /* two cache lines: the prefetcher works in pairs */
};

/* A batch that its caller gets and returns as a whole, again and again: frames_bundle.h. */
struct gmm_frames_bundle {
	uint64_t state;
	uint64_t seen;	   /* what the batch got last looked like */
	uint64_t n_missed; /* batches of another kind that came back whole */
	uint64_t reserved[5];
	uint32_t names[GMM_FRAMES_HUGE]; /* its frames, ascending */
};

/* The block: this head, the bitmap, the planes, kinds[], bundles. */
struct gmm_frames {
	uint64_t n_frames;
	uint32_t n_callers; /* the highest number used, plus one */
	uint32_t reserved0;
	uint64_t huge_area; /* where the last huge frame was found */
	uint64_t reserved[13];
	struct gmm_frames_caller callers[GMM_FRAMES_CALLERS + 1]; /* the last: anyone */
};

#if defined(__cplusplus)
#define GMM_FRAMES_ASSERT(e, why) static_assert(e, why)
#else
#define GMM_FRAMES_ASSERT(e, why) _Static_assert(e, why)
#endif
GMM_FRAMES_ASSERT(sizeof(struct gmm_frames_caller) == 128, "layout shared with guests");
GMM_FRAMES_ASSERT(offsetof(struct gmm_frames, callers) == 128, "layout shared with guests");
GMM_FRAMES_ASSERT(sizeof(struct gmm_frames_bundle) == 64 + 2048, "layout shared with guests");
GMM_FRAMES_ASSERT(sizeof(struct gmm_frames) == 66 * 128, "layout shared with guests");

#endif
