/* What policies with one queue have in common. */
#ifndef MM_POLICY_SINGLE_H
#define MM_POLICY_SINGLE_H

#include <guestmm/policy.h>

#include "queue.h"

#define SINGLE_Q 1u

struct single {
	struct gmm_policy base;
	struct queue_set queues;
	uint8_t *referenced; /* clock: a bit a page, else NULL */
	uint64_t random;     /* random: the generator's state */
};

static inline struct single *single_of(struct gmm_policy *p)
{
	return (struct single *)p;
}

int single_make(const struct gmm_policy_ops *ops, uint64_t n_pages, struct gmm_policy **out);
void single_insert(struct gmm_policy *p, uint64_t page, enum gmm_policy_why why);
void single_remove(struct gmm_policy *p, uint64_t page);
void single_resize(struct gmm_policy *p, uint64_t n_resident);
uint64_t single_metadata_bytes(const struct gmm_policy *p);
void single_free(struct gmm_policy *p);

#endif
