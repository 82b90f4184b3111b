/* Policies against an oracle: what is picked was inserted, nothing is lost, nothing comes twice. */
#include <guestmm/policy.h>
#include <string.h>

#include "unit.h"

#define N_PAGES 5000u
#define N_STEPS 300000u

struct model {
	struct gmm_policy *p;
	uint64_t random;
	bool in[N_PAGES];
	unsigned n_in;
};

static uint64_t draw(struct model *m, uint64_t n)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return (m->random >> 8) % n;
}

static void insert(struct model *m)
{
	/* half of them from a few pages, so that these are moved about a lot */
	uint64_t page = draw(m, 2) ? draw(m, 50) : draw(m, N_PAGES);

	m->n_in += !m->in[page];
	m->in[page] = true;
	if (draw(m, 2))
		m->p->ops->insert(m->p, page, (enum gmm_policy_why)draw(m, 6));
	else
		gmm_policy_insert_back(m->p, page, GMM_POLICY_SWAP_IN, draw(m, 1u << draw(m, 25)));
}

static void drop(struct model *m)
{
	uint64_t page = draw(m, N_PAGES);

	m->n_in -= m->in[page];
	m->in[page] = false;
	m->p->ops->remove(m->p, page);
}

static void drop_run(struct model *m)
{
	uint64_t first = draw(m, N_PAGES),
		 n = draw(m, N_PAGES - first < 100 ? N_PAGES - first : 100);

	for (uint64_t page = first; page < first + n; page++) {
		m->n_in -= m->in[page];
		m->in[page] = false;
	}
	gmm_policy_remove_run(m->p, first, n);
}

static void pick(struct model *m, unsigned max)
{
	uint64_t pages[64];
	unsigned n = m->p->ops->pick(m->p, pages, max);

	if (n > max || n > m->n_in || (n < max && n != m->n_in))
		ck_abort_msg("%u of %u picked, %u were in", n, max, m->n_in);
	for (unsigned i = 0; i < n; i++) {
		if (pages[i] >= N_PAGES || !m->in[pages[i]])
			ck_abort_msg("page %lu is not in", (unsigned long)pages[i]);
		m->in[pages[i]] = false;
	}
	m->n_in -= n;
}

static void run(const struct gmm_policy_ops *ops)
{
	struct model *m = calloc(1, sizeof(*m));

	m->random = 88172645463325252;
	ck_assert_int_eq(ops->make(N_PAGES, N_PAGES / 4, &m->p), 0);
	for (unsigned i = 0; i < N_STEPS; i++) {
		/* tides: more in than out, then more out than in */
		unsigned in = i / 20000 % 2 ? 12 : 6;
		uint64_t what = draw(m, 20);

		if (what < in)
			insert(m);
		else if (what < 17)
			drop(m);
		else if (what < 19)
			pick(m, (unsigned)draw(m, i / 20000 % 2 ? 3 : 64));
		else if (draw(m, 20) == 0)
			drop_run(m);
		else if (draw(m, 100) == 0)
			ops->resize(m->p, draw(m, N_PAGES));
	}
	while (m->n_in)
		pick(m, 64);
	pick(m, 1);
	ck_assert_uint_lt(ops->metadata_bytes(m->p), 16 * N_PAGES);
	ops->free(m->p);
	free(m);
}

START_TEST(all_policies)
{
	for (unsigned i = 0; gmm_policy_at(i); i++)
		run(gmm_policy_at(i));
}
END_TEST

UNIT_MAIN("policy model", all_policies)
