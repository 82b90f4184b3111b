/* fifo: the page that is resident longest goes first. A yardstick. */
#include "policy/policy.h"
#include "policy/single.h"

static int fifo_make(uint64_t n_pages, uint64_t n_resident, struct gmm_policy **out)
{
	(void)n_resident;
	return single_make(&policy_fifo, n_pages, out);
}

static unsigned fifo_pick(struct gmm_policy *p, uint64_t *pages, unsigned n)
{
	unsigned n_picked = 0;

	while (n_picked < n && queue_pop(&single_of(p)->queues, SINGLE_Q, &pages[n_picked]))
		n_picked++;
	return n_picked;
}

const struct gmm_policy_ops policy_fifo = {
	.size = sizeof(struct gmm_policy_ops),
	.name = "fifo",
	.make = fifo_make,
	.insert = single_insert,
	.remove = single_remove,
	.pick = fifo_pick,
	.resize = single_resize,
	.metadata_bytes = single_metadata_bytes,
	.free = single_free,
};
