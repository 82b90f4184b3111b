/* Balloons: memory that the guest gives up on request.
 *
 * The balloon holds a target and what is ballooned. A driver, the tiny guest's channel or
 * virtio-balloon, tells the guest of the target and passes on the pages that the guest gives
 * or takes back. Nothing that a guest says is trusted. All functions: any thread but, for
 * give and take, the dispatching one.
 */
#ifndef GUESTMM_BALLOON_H
#define GUESTMM_BALLOON_H

#include <guestmm/space.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gmm_balloon;

struct gmm_balloon_config {
	uint32_t size; /* sizeof(struct gmm_balloon_config) */
	struct gmm_space *space; /* not owned; outlives the balloon */
	/* Tells the guest of a new target. Called from the thread that set it. */
	void (*notify)(void *user, uint64_t target_pages);
	void *user;
	uint64_t floor_bytes; /* `auto` leaves the guest at least this much; 0: an eighth of memory */
};

/* Call it when the space has all its RAM. Errors: -EINVAL (config size, a floor above the memory),
 * -ENOMEM. */
GMM_API int gmm_balloon_new(const struct gmm_balloon_config *config, struct gmm_balloon **out);
GMM_API struct gmm_balloon *gmm_balloon_free(struct gmm_balloon *balloon);

/* Asks the guest to have `bytes` given up in all. -EINVAL: as much as the guest has, or more. */
GMM_API int gmm_balloon_set_target(struct gmm_balloon *balloon, uint64_t bytes);
GMM_API uint64_t gmm_balloon_target(const struct gmm_balloon *balloon);
GMM_API uint64_t gmm_balloon_bytes(const struct gmm_balloon *balloon);

/* `auto`: the target follows need. Call about once a second with auto on. */
GMM_API void gmm_balloon_set_auto(struct gmm_balloon *balloon, bool on);
GMM_API void gmm_balloon_tick(struct gmm_balloon *balloon);

/* The guest gave up these pages; their content is gone and their frames are free.
 * Pages outside RAM, held, or ballooned already are ignored; so are pages that a read is just
 * filling, though their content is dropped, too. Returns how many were taken. */
GMM_API unsigned gmm_balloon_give(struct gmm_balloon *balloon, const gmm_gfn *gfns, unsigned n);

/* The guest uses these pages again. Returns how many were in the balloon. */
GMM_API unsigned gmm_balloon_take(struct gmm_balloon *balloon, const gmm_gfn *gfns, unsigned n);

/* The guest is out of memory and wants `pages` back: the target is lowered. Returns by how many. */
GMM_API uint64_t gmm_balloon_deflate_on_oom(struct gmm_balloon *balloon, uint64_t pages);

#ifdef __cplusplus
}
#endif
#endif
