/* random: any resident page, each as likely as another. A yardstick. The sequence is the
 * same in every run. */
#include "policy/policy.h"
#include "policy/single.h"

static int random_make(uint64_t n_pages, uint64_t n_resident, struct gmm_policy **out)
{
	int error = single_make(&policy_random, n_pages, out);

	(void)n_resident;
	if (!error)
		single_of(*out)->random = UINT64_C(0x9e3779b97f4a7c15);
	return error;
}

/* xorshift64*: Vigna, 2016 */
static uint64_t next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717) >> 1;
}

static unsigned random_pick(struct gmm_policy *p, uint64_t *pages, unsigned n)
{
	struct single *s = single_of(p);
	unsigned n_picked = 0;

	while (n_picked < n &&
	       queue_pop_at(&s->queues, SINGLE_Q, next(&s->random), &pages[n_picked]))
		n_picked++;
	return n_picked;
}

const struct gmm_policy_ops policy_random = {
	.size = sizeof(struct gmm_policy_ops),
	.name = "random",
	.make = random_make,
	.insert = single_insert,
	.remove = single_remove,
	.pick = random_pick,
	.resize = single_resize,
	.metadata_bytes = single_metadata_bytes,
	.free = single_free,
};
