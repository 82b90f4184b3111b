/* What policies with one queue have in common. */
#include "policy/single.h"

#include <errno.h>
#include <stdlib.h>

#include "reserve.h"

int single_make(const struct gmm_policy_ops *ops, uint64_t n_pages, struct gmm_policy **out)
{
	struct single *s = calloc(1, sizeof(*s));
	int error;

	if (!s)
		return -ENOMEM;
	s->base.ops = ops;
	error = queue_init(&s->queues, n_pages);
	if (error) {
		free(s);
		return error;
	}
	*out = &s->base;
	return 0;
}

void single_insert(struct gmm_policy *p, uint64_t page, enum gmm_policy_why why)
{
	(void)why;
	queue_push(&single_of(p)->queues, SINGLE_Q, page);
}

void single_remove(struct gmm_policy *p, uint64_t page)
{
	queue_drop(&single_of(p)->queues, page);
}

void single_resize(struct gmm_policy *p, uint64_t n_resident)
{
	(void)n_resident;
	queue_trim(&single_of(p)->queues);
}

uint64_t single_metadata_bytes(const struct gmm_policy *p)
{
	const struct single *s = (const struct single *)p;

	return sizeof(*s) + queue_metadata_bytes(&s->queues) +
	       (s->referenced ? (s->queues.n_pages + 7) / 8 : 0);
}

void single_free(struct gmm_policy *p)
{
	struct single *s = single_of(p);

	reserve_unmap(s->referenced, (s->queues.n_pages + 7) / 8);
	queue_fini(&s->queues);
	free(s);
}
