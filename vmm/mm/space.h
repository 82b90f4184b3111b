/* The space inside: what fault, reclaim, access and balloon share.
 *
 * Locks, in the order in which they are taken:
 *   dispatching  held by the one thread that dispatches; taken before `lock`
 *   lock         everything below that does not say otherwise; held for microseconds, never while
 *                guest memory may be touched through its registered mapping
 *   pool->lock   a leaf
 * fault.c and reclaim.c do not call each other: dispatch.c calls both.
 */
#ifndef MM_SPACE_H
#define MM_SPACE_H

#include <guestmm/space.h>
#include <pthread.h>

#include "counters.h"
#include "engine/engine.h"
#include "huge.h"
#include "layout.h"
#include "prefetch.h"
#include "stall.h"
#include "streams.h"
#include "taken.h"
#include "thrash.h"
#include "working_set.h"

#define SPACE_TRANSFERS 2048u
/* Transfers that writes may have, reads find the rest. While guests fault, few: a read may come to
 * wait behind all of them. Where frames are short: what a disk does in half a millisecond. */
#define SPACE_WRITES_FEW   16u
#define SPACE_WRITES_SHORT 128u
#define SPACE_WRITES_IDLE  1024u
#define SPACE_RESERVE	   64u	 /* frames kept ready, zeroed, for first touches */
#define SPACE_WAITING	   1024u /* faults that wait for a frame; beyond, events stay unread */
#define SPACE_EVENTS	   64u
#define TRANSFER_NONE	   UINT16_MAX

enum transfer_kind { TRANSFER_FREE, TRANSFER_READ, TRANSFER_WRITE };

/* One page on its way from or to a store. */
struct transfer {
	struct gmm_store_io io;
	enum transfer_kind kind;
	uint16_t index, next; /* in the free list, or in the list of reads to install */
	page_no page;
	bay_slot slot;
	struct gmm_store *store;
	uint64_t begun_ns;
	uint32_t n_waiters; /* touches that wait for a read */
	int32_t tid;	    /* of the thread that asked last; 0: none */
	uint8_t n_tries;
	uint8_t prefetch; /* nobody asked for it yet */
	uint8_t again;	  /* a read that failed and is submitted again when it is looked at next */
	uint8_t discard;  /* read: the content is not wanted any more. write: the page went on
			     without it */
};

/* A fault that could not be begun: no frame, no transfer. */
struct waiting {
	page_no page;
	int32_t tid; /* 0: a hold, nobody to wake */
	uint64_t since_ns;
};

struct transfers {
	uint16_t free;
	uint16_t ready; /* reads that ended well, to be installed */
	uint32_t n_free, n_reads, n_writes;
	uint32_t max_writes;
	struct transfer all[SPACE_TRANSFERS];
};

/* What each fault looks at comes first, and what is large last: on the vCPU's own CPU every page of
 * memory more is a walk of the page tables more. */
struct gmm_space {
	struct gmm_pool *pool;
	struct gmm_store *store; /* NULL: no swap */
	const struct gmm_policy_ops *policy_ops;
	struct gmm_policy *policy; /* made when the first page is touched */
	gmm_event_fn *on_event;
	void *user;

	pthread_mutex_t dispatching, lock;
	pthread_cond_t changed; /* a page that a hold waits for may have changed */
	uint32_t n_hold_waiters;
	_Atomic uint32_t n_workers;

	int epoll_fd, wake_fd, timer_fd;
	struct uffd uffd;
	struct layout layout;
	struct page_table pages;
	struct bay bay;
	struct engine engine;
	struct huge huge;
	struct pool_member member;
	struct taken taken; /* by the balloon, out of the guest's allocator: see shared_frames.c */
	uint64_t shared_bytes; /* that allocator's block */
	struct {	       /* drops what is free in the guest, up to `want` pages or so, and */
		uint64_t (*take)(void *user, uint64_t want); /* says how many; NULL: nobody knows */
		void *user;
		bool asked; /* to look again, however little it found last time */
	} relief;

	bay_slot staged_head, staged_tail; /* see staging.h */
	uint32_t n_staged, n_waiting, n_events;
	uint32_t stamp_unit; /* evictions for one step of a stamp */

	struct { /* the store refused a page: try again later, a few at a time */
		bool blocked;
		int error;
		uint64_t until_ns, backoff_ns;
		uint32_t n_too_big; /* pages refused with -E2BIG since the last one it took */
	} block;
	struct { /* see clean.h */
		bool has_room;
		page_no hand;	     /* where the sweep goes on */
		uint64_t n_left;     /* pages it has still to look at */
		uint64_t trimmed_at; /* evictions when the policy was trimmed */
	} clean;
	uint64_t reclaim_asked; /* pages, by gmm_space_reclaim() */
	bool reclaim_flush;	/* what it staged is written, too */
	bool idle_due;		/* what is not urgent was put off */
	bool has_served;	/* this dispatch has: somebody who faulted can go on */
	bool deferred;		/* reclaim was, for his sake, in the last one */
	bool dead;		/* the userfaultfd failed */
	uint64_t served_ns;	/* when a frame was last needed */
	uint64_t maintained_ns; /* when the store had time to tidy up */
	uint64_t timer_ns;	/* when the timer ends; 0: it is not set */
	uint64_t fault_ns;	/* when somebody last faulted */

	struct stall stall;
	struct streams streams; /* first touches */
	struct counters counters;
	struct thrash thrash;
	struct working_set ws;
	struct prefetch prefetch;
	struct transfers transfers;
	struct waiting waiting[SPACE_WAITING];
	struct gmm_event events[SPACE_EVENTS];
};

static inline page_word space_word(const struct gmm_space *s, page_no p)
{
	return page_get(&s->pages, p);
}

/* The store may give a slot to another page. */
static inline void space_release_slot(struct gmm_space *s, uint64_t slot)
{
	if (slot != GMM_SLOT_NONE && s->store)
		s->store->ops->release(s->store, &slot, 1);
}

static inline char *space_hva(const struct gmm_space *s, page_no p)
{
	return region_hva(layout_find_page(&s->layout, p), p);
}

/* Is page p of r, EMPTY, one that the balloon took? Nothing is to be brought in for it unasked. */
static inline bool space_is_taken(const struct gmm_space *s, const struct region *r, page_no p)
{
	return taken_has(&s->taken, region_gpa(r, p) >> GMM_PAGE_SHIFT);
}

/* Any page of the block of 512 that begins with p? */
static inline bool space_some_taken(const struct gmm_space *s, page_no p)
{
	uint64_t gpa = region_gpa(layout_find_page(&s->layout, p), p);

	return taken_has_some(&s->taken, gpa >> GMM_HUGE_SHIFT);
}

/* Whether the call that puts pages in place next is to be timed: somebody waits for them. */
static inline void space_time_next(struct gmm_space *s)
{
	s->engine.is_timed = s->counters.n_served % LATENCY_SAMPLE == 0;
}

/* What was asked for at `since_ns` is in place. */
static inline void space_note_latency(struct gmm_space *s, uint64_t since_ns)
{
	uint64_t ns = s->engine.placed_ns - since_ns;

	s->counters.n_served++;
	if (s->engine.is_timed)
		latency_add(&s->counters.latency, ns);
	else
		latency_at_least(&s->counters.latency, ns);
	s->engine.is_timed = false;
}

/* When a page leaves, it is stamped; 0 is no stamp. */
static inline unsigned space_stamp(const struct gmm_space *s)
{
	return 1 + (unsigned)(s->counters.evicted / s->stamp_unit % PAGE_STAMPS);
}

/* About how many pages were evicted since a page with this stamp was; 0: it never left. Stamps come
 * round again after some 64 times the limit. */
static inline uint64_t space_evictions_since(const struct gmm_space *s, unsigned stamp)
{
	unsigned steps;

	if (!stamp)
		return 0;
	steps = (space_stamp(s) + PAGE_STAMPS - stamp) % PAGE_STAMPS;
	return (uint64_t)steps * s->stamp_unit + (s->stamp_unit + 1) / 2;
}

/* Frames a fault could have at once. */
uint64_t space_free_frames(const struct gmm_space *s);

/* The limit has a frame for every page: none need ever leave. */
bool space_has_all(const struct gmm_space *s);

/* The policy, made on first use; NULL where there is no memory for it. */
struct gmm_policy *space_policy(struct gmm_space *s);

void space_event(struct gmm_space *s, enum gmm_event_kind kind, page_no p, int error, int32_t tid);

/* Dispatching in two halves, for workers: which descriptors are ready, waited for without any lock;
 * then what gmm_space_dispatch() does. */
enum {
	SPACE_READY_FAULTS = 1,
	SPACE_READY_WAKE = 2,
	SPACE_READY_TIMER = 4,
	SPACE_READY_STORE = 8,
};
unsigned space_wait(const struct gmm_space *s, int timeout_ms);
int space_dispatch(struct gmm_space *s, unsigned ready);

/* Somebody may have waited for this page. */
void space_changed(struct gmm_space *s);

/* transfers.c */
void transfers_init(struct transfers *t);
struct transfer *transfer_get(struct transfers *t, enum transfer_kind kind);
void transfer_put(struct transfers *t, struct transfer *x);

/* Submits; -EAGAIN: the store has too many under way. */
int transfer_submit(struct transfer *const *xs, unsigned n);

#endif
