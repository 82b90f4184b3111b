/* Pools inside: the budget that every frame is charged to before it exists.
 *
 * A pool owns no frame: it counts them. Each space is a member; its bay holds the frames
 * that are in no guest page. used_pages never exceeds limit_pages except right after the
 * limit was lowered, when nothing can be charged until members have given enough back.
 * Charging is lock-free; the member list has a mutex of its own, a leaf: nothing else is
 * taken under it.
 */
#ifndef MM_POOL_H
#define MM_POOL_H

#include <guestmm/pool.h>
#include <pthread.h>
#include <stdatomic.h>

struct pool_member {
	struct gmm_pool *pool;
	struct pool_member *next;    /* pool->lock */
	_Atomic uint64_t used_pages; /* charged by this member */
	atomic_bool starving;	     /* waits for a frame */
	int wake_fd;		     /* eventfd: look at the pool */
};

struct gmm_pool {
	_Atomic uint64_t limit_pages, used_pages, peak_pages, reserve_pages;
	_Atomic uint64_t held_pages; /* by devices, of all spaces */
	pthread_mutex_t lock;
	struct pool_member *members; /* lock */
	_Atomic unsigned n_members;
	_Atomic unsigned n_starving;
};

void pool_join(struct gmm_pool *pool, struct pool_member *m, int wake_fd);
void pool_leave(struct pool_member *m);

/* Charges n frames, or nothing: false where the limit leaves no room. */
bool pool_charge(struct pool_member *m, uint64_t n);
void pool_uncharge(struct pool_member *m, uint64_t n);

/* This member needs a frame and has none (or does no more): the others are told. */
void pool_starve(struct pool_member *m, bool starving);

/* Frames that could be charged now. */
uint64_t pool_available(const struct gmm_pool *pool);

/* Frames in use above the limit, after it was lowered. */
uint64_t pool_excess(const struct gmm_pool *pool);

/* What this member may use when the pool is short. */
uint64_t pool_share(const struct gmm_pool *pool);

#endif
