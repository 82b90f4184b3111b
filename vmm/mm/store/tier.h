/* The tier store's insides: what tier.c (the store) and tier_back.c (write-back) share. */
#ifndef MM_STORE_TIER_H
#define MM_STORE_TIER_H

#include "queue.h"
#include "store/ended.h"
#include "store/handles.h"
#include "store/store.h"
#include "store/waker.h"

#define TIER_LEVELS_MAX 4u
/* Pages written back at a time: one operation on a device. */
#define TIER_MOVES 64u
#define TIER_QUEUE 1u

struct tier_io {
	struct gmm_store_io sub; /* what the level sees; first, so that it leads back here */
	struct gmm_store_io *io; /* the caller's; NULL: a write-back */
	uint64_t handle;	 /* of the page written back */
	unsigned level;
	int error; /* the last refusal that was more than "does not fit here" */
	struct tier_io *next_free;
};

struct tier_chunk {
	struct tier_chunk *next;
	struct tier_io ios[64];
};

struct level {
	struct gmm_store *st;
	bool fills;		/* its pages have handles and may be written back */
	bool full;		/* refused a page since the last write-back began */
	bool draining;		/* has less room than it should have */
	bool stuck;		/* nobody below took its pages: not tried again unasked */
	struct ended stash;	/* ended, not looked at yet */
	struct queue_set queue; /* handles of its pages, coldest first */
};

/* One write-back. Its pages are read a few at a time, then handed down together. */
struct tier_back {
	unsigned level;	   /* from here */
	unsigned n_begun;  /* pages taken from the level's queue */
	unsigned n_moving; /* of these, not at an end */
	bool gathering;	   /* more are to be taken */
	struct ended gathered;
	unsigned n_gathered;
	struct tier_io moves[TIER_MOVES];
	char *buffers; /* a page for each */
};

struct tier {
	struct gmm_store base;
	unsigned n;
	struct level levels[TIER_LEVELS_MAX];
	struct handles handles;
	struct ended ended;
	struct waker waker;
	struct tier_chunk *chunks;
	struct tier_io *free;
	unsigned n_free, n_under_way;
	struct tier_back back;
	uint64_t n_errors;
};

/* tier.c */
void tier_hand_down(struct tier *t, unsigned level, struct gmm_store_io **ios, unsigned n);
void tier_hand_down_list(struct tier *t, unsigned level, struct gmm_store_io *list);
void tier_release_at(struct tier *t, unsigned level, uint64_t slot);

/* tier_back.c. 0, -ENOMEM. */
int tier_back_init(struct tier_back *b);
void tier_back_fini(struct tier_back *b);

/* Takes the next few pages, if a level wants it. True: there is more to take. */
bool tier_back_gather(struct tier *t);

/* Hands down what was gathered, if that is complete. True: it was. */
bool tier_back_forward(struct tier *t);

/* Looks at a page whose step on its level has ended. True: on to the next level. */
bool tier_back_ended(struct tier *t, struct tier_io *tio);

#endif
