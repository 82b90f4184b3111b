/* The built-in policies: what each picks first, and how well the default does. */
#include <errno.h>
#include <guestmm/policy.h>
#include <string.h>

#include "unit.h"

static struct gmm_policy *make(const char *name, uint64_t n_pages)
{
	const struct gmm_policy_ops *ops = gmm_policy_find(name);
	struct gmm_policy *p = NULL;

	ck_assert_ptr_nonnull(ops);
	ck_assert_int_eq(ops->make(n_pages, n_pages / 4 + 1, &p), 0);
	ck_assert_ptr_eq(p->ops, ops);
	return p;
}

static uint64_t pick_one(struct gmm_policy *p)
{
	uint64_t page = UINT64_MAX;

	ck_assert_uint_eq(p->ops->pick(p, &page, 1), 1);
	return page;
}

START_TEST(policies_are_found_by_name)
{
	ck_assert_str_eq(gmm_policy_find(NULL)->name, "twogen");
	ck_assert_ptr_null(gmm_policy_find("lru"));
	for (unsigned i = 0; gmm_policy_at(i); i++)
		ck_assert_ptr_eq(gmm_policy_find(gmm_policy_at(i)->name), gmm_policy_at(i));
	ck_assert_ptr_nonnull(gmm_policy_find("clock"));
	ck_assert_ptr_nonnull(gmm_policy_find("fifo"));
	ck_assert_ptr_nonnull(gmm_policy_find("random"));
}
END_TEST

START_TEST(nothing_is_picked_from_nothing)
{
	for (unsigned i = 0; gmm_policy_at(i); i++) {
		struct gmm_policy *p = make(gmm_policy_at(i)->name, 8);
		uint64_t pages[4];

		ck_assert_uint_eq(p->ops->pick(p, pages, 4), 0);
		p->ops->insert(p, 3, GMM_POLICY_FIRST_TOUCH);
		p->ops->remove(p, 3);
		p->ops->remove(p, 3);
		ck_assert_uint_eq(p->ops->pick(p, pages, 4), 0);
		p->ops->free(p);
		ck_assert_int_eq(gmm_policy_at(i)->make(0, 0, &p), -EINVAL);
	}
}
END_TEST

START_TEST(fifo_picks_the_oldest)
{
	struct gmm_policy *p = make("fifo", 8);

	for (uint64_t i = 0; i < 4; i++)
		p->ops->insert(p, i, GMM_POLICY_FIRST_TOUCH);
	p->ops->insert(p, 0, GMM_POLICY_RESCUE);
	ck_assert_uint_eq(pick_one(p), 1);
	p->ops->remove(p, 2);
	ck_assert_uint_eq(pick_one(p), 3);
	ck_assert_uint_eq(pick_one(p), 0);
	p->ops->free(p);
}
END_TEST

START_TEST(clock_gives_a_second_chance)
{
	struct gmm_policy *p = make("clock", 8);

	p->ops->insert(p, 0, GMM_POLICY_RESCUE);
	p->ops->insert(p, 1, GMM_POLICY_FIRST_TOUCH);
	p->ops->insert(p, 2, GMM_POLICY_REFAULT);
	ck_assert_uint_eq(pick_one(p), 1);
	ck_assert_uint_eq(pick_one(p), 0);
	ck_assert_uint_eq(pick_one(p), 2);
	p->ops->free(p);
}
END_TEST

START_TEST(random_picks_everything_in_the_end)
{
	struct gmm_policy *p = make("random", 1000);
	bool seen[1000] = {false};
	unsigned n_in_order = 0;
	uint64_t last = 0;

	for (uint64_t i = 0; i < 1000; i++)
		p->ops->insert(p, i, GMM_POLICY_FIRST_TOUCH);
	for (uint64_t i = 0; i < 1000; i++) {
		uint64_t page = pick_one(p);

		ck_assert(!seen[page]);
		seen[page] = true;
		n_in_order += page > last;
		last = page;
	}
	ck_assert_uint_gt(n_in_order, 400);
	ck_assert_uint_lt(n_in_order, 600);
	p->ops->free(p);
}
END_TEST

START_TEST(twogen_spares_what_proved_hot)
{
	struct gmm_policy *p = make("twogen", 64);

	for (uint64_t i = 0; i < 8; i++)
		p->ops->insert(p, i, i < 4 ? GMM_POLICY_RESCUE : GMM_POLICY_FIRST_TOUCH);
	for (uint64_t i = 8; i < 64; i++) { /* a scan */
		ck_assert_uint_ge(pick_one(p), 4);
		p->ops->insert(p, i, GMM_POLICY_SWAP_IN);
	}
	/* Down to the young eighth, then the old in their order. */
	while (pick_one(p) > 3)
		;
	ck_assert_uint_eq(pick_one(p), 1);
	p->ops->free(p);
}
END_TEST

/* A machine with n_resident frames under a policy, told what a space would tell it: pages on their
 * way out stay for a while and can be rescued; a page that comes back within as many
 * evictions as there are frames is a refault. Costs: swap-ins. */
struct machine {
	struct gmm_policy *p;
	uint64_t n_pages, n_resident, n_frames;
	uint64_t *evicted_at; /* by page: evictions so far when it left, 0: never left */
	uint8_t *state;	      /* 0 absent, 1 resident, 2 on its way out */
	uint64_t leaving[32]; /* ring of pages on their way out */
	uint64_t n_evicted, n_swap_ins, n_rescues;
};

static void machine_evict(struct machine *m)
{
	uint64_t *place = &m->leaving[m->n_evicted++ % 32];

	if (m->state[*place] == 2)
		m->state[*place] = 0;
	if (m->p->ops->pick(m->p, place, 1) != 1 || m->state[*place] != 1)
		ck_abort_msg("not a resident page: %lu", (unsigned long)*place);
	m->state[*place] = 2;
	m->evicted_at[*place] = m->n_evicted;
	m->n_resident--;
}

static void machine_touch(struct machine *m, uint64_t page)
{
	enum gmm_policy_why why = GMM_POLICY_FIRST_TOUCH;

	if (m->state[page] == 1)
		return;
	if (m->state[page] == 2) {
		m->n_rescues++;
		why = GMM_POLICY_RESCUE;
	} else if (m->evicted_at[page]) {
		m->n_swap_ins++;
		why = m->n_evicted - m->evicted_at[page] < m->n_frames ? GMM_POLICY_REFAULT
								       : GMM_POLICY_SWAP_IN;
	}
	m->state[page] = 1;
	m->n_resident++;
	m->p->ops->insert(m->p, page, why);
	if (m->n_resident > m->n_frames)
		machine_evict(m);
}

/* Zipf-distributed accesses to one half, sequential scans of the other half between. */
static uint64_t swap_ins_of(const char *name, bool scans)
{
	enum { PAGES = 8192, FRAMES = 2048, OPS = 200000 };
	struct machine m = {.p = make(name, PAGES), .n_pages = PAGES, .n_frames = FRAMES};
	static double cumulated[PAGES / 2];
	double sum = 0;
	uint64_t scan = 0;

	m.evicted_at = calloc(PAGES, sizeof(uint64_t));
	m.state = calloc(PAGES, 1);
	srandom(42);
	for (unsigned i = 0; i < PAGES / 2; i++)
		cumulated[i] = sum += 1.0 / (i + 1);
	for (unsigned op = 0; op < OPS; op++) {
		double at = sum * (double)random() / (double)RAND_MAX;
		unsigned low = 0, high = PAGES / 2 - 1;

		while (low < high) {
			unsigned middle = (low + high) / 2;

			if (cumulated[middle] < at)
				low = middle + 1;
			else
				high = middle;
		}
		/* neighbours in rank are not neighbours in memory */
		machine_touch(&m, low * 2531u % (PAGES / 2));
		if (scans && op % 4 == 0)
			machine_touch(&m, PAGES / 2 + scan++ % (PAGES / 2));
	}
	m.p->ops->free(m.p);
	free(m.evicted_at);
	free(m.state);
	printf("%-8s %s scans: %lu swap-ins, %lu rescues\n", name, scans ? "with" : "no",
	       (unsigned long)m.n_swap_ins, (unsigned long)m.n_rescues);
	return m.n_swap_ins;
}

START_TEST(twogen_beats_fifo_under_scans)
{
	uint64_t twogen = swap_ins_of("twogen", true), fifo = swap_ins_of("fifo", true);

	swap_ins_of("clock", true);
	swap_ins_of("random", true);
	ck_assert_uint_lt(twogen, fifo * 8 / 10);
}
END_TEST

START_TEST(twogen_beats_fifo_without_scans)
{
	uint64_t twogen = swap_ins_of("twogen", false), fifo = swap_ins_of("fifo", false);

	swap_ins_of("clock", false);
	swap_ins_of("random", false);
	ck_assert_uint_lt(twogen, fifo * 95 / 100);
}
END_TEST

UNIT_MAIN("policy", policies_are_found_by_name, nothing_is_picked_from_nothing,
	  fifo_picks_the_oldest, clock_gives_a_second_chance, random_picks_everything_in_the_end,
	  twogen_spares_what_proved_hot, twogen_beats_fifo_under_scans,
	  twogen_beats_fifo_without_scans)
