/* gmm_frames against a byte for each frame: random operations by several callers, right and wrong
 * ones, with every answer and, now and then, every frame compared. */
#include <guestmm/frames.h>
#include <string.h>

#include "unit.h"

/* ck_assert leaves a mark each time it passes: too slow for inner loops. */
#define MUST(e)                                                                                    \
	do {                                                                                       \
		if (!(e))                                                                          \
			ck_abort_msg("step %u: failed: %s", m->step, #e);                          \
	} while (0)

struct model {
	struct gmm_frames *f;
	uint64_t n, n_free;
	uint8_t *used;
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
	unsigned n = batch(m);
	int err = gmm_frames_get(m->f, caller(m), n, frames);

	MUST(err == (n <= m->n_free ? 0 : -GMM_FRAMES_ENOMEM));
	for (unsigned i = 0; i < n && !err; i++) {
		MUST(frames[i] < m->n && !m->used[frames[i]]);
		MUST(i == 0 || frames[i] > frames[i - 1]);
		m->used[frames[i]] = 1;
		m->n_free--;
	}
}

/* Frames from a random place on: used ones in order or scattered, seldom a wrong one among them. */
static void step_put(struct model *m)
{
	uint64_t frames[512], at = rng(m) % m->n, stride = rng(m) % 2 ? 1 : 1 + rng(m) % 700;
	unsigned want = batch(m), n = 0, bad = 0;
	int err;

	for (uint64_t i = 0; i < m->n && n < want; i++, at = (at + stride) % m->n)
		if (m->used[at] == 1) {
			m->used[at] = 2; /* in the list */
			frames[n++] = at;
		}
	for (unsigned i = 0; i < n; i++)
		m->used[frames[i]] = 1;
	if (n == 0)
		return;
	if (rng(m) % 8 == 0) {
		unsigned i = (unsigned)rng(m) % n;

		at = rng(m) % (m->n + 2);
		bad = at >= m->n ? GMM_FRAMES_ERANGE : !m->used[at] ? GMM_FRAMES_EALREADY : 0;
		if (bad)
			frames[i] = at;
	}
	err = gmm_frames_put(m->f, caller(m), n, frames);
	MUST(err == -(int)bad);
	for (unsigned i = 0; i < n && !bad; i++)
		m->used[frames[i]] = 0;
	m->n_free += bad ? 0 : n;
}

static void step_huge(struct model *m)
{
	bool get = rng(m) % 2;
	uint64_t first = rng(m) % (m->n + 512) & ~UINT64_C(511), n_used = 0;
	int err, want;

	if (get) {
		want = free_areas(m) ? 0 : -GMM_FRAMES_ENOMEM;
		err = gmm_frames_get_huge(m->f, caller(m), &first);
		MUST(err == want);
	} else {
		for (uint64_t i = first; i < first + 512 && i < m->n; i++)
			n_used += m->used[i];
		want = first + 512 > m->n ? -GMM_FRAMES_ERANGE
		       : n_used < 512	  ? -GMM_FRAMES_EALREADY
					  : 0;
		err = gmm_frames_put_huge(m->f, caller(m), first);
		MUST(err == want);
	}
	for (uint64_t i = first; i < first + 512 && !err; i++) {
		MUST(i < m->n && m->used[i] == !get);
		m->used[i] = get;
	}
	if (!err)
		m->n_free = get ? m->n_free - 512 : m->n_free + 512;
}

static void step_claim(struct model *m)
{
	uint64_t first = rng(m) % (m->n + 1), n = rng(m) % 2 ? 1 + rng(m) % 40 : rng(m) % 1500;
	int want = 0;

	if (first >= m->n || n > m->n - first || n == 0)
		want = -GMM_FRAMES_ERANGE;
	for (uint64_t i = first; i < first + n && !want; i++)
		want = m->used[i] ? -GMM_FRAMES_EBUSY : 0;
	MUST(gmm_frames_claim(m->f, first, n) == want);
	for (uint64_t i = first; i < first + n && !want; i++)
		m->used[i] = 1;
	m->n_free -= want ? 0 : n;
}

static void check_all(struct model *m)
{
	for (uint64_t i = 0; i < m->n; i++)
		MUST(gmm_frames_is_free(m->f, i) == !m->used[i]);
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
		else if (rng(m) % 8 < mood)
			step_get(m);
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

START_TEST(more_areas_than_a_search_looks_at)
{
	run(300 * 512 + 17, 15000, 8);
}
END_TEST

UNIT_MAIN("frames against a byte map", one_area, a_few_areas, more_areas_than_a_search_looks_at)
