/* twogen: two generations, young and old, each first in, first out.
 *
 * A yardstick. A page starts young, and is old once it has proved to be worth keeping: it was
 * touched while it was on its way out (a rescue), or came back soon after (a refault). Victims
 * are young pages as long as these are more than an eighth of all, then old ones: one
 * sequential scan runs through the young eighth and leaves the old pages where they are. An
 * old page that comes up is a victim like any other, and back among the old by one rescue.
 */
#include <errno.h>
#include <stdlib.h>

#include "policy/policy.h"
#include "queue.h"

enum { YOUNG = 1, OLD = 2 };

/* The part of all pages that is left to the young before old ones are victims. On the traces of
 * tests/unit/policy.c an eighth costs 4 to 5 % fewer swap-ins than a quarter, and that 10 % fewer
 * than a half. */
#define YOUNG_SHARE 8u

struct twogen {
	struct gmm_policy base;
	struct queue_set queues;
};

static struct twogen *twogen_of(struct gmm_policy *p)
{
	return (struct twogen *)p;
}

static int twogen_make(uint64_t n_pages, uint64_t n_resident, struct gmm_policy **out)
{
	struct twogen *t = calloc(1, sizeof(*t));
	int error;

	(void)n_resident;
	if (!t)
		return -ENOMEM;
	t->base.ops = &policy_twogen;
	error = queue_init(&t->queues, n_pages);
	if (error) {
		free(t);
		return error;
	}
	*out = &t->base;
	return 0;
}

static void twogen_insert(struct gmm_policy *p, uint64_t page, enum gmm_policy_why why)
{
	struct twogen *t = twogen_of(p);

	switch (why) {
	case GMM_POLICY_RESCUE:
	case GMM_POLICY_REFAULT:
		queue_push(&t->queues, OLD, page);
		break;
	case GMM_POLICY_FIRST_TOUCH:
	case GMM_POLICY_SWAP_IN:
	case GMM_POLICY_PREFETCH:
	case GMM_POLICY_PUT_BACK:
		queue_push(&t->queues, YOUNG, page);
		break;
	}
}

static void twogen_remove(struct gmm_policy *p, uint64_t page)
{
	queue_drop(&twogen_of(p)->queues, page);
}

static void twogen_remove_run(struct gmm_policy *p, uint64_t first, uint64_t n)
{
	queue_drop_run(&twogen_of(p)->queues, first, n);
}

static unsigned twogen_pick(struct gmm_policy *p, uint64_t *pages, unsigned n)
{
	struct queue_set *queues = &twogen_of(p)->queues;
	unsigned n_picked = 0;

	while (n_picked < n) {
		uint64_t n_young = queue_pages(queues, YOUNG);
		uint64_t n_old = queue_pages(queues, OLD);
		unsigned q = n_young > (n_young + n_old) / YOUNG_SHARE || !n_old ? YOUNG : OLD;

		if (!queue_pop(queues, q, &pages[n_picked]))
			break;
		n_picked++;
	}
	return n_picked;
}

static void twogen_resize(struct gmm_policy *p, uint64_t n_resident)
{
	(void)n_resident;
	queue_trim(&twogen_of(p)->queues);
}

static uint64_t twogen_metadata_bytes(const struct gmm_policy *p)
{
	const struct twogen *t = (const struct twogen *)p;

	return sizeof(*t) + queue_metadata_bytes(&t->queues);
}

static void twogen_free(struct gmm_policy *p)
{
	queue_fini(&twogen_of(p)->queues);
	free(p);
}

const struct gmm_policy_ops policy_twogen = {
	.size = sizeof(struct gmm_policy_ops),
	.name = "twogen",
	.make = twogen_make,
	.insert = twogen_insert,
	.remove = twogen_remove,
	.remove_run = twogen_remove_run,
	.pick = twogen_pick,
	.resize = twogen_resize,
	.metadata_bytes = twogen_metadata_bytes,
	.free = twogen_free,
};
