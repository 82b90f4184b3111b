/* gmm_frames against a byte for each frame: random operations by several callers and for all
 * classes, right and wrong ones, with every answer and, now and then, every frame compared. */
#include <guestmm/frames.h>
#include <string.h>

#include "unit.h"

/* ck_assert leaves a mark each time it passes: too slow for inner loops. */
#define MUST(e)                                                                                    \
	do {                                                                                       \
		if (!(e))                                                                          \
			ck_abort_msg("step %u: failed: %s", m->step, #e);                          \
	} while (0)

#define LISTED 128u /* in `used`: it stands in the list already */

struct model {
	struct gmm_frames *f;
	uint64_t n, n_free, n_held[GMM_FRAMES_HOLDERS];
	uint8_t *used; /* 0: free, else the holder plus one */
	unsigned step;
	uint64_t seed;
};

static uint64_t rng(struct model *m)
{
	m->seed ^= m->seed << 13;
	m->seed ^= m->seed >> 7;
	m->seed ^= m->seed << 17;
	return m->seed * UINT64_C(2685821657736338717);
}

static unsigned caller(struct model *m)
{
	static const unsigned callers[] = {0, 0, 0, 1, 2, 63, 64, GMM_FRAMES_ANYONE};

	return callers[rng(m) % 8];
}

static unsigned holder(struct model *m)
{
	return rng(m) % 2 ? GMM_FRAMES_GUEST : (unsigned)(rng(m) % GMM_FRAMES_HOLDERS);
}

static void mark(struct model *m, uint64_t frame, unsigned used)
{
	if (m->used[frame])
		m->n_held[m->used[frame] - 1]--;
	else
		m->n_free--;
	m->used[frame] = (uint8_t)used;
	if (used)
		m->n_held[used - 1]++;
	else
		m->n_free++;
}

static unsigned batch(struct model *m)
{
	static const unsigned sizes[] = {1, 1, 1, 2, 7, 64, 200, 512};

	return sizes[rng(m) % 8];
}

static uint64_t free_areas(const struct model *m)
{
	uint64_t n = 0;

	for (uint64_t a = 0; a < m->n / 512; a++) {
		bool all = true;

		for (uint64_t i = 0; i < 512 && all; i++)
			all = !m->used[a * 512 + i];
		n += all;
	}
	return n;
}

static void step_get(struct model *m)
{
	uint64_t frames[512];
	unsigned n = batch(m), as = holder(m);
	int err = gmm_frames_get_as(m->f, caller(m), as, n, frames);

	MUST(err == (n <= m->n_free ? 0 : -GMM_FRAMES_ENOMEM));
	for (unsigned i = 0; i < n && !err; i++) {
		MUST(frames[i] < m->n && !m->used[frames[i]]);
		MUST(i == 0 || frames[i] > frames[i - 1]);
		mark(m, frames[i], as + 1);
	}
}

/* Frames of one holder from a random place on: in order or scattered. How many there are. */
static unsigned gather(struct model *m, unsigned as, uint64_t *frames)
{
	uint64_t at = rng(m) % m->n, stride = rng(m) % 2 ? 1 : 1 + rng(m) % 700;
	unsigned want = batch(m), n = 0;

	for (uint64_t i = 0; i < m->n && n < want; i++, at = (at + stride) % m->n)
		if (m->used[at] == as + 1) {
			m->used[at] |= LISTED;
			frames[n++] = at;
		}
	for (unsigned i = 0; i < n; i++)
		m->used[frames[i]] &= LISTED - 1;
	return n;
}

/* Seldom puts a wrong frame into the list; the error that has to follow. */
static int spoil(struct model *m, unsigned as, unsigned n, uint64_t *frames)
{
	uint64_t at = rng(m) % (m->n + 2);
	int err = 0;

	if (rng(m) % 8)
		return 0;
	if (at >= m->n)
		err = -GMM_FRAMES_ERANGE;
	else if (m->used[at] != as + 1)
		err = m->used[at] ? -GMM_FRAMES_EPERM : -GMM_FRAMES_EALREADY;
	if (err)
		frames[rng(m) % n] = at;
	return err;
}

static void step_put(struct model *m)
{
	uint64_t frames[512];
	unsigned as = holder(m), n = gather(m, as, frames);
	int want;

	if (n == 0)
		return;
	want = spoil(m, as, n, frames);
	MUST(gmm_frames_put_as(m->f, caller(m), as, n, frames) == want);
	for (unsigned i = 0; i < n && !want; i++)
		mark(m, frames[i], 0);
}

static void step_pass(struct model *m)
{
	uint64_t frames[512];
	unsigned from = holder(m), to = holder(m), n = gather(m, from, frames);
	int want;

	if (n == 0)
		return;
	want = spoil(m, from, n, frames);
	MUST(gmm_frames_pass(m->f, caller(m), from, to, n, frames) == want);
	for (unsigned i = 0; i < n && !want; i++)
		mark(m, frames[i], to + 1);
}

/* A batch that comes back as it was got, some times: it is tied, and stays out or comes back. */
static void step_repeat(struct model *m)
{
	uint64_t frames[512];
	unsigned by = (unsigned)rng(m) % 3, n = batch(m), rounds = 1 + (unsigned)rng(m) % 8;
	int err, want = n <= m->n_free ? 0 : -GMM_FRAMES_ENOMEM;

	for (unsigned round = 0; round < rounds; round++) {
		if (round % 2 == 0) {
			err = gmm_frames_get(m->f, by, n, frames);
			MUST(err == want);
		} else {
			err = gmm_frames_put(m->f, by, n, frames);
			MUST(err == 0);
		}
		if (err)
			return;
		for (unsigned i = 0; i < n; i++) {
			MUST(frames[i] < m->n && m->used[frames[i]] == round % 2);
			MUST(i == 0 || frames[i] > frames[i - 1]);
			mark(m, frames[i], round % 2 == 0);
		}
		if (round % 2 && rng(m) % 4 == 0)
			MUST(gmm_frames_put(m->f, by, n, frames) == -GMM_FRAMES_EALREADY);
		if (round % 2 == 0 && rng(m) % 16 == 0) { /* one of them goes before */
			uint64_t x = frames[rng(m) % n];

			MUST(gmm_frames_put(m->f, by, 1, &x) == 0);
			MUST(gmm_frames_put(m->f, by, n, frames) == -GMM_FRAMES_EALREADY);
			mark(m, x, 0);
			return;
		}
	}
}

static int want_put_huge(struct model *m, unsigned as, uint64_t first)
{
	unsigned n_used = 0, n_mine = 0;

	if (first + 512 > m->n)
		return -GMM_FRAMES_ERANGE;
	for (uint64_t i = first; i < first + 512; i++) {
		n_used += m->used[i] != 0;
		n_mine += m->used[i] == as + 1;
	}
	return n_used < 512 ? -GMM_FRAMES_EALREADY : n_mine < 512 ? -GMM_FRAMES_EPERM : 0;
}

static void step_huge(struct model *m)
{
	bool get = rng(m) % 2;
	uint64_t first = rng(m) % (m->n + 512) & ~UINT64_C(511);
	unsigned as = holder(m);
	int err;

	if (get) {
		err = gmm_frames_get_huge_as(m->f, caller(m), as, &first);
		MUST(err == (free_areas(m) ? 0 : -GMM_FRAMES_ENOMEM));
	} else {
		err = gmm_frames_put_huge_as(m->f, caller(m), as, first);
		MUST(err == want_put_huge(m, as, first));
	}
	for (uint64_t i = first; i < first + 512 && !err; i++) {
		MUST(i < m->n && m->used[i] == (get ? 0 : as + 1));
		mark(m, i, get ? as + 1 : 0);
	}
}

static bool has_order(const struct model *m, unsigned order)
{
	uint64_t n = UINT64_C(1) << order, k;

	for (uint64_t x = 0; x + n <= m->n; x += n) {
		for (k = 0; k < n && !m->used[x + k]; k++)
			;
		if (k == n)
			return true;
	}
	return false;
}

static void step_order(struct model *m)
{
	unsigned order = (unsigned)rng(m) % 10, as = holder(m);
	uint64_t first;
	int err = gmm_frames_get_order_as(m->f, caller(m), as, order, &first);

	MUST(err == (has_order(m, order) ? 0 : -GMM_FRAMES_ENOMEM));
	for (uint64_t i = first; !err && i < first + (1u << order); i++) {
		MUST(i < m->n && !m->used[i] && first % (1u << order) == 0);
		mark(m, i, as + 1);
	}
}

static void step_put_run(struct model *m)
{
	uint64_t first = rng(m) % m->n, n = 1 + rng(m) % (rng(m) % 2 ? 30 : 700), n_free = 0,
		 n_mine = 0;
	unsigned as = m->used[first] ? m->used[first] - 1u : holder(m);
	int want = 0;

	if (rng(m) % 4) /* what is likely to be right */
		for (n = 1; first + n < m->n && m->used[first + n] == as + 1 && n < 700; n++)
			;
	for (uint64_t i = first; i < first + n && i < m->n; i++) {
		n_free += !m->used[i];
		n_mine += m->used[i] == as + 1;
	}
	if (n > m->n - first)
		want = -GMM_FRAMES_ERANGE;
	else if (n_free)
		want = -GMM_FRAMES_EALREADY;
	else if (n_mine < n)
		want = -GMM_FRAMES_EPERM;
	MUST(gmm_frames_put_run_as(m->f, caller(m), as, first, n) == want);
	for (uint64_t i = first; i < first + n && !want; i++)
		mark(m, i, 0);
}

static void step_claim(struct model *m)
{
	uint64_t first = rng(m) % (m->n + 1), n = rng(m) % 2 ? 1 + rng(m) % 40 : rng(m) % 1500;
	unsigned as = holder(m);
	int want = 0;

	if (first >= m->n || n > m->n - first || n == 0)
		want = -GMM_FRAMES_ERANGE;
	for (uint64_t i = first; i < first + n && !want; i++)
		want = m->used[i] ? -GMM_FRAMES_EBUSY : 0;
	MUST(gmm_frames_claim_as(m->f, as, first, n) == want);
	for (uint64_t i = first; i < first + n && !want; i++)
		mark(m, i, as + 1);
}

static void check_all(struct model *m)
{
	for (uint64_t i = 0; i < m->n; i++) {
		MUST(gmm_frames_is_free(m->f, i) == !m->used[i]);
		MUST(gmm_frames_class(m->f, i) ==
		     (m->used[i] ? m->used[i] - 1 : -GMM_FRAMES_ENOENT));
	}
	for (unsigned as = 0; as < GMM_FRAMES_HOLDERS; as++)
		MUST(gmm_frames_n_held(m->f, as) == m->n_held[as]);
	MUST(gmm_frames_n_free(m->f) == m->n_free);
	MUST(gmm_frames_n_free_huge(m->f) == free_areas(m));
}

static void run(uint64_t n_frames, unsigned n_steps, uint64_t seed)
{
	size_t bytes = gmm_frames_bytes(n_frames);
	struct model model = {.n = n_frames, .n_free = n_frames, .seed = seed}, *m = &model;
	unsigned mood = 0; /* of 8: how many steps take */

	m->f = aligned_alloc(128, (bytes + 127) & ~(size_t)127);
	m->used = calloc(n_frames, 1);
	memset(m->f, 0x5a, bytes);
	MUST(gmm_frames_init(m->f, bytes, n_frames) == 0);
	for (m->step = 0; m->step < n_steps; m->step++) {
		if (m->step % 500 == 0)
			mood = 2 + (unsigned)rng(m) % 5;
		if (rng(m) % 64 == 0)
			step_claim(m);
		else if (rng(m) % 32 == 0)
			step_huge(m);
		else if (rng(m) % 16 == 0)
			step_order(m);
		else if (rng(m) % 16 == 0)
			step_put_run(m);
		else if (rng(m) % 8 < mood)
			step_get(m);
		else if (rng(m) % 16 == 0)
			step_pass(m);
		else if (rng(m) % 16 == 0)
			step_repeat(m);
		else
			step_put(m);
		MUST(gmm_frames_n_free(m->f) == m->n_free);
		if (m->step % 256 == 0)
			check_all(m);
	}
	check_all(m);
	free(m->used);
	free(m->f);
}

START_TEST(one_area)
{
	for (uint64_t n = 1; n <= 512; n += 73)
		run(n, 20000, n);
	run(512, 20000, 99);
}
END_TEST

START_TEST(a_few_areas)
{
	run(1000, 100000, 5);
	run(4096, 100000, 6);
	run(5000, 100000, 7);
}
END_TEST

/* Enough for bundles. */
START_TEST(some_areas)
{
	run(40 * 512 + 9, 60000, 9);
}
END_TEST

START_TEST(more_areas_than_a_search_looks_at)
{
	run(300 * 512 + 17, 15000, 8);
}
END_TEST

UNIT_MAIN("frames against a byte map", one_area, a_few_areas, some_areas,
	  more_areas_than_a_search_looks_at)
