/* The built-in policies: what each picks first, and how well the default does. */
#include <errno.h>
#include <guestmm/policy.h>
#include <stddef.h>
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
	ck_assert_str_eq(gmm_policy_find(NULL)->name, "heat");
	ck_assert_ptr_null(gmm_policy_find("lru"));
	for (unsigned i = 0; gmm_policy_at(i); i++)
		ck_assert_ptr_eq(gmm_policy_find(gmm_policy_at(i)->name), gmm_policy_at(i));
	ck_assert_ptr_nonnull(gmm_policy_find("twogen"));
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

START_TEST(heat_spares_what_came_back_soon)
{
	struct gmm_policy *p = make("heat", 1024);

	for (uint64_t i = 0; i < 256; i++)
		gmm_policy_insert_back(p, i, GMM_POLICY_REFAULT, 2);
	for (uint64_t i = 256; i < 512; i++)
		gmm_policy_insert_back(p, i, GMM_POLICY_SWAP_IN, 1000);
	for (uint64_t i = 512; i < 1024;
	     i++) { /* a scan: neither the soon nor the late leave for it */
		p->ops->insert(p, i, GMM_POLICY_FIRST_TOUCH);
		if (i >= 768)
			ck_assert_uint_ge(pick_one(p), 512);
	}
	for (unsigned i = 0; i < 240; i++) /* all but what the window holds */
		ck_assert_uint_ge(pick_one(p), 512);
	for (unsigned i = 0; i < 248; i++)
		ck_assert_uint_ge(pick_one(p), 256);
	p->ops->free(p);
}
END_TEST

START_TEST(heat_forgets_an_estimate_that_proves_wrong)
{
	struct gmm_policy *p = make("heat", 256);
	uint64_t page;

	/* 0 came back soon once, but has taken its time ever since; the others come back at times
	 * in between. */
	gmm_policy_insert_back(p, 0, GMM_POLICY_REFAULT, 1);
	for (unsigned round = 0; round < 12; round++)
		gmm_policy_insert_back(p, 0, GMM_POLICY_SWAP_IN, 100000);
	for (uint64_t i = 1; i < 256; i++)
		gmm_policy_insert_back(p, i, GMM_POLICY_REFAULT, 200);
	while ((page = pick_one(p)) != 0)
		ck_assert_uint_gt(page, 250); /* but for what was in the window */
	p->ops->free(p);
}
END_TEST

/* A policy whose table is from before insert_back() is told what it knows. */
START_TEST(shorter_tables_are_served)
{
	struct gmm_policy_ops old = *gmm_policy_find("heat");
	struct gmm_policy *p = make("heat", 8);

	old.size = offsetof(struct gmm_policy_ops, insert_back);
	old.insert_back = NULL;
	p->ops = &old;
	gmm_policy_insert_back(p, 5, GMM_POLICY_REFAULT, 1);
	ck_assert_uint_eq(pick_one(p), 5);
	p->ops->free(p);
}
END_TEST

/* A machine with n_frames frames under a policy, told what a space would tell it: pages on their
 * way out stay for a while and can be rescued; a page that comes back within as many
 * evictions as there are frames is a refault. Costs: swap-ins. The costs of whole programs are
 * `guestmm replay`'s business. */
enum { PAGES = 8192, FRAMES = 2048, LEAVING = 128 };

struct machine {
	struct gmm_policy *p;
	uint64_t n_resident, random;
	uint64_t evicted_at[PAGES]; /* evictions so far when it left, 0: never left */
	uint8_t state[PAGES];	    /* 0 absent, 1 resident, 2 on its way out */
	uint64_t leaving[LEAVING];  /* ring of pages on their way out */
	uint64_t n_evicted, n_swap_ins, n_rescues;
};

static void machine_evict(struct machine *m)
{
	uint64_t *place = &m->leaving[m->n_evicted++ % LEAVING];

	if (m->state[*place] == 2 && m->evicted_at[*place] + LEAVING == m->n_evicted)
		m->state[*place] = 0;
	if (m->p->ops->pick(m->p, place, 1) != 1 || m->state[*place] != 1)
		ck_abort_msg("not a resident page: %lu", (unsigned long)*place);
	m->state[*place] = 2;
	m->evicted_at[*place] = m->n_evicted;
	m->n_resident--;
}

static void machine_touch(struct machine *m, uint64_t page)
{
	uint64_t away = m->n_evicted - m->evicted_at[page] + 1;

	if (m->state[page] == 1)
		return;
	m->n_resident++;
	if (m->state[page] == 2) {
		m->n_rescues++;
		gmm_policy_insert_back(m->p, page, GMM_POLICY_RESCUE, away);
	} else if (m->evicted_at[page]) {
		m->n_swap_ins++;
		gmm_policy_insert_back(
			m->p, page, away < FRAMES ? GMM_POLICY_REFAULT : GMM_POLICY_SWAP_IN, away);
	} else {
		m->p->ops->insert(m->p, page, GMM_POLICY_FIRST_TOUCH);
	}
	m->state[page] = 1;
	if (m->n_resident > FRAMES)
		machine_evict(m);
}

static uint64_t draw(struct machine *m, uint64_t n)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return (m->random >> 8) % n;
}

/* Zipf-distributed over one half of the pages. */
static void touch_zipf(struct machine *m)
{
	static double cumulated[PAGES / 2];
	unsigned low = 0, high = PAGES / 2 - 1;
	double at;

	for (unsigned i = 0; cumulated[high] == 0 && i <= high; i++)
		cumulated[i] = 1.0 / (i + 1) + (i ? cumulated[i - 1] : 0);
	at = cumulated[high] * (double)draw(m, 1u << 30) / (1u << 30);
	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (cumulated[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	/* neighbours in rank are not neighbours in memory */
	machine_touch(m, low * 2531u % (PAGES / 2));
}

static void run_zipf(struct machine *m)
{
	for (unsigned op = 0; op < 400000; op++)
		touch_zipf(m);
}

/* The same with sequential scans of the other half between. */
static void run_scans(struct machine *m)
{
	for (unsigned op = 0; op < 200000; op++) {
		touch_zipf(m);
		if (op % 4 == 0)
			machine_touch(m, PAGES / 2 + op / 4 % (PAGES / 2));
	}
}

/* A hot set of three fifths of the frames, and each other page once. */
static void run_one_scan(struct machine *m)
{
	uint64_t hot = FRAMES * 3 / 5;

	for (unsigned i = 0; i < 20000; i++)
		machine_touch(m, draw(m, hot));
	m->n_swap_ins = 0;
	for (uint64_t i = hot; i < PAGES; i++) {
		machine_touch(m, i);
		machine_touch(m, draw(m, hot));
		machine_touch(m, draw(m, hot));
	}
}

static void run_loop(struct machine *m)
{
	for (unsigned i = 0; i < 20 * FRAMES; i++)
		machine_touch(m, i % (FRAMES * 5 / 4));
}

/* Four fifths of the frames at random, somewhere else every now and then. */
static void run_moves(struct machine *m)
{
	for (unsigned move = 0; move < 12; move++) {
		uint64_t from = draw(m, PAGES - FRAMES);

		for (unsigned i = 0; i < 8 * FRAMES; i++)
			machine_touch(m, from + draw(m, FRAMES * 4 / 5));
	}
}

static double swap_ins_of(const char *name, void (*run)(struct machine *), const char *what)
{
	struct machine *m = calloc(1, sizeof(*m));
	double n;

	m->p = make(name, PAGES);
	m->random = 88172645463325252;
	run(m);
	printf("%-10s %-7s %6lu swap-ins, %5lu rescues\n", what, name, (unsigned long)m->n_swap_ins,
	       (unsigned long)m->n_rescues);
	n = (double)m->n_swap_ins;
	m->p->ops->free(m->p);
	free(m);
	return n;
}

/* How the default does beside the yardsticks, each better or worse by how much. */
START_TEST(the_default_beside_the_yardsticks)
{
	static const struct {
		const char *name;
		void (*run)(struct machine *);
		double clock, fifo, twogen;
	} all[] = {
		{"zipf", run_zipf, 0.85, 0.80, 0.88},
		{"scans", run_scans, 0.80, 0.75, 0.98},
		{"one scan", run_one_scan, 0.60, 0.50, 1.05},
		{"loop", run_loop, 0.50, 0.50, 0.55},
		{"moves", run_moves, 1.10, 1.20, 0.95},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		double heat = swap_ins_of("heat", all[i].run, all[i].name);
		double clock = swap_ins_of("clock", all[i].run, all[i].name);
		double fifo = swap_ins_of("fifo", all[i].run, all[i].name);
		double twogen = swap_ins_of("twogen", all[i].run, all[i].name);

		printf("  of clock's %.2f, of fifo's %.2f, of twogen's %.2f\n", heat / clock,
		       heat / fifo, heat / twogen);
		ck_assert_double_lt(heat, clock * all[i].clock);
		ck_assert_double_lt(heat, fifo * all[i].fifo);
		ck_assert_double_lt(heat, twogen * all[i].twogen);
	}
}
END_TEST

UNIT_MAIN("policy", policies_are_found_by_name, nothing_is_picked_from_nothing,
	  fifo_picks_the_oldest, clock_gives_a_second_chance, random_picks_everything_in_the_end,
	  twogen_spares_what_proved_hot, heat_spares_what_came_back_soon,
	  heat_forgets_an_estimate_that_proves_wrong, shorter_tables_are_served,
	  the_default_beside_the_yardsticks)
