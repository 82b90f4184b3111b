/* Faults: how a touched page is served. Under the space's lock. */
#ifndef MM_FAULT_H
#define MM_FAULT_H

#include "space.h"

enum fault_outcome {
	FAULT_SERVED,  /* the page is in place, or never will be; whoever waited is awake */
	FAULT_STARTED, /* a read is under way; its end wakes */
	FAULT_AGAIN,   /* likewise, and this thread has asked for it before: a signal came */
	FAULT_WAIT,    /* no frame or no transfer now: ask again */
};

/* Threads whose number is not known: every one of them is somebody else. */
#define FAULT_TID_UNKNOWN 1

struct fault {
	page_no page;
	int32_t tid;	   /* of the thread that waits, or FAULT_TID_UNKNOWN; 0: a hold */
	uint64_t since_ns; /* when it was seen */
};

enum fault_outcome fault_serve(struct gmm_space *s, const struct fault *f);

/* The page's content is in place: its word says so, the policy knows it. */
void fault_resident(struct gmm_space *s, page_no p, uint64_t slot, unsigned flags,
		    enum gmm_policy_why why);

/* Did a page with this stamp leave so lately that it should not have? */
bool fault_is_refault(const struct gmm_space *s, unsigned stamp);

/* Brings an EVICTING page back. FAULT_WAIT: no frame for the copy that a pinned one needs. */
enum fault_outcome fault_rescue(struct gmm_space *s, page_no p, enum gmm_policy_why why);

#endif
