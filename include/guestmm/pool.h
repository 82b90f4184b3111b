/* Pools: a bounded set of host frames, the hard limit.
 *
 * A pool backs one or several spaces of this process. Frames in use never exceed its
 * limit, not for an instant: a frame is charged before it exists. The pool fills
 * lazily, keeps a small reserve of zeroed frames ahead of need, and gives idle
 * frames back to the host. All functions may be called from any thread.
 */
#ifndef GUESTMM_POOL_H
#define GUESTMM_POOL_H

#include <guestmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gmm_pool;

/* The smallest limit a pool accepts, in bytes: below it a space cannot have one
 * page under way in each direction and a batch to make progress with. */
#define GMM_POOL_MIN_BYTES (UINT64_C(2) << 20)

struct gmm_pool_config {
	uint32_t size; /* sizeof(struct gmm_pool_config) */
	uint64_t limit_bytes;
};

struct gmm_pool_stats {
	uint32_t size; /* sizeof(struct gmm_pool_stats), set by the caller: no more is written */
	uint64_t limit_bytes;
	uint64_t used_bytes;	  /* frames that exist now: in guests, in flight, in reserve */
	uint64_t used_peak_bytes; /* never above the limits that were in force */
	uint64_t reserve_bytes;	  /* of these, free and ready */
};

/* Errors: -EINVAL (limit not a multiple of 4 KiB or below GMM_POOL_MIN_BYTES; config
 * size), -ENOMEM. */
GMM_API int gmm_pool_new(const struct gmm_pool_config *config, struct gmm_pool **out);

/* Frees a pool that no space uses any more. Takes NULL, returns NULL. */
GMM_API struct gmm_pool *gmm_pool_free(struct gmm_pool *pool);

/* Changes the limit. Raising takes effect at once. Lowering takes effect at once for new
 * frames; the spaces' next dispatches evict down to it while guests run. Errors: -EINVAL. */
GMM_API int gmm_pool_set_limit(struct gmm_pool *pool, uint64_t limit_bytes);

/* Fills in `out`, whose size the caller sets. */
GMM_API void gmm_pool_stats(struct gmm_pool *pool, struct gmm_pool_stats *out);

#ifdef __cplusplus
}
#endif
#endif
