/* Balloons: memory that the guest gives up on request.
 *
 * The balloon holds a target and what is ballooned. Two ways lead to the target:
 *   by page list  a driver, the tiny guest's channel or virtio-balloon, tells the guest of the
 *                 target and passes on the pages that the guest gives or takes back;
 *   by sharing    the guest's page-frame allocator is a block that the VMM sees as well, and the
 *                 VMM takes free frames out of it by itself: see gmm_balloon_share().
 * Nothing that a guest says is trusted. All functions: any thread but the dispatching one.
 */
#ifndef GUESTMM_BALLOON_H
#define GUESTMM_BALLOON_H

#include <guestmm/space.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gmm_balloon;

struct gmm_balloon_config {
	uint32_t size;		 /* sizeof(struct gmm_balloon_config) */
	struct gmm_space *space; /* not owned; outlives the balloon */
	/* Tells the guest of a new target. Called from the thread that set it. Never called for a
	 * guest that shares its allocator. */
	void (*notify)(void *user, uint64_t target_pages);
	void *user;
	uint64_t floor_bytes; /* `auto` leaves the guest at least this much; 0: an eighth of memory
			       */
	/* Tells a guest that shares its allocator how many pages the target wants that are not
	 * free: it may hold some back that it could free. Called when it shares, and when the
	 * number changes, from the thread by whose call it does. May be NULL. */
	void (*missing)(void *user, uint64_t pages);
};

/* Call it when the space has all its RAM. Errors: -EINVAL (config size, a floor above the memory),
 * -ENOMEM. */
GMM_API int gmm_balloon_new(const struct gmm_balloon_config *config, struct gmm_balloon **out);
GMM_API struct gmm_balloon *gmm_balloon_free(struct gmm_balloon *balloon);

/* Asks the guest to have `bytes` given up in all; from one that shares its allocator they are taken
 * before this returns, as far as they are free. -EINVAL: as much as the guest has, or more. */
GMM_API int gmm_balloon_set_target(struct gmm_balloon *balloon, uint64_t bytes);
GMM_API uint64_t gmm_balloon_target(const struct gmm_balloon *balloon);
GMM_API uint64_t gmm_balloon_bytes(const struct gmm_balloon *balloon);

/* `auto`: the target follows need. Call tick about once a second with auto on, or with a guest that
 * shares its allocator: what was not free when the target was set is taken when it is. */
GMM_API void gmm_balloon_set_auto(struct gmm_balloon *balloon, bool on);
GMM_API void gmm_balloon_tick(struct gmm_balloon *balloon);

/* The guest gave up these pages; their content is gone and their frames are free.
 * Pages outside RAM, held, or ballooned already are ignored; so are pages that a read is just
 * filling, though their content is dropped, too. Returns how many were taken. */
GMM_API unsigned gmm_balloon_give(struct gmm_balloon *balloon, const gmm_gfn *gfns, unsigned n);

/* The guest uses these pages again. Returns how many were in the balloon. */
GMM_API unsigned gmm_balloon_take(struct gmm_balloon *balloon, const gmm_gfn *gfns, unsigned n);

/* The guest is out of memory and wants `pages` back: the target is lowered. Returns by how many. A
 * guest that shares its allocator finds that many free frames in it when this returns. */
GMM_API uint64_t gmm_balloon_deflate_on_oom(struct gmm_balloon *balloon, uint64_t pages);

/* ---- Sharing the guest's page-frame allocator ----
 *
 * The guest has its frames from a gmm_frames block (<guestmm/frames.h>) in which frame i is guest
 * frame i; frames that are no RAM, and those in use from the start, are claimed in it. Once it is
 * shared the VMM takes free frames out of it, huge ones first, by compare-and-swap and drops their
 * host memory; it gives them back by making them free again, and the first touch of such a frame
 * reads zeros. None of that needs an exit, an interrupt or an instruction of the guest. Reclaim,
 * too, looks there first: what is free in the guest is dropped before any page is written.
 * The guest keeps one rule: a frame that it frees has no content that it still needs.
 *
 * Whatever the guest writes to the block can only hurt itself: all that is read from it is checked,
 * and what was taken is noted here. */
struct gmm_balloon_share {
	uint32_t size; /* sizeof(struct gmm_balloon_share) */
	/* The block as this process sees it: memory of the VMM's own, which the guest sees through
	 * a memory slot of its own, or pages of a space that are held. It must not fault, and stays
	 * until the balloon is freed. 8-byte aligned. */
	void *block;
	size_t block_bytes;
	uint64_t n_frames; /* as the VMM knows it: the block's own word for it is not believed */
};

/* From now on the balloon works by sharing. The VMM calls it when the guest says that it uses the
 * block. Errors: -EINVAL (sizes, alignment), -EEXIST (a block is shared already), -ENOMEM. */
GMM_API int gmm_balloon_share(struct gmm_balloon *balloon, const struct gmm_balloon_share *share);

/* Is a block shared? */
GMM_API bool gmm_balloon_is_shared(const struct gmm_balloon *balloon);

/* Bytes that are free in the guest, as the shared block says; 0 where none is shared. */
GMM_API uint64_t gmm_balloon_guest_free(const struct gmm_balloon *balloon);

#ifdef __cplusplus
}
#endif
#endif
