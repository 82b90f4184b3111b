/* clock: first in, first out, with a second chance for pages that were seen in use since they
 * last came up. Use is seen by rescues and refaults only: a yardstick. */
#include <errno.h>

#include "policy/policy.h"
#include "policy/single.h"
#include "reserve.h"

static int clock_make(uint64_t n_pages, uint64_t n_resident, struct gmm_policy **out)
{
	struct gmm_policy *p;
	int error = single_make(&policy_clock, n_pages, &p);

	(void)n_resident;
	if (error)
		return error;
	single_of(p)->referenced = reserve_map((n_pages + 7) / 8);
	if (!single_of(p)->referenced) {
		single_free(p);
		return -ENOMEM;
	}
	*out = p;
	return 0;
}

static void clock_insert(struct gmm_policy *p, uint64_t page, enum gmm_policy_why why)
{
	struct single *s = single_of(p);
	unsigned bit = 1u << page % 8;

	if (why == GMM_POLICY_RESCUE || why == GMM_POLICY_REFAULT)
		s->referenced[page / 8] = (uint8_t)(s->referenced[page / 8] | bit);
	else
		s->referenced[page / 8] = (uint8_t)(s->referenced[page / 8] & ~bit);
	queue_push(&s->queues, SINGLE_Q, page);
}

static unsigned clock_pick(struct gmm_policy *p, uint64_t *pages, unsigned n)
{
	struct single *s = single_of(p);
	unsigned n_picked = 0;
	uint64_t page;

	while (n_picked < n && queue_pop(&s->queues, SINGLE_Q, &page)) {
		unsigned bit = 1u << page % 8;

		if (s->referenced[page / 8] & bit) {
			s->referenced[page / 8] = (uint8_t)(s->referenced[page / 8] & ~bit);
			queue_push(&s->queues, SINGLE_Q, page);
		} else {
			pages[n_picked++] = page;
		}
	}
	return n_picked;
}

const struct gmm_policy_ops policy_clock = {
	.size = sizeof(struct gmm_policy_ops),
	.name = "clock",
	.make = clock_make,
	.insert = clock_insert,
	.remove = single_remove,
	.pick = clock_pick,
	.resize = single_resize,
	.metadata_bytes = single_metadata_bytes,
	.free = single_free,
};
