/* A space against a naive oracle: random touches, writes, evictions, discards, balloon, holds,
 * limit changes and store errors; the oracle is one version number a page. Both engines, and two
 * ways to touch: through the mapping itself, as KVM does, served by a worker (each fault costs two
 * context switches); and through holds in a single thread, which is fast enough for millions.
 *
 * GUESTMM_MODEL_OPS scales the number of operations (percent), GUESTMM_MODEL_SEED sets the seed.
 */
#include <check.h>
#include <errno.h>
#include <guestmm/guestmm.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "space.h"
#include "unit.h"

#define MIB	(UINT64_C(1) << 20)
#define N_PAGES 4096u /* 16 MiB of guest memory */
#define LIMIT	(4 * MIB)

/* With huge frames: limits from 5 to 16 MiB. */
#define HUGE_LIMIT (12 * MIB)

struct model {
	struct gmm_pool *pool;
	struct gmm_space *space;
	struct gmm_worker *worker;
	struct gmm_balloon *balloon;
	uint64_t *mem;		   /* as the guest sees it */
	uint32_t version[N_PAGES]; /* 0: reads as zero */
	bool held[N_PAGES];
	uint64_t limit, seed;
	bool alone;   /* no worker: touch through holds */
	bool watched; /* what is touched is watched, as eagerly as can be */
	bool huge;    /* limits that leave room for huge frames, and discards of whole blocks */
	uint32_t fail_one_in; /* store writes that fail */
	_Atomic uint64_t n_failed;
	uint32_t n_full;
};

static uint64_t model_rand(struct model *m)
{
	m->seed ^= m->seed << 13;
	m->seed ^= m->seed >> 7;
	m->seed ^= m->seed << 17;
	return m->seed;
}

/* Word i of page p at version v. Version 0 is all zero; one in four others is mostly zero. */
static uint64_t model_word(uint32_t p, uint32_t v, unsigned i)
{
	uint64_t x = ((uint64_t)p << 32 | v) * 0x9e3779b97f4a7c15u + i * 0xbf58476d1ce4e5b9u;

	if (v == 0)
		return 0;
	return x ^ x >> 29;
}

static const unsigned model_spots[] = {0, 1, 100, 255, 256, 511};

/* The guest's page, present for sure where this thread is alone. */
static volatile uint64_t *model_touch(struct model *m, uint32_t p)
{
	void *hva = m->mem + (size_t)p * 512;

	if (m->alone)
		ck_assert_int_eq(
			gmm_space_hold(m->space, (gmm_gpa){(uint64_t)p << 12}, 4096, true, &hva),
			0);
	return hva;
}

static void model_untouch(struct model *m, uint32_t p)
{
	if (m->alone)
		gmm_space_release(m->space, (gmm_gpa){(uint64_t)p << 12}, 4096);
}

static void model_verify(struct model *m, uint32_t p)
{
	volatile uint64_t *page = model_touch(m, p);

	for (size_t i = 0; i < sizeof(model_spots) / sizeof(model_spots[0]); i++) {
		unsigned at = model_spots[i];
		uint64_t got = page[at];

		ck_assert_msg(got == model_word(p, m->version[p], at),
			      "page %u word %u: %#lx, but version %u was last written", p, at,
			      (unsigned long)got, m->version[p]);
	}
	model_untouch(m, p);
}

static void model_write(struct model *m, uint32_t p)
{
	volatile uint64_t *page = model_touch(m, p);

	m->version[p] = model_rand(m) % 8 ? (uint32_t)model_rand(m) | 1 : 0;
	for (unsigned i = 0; i < 512; i++)
		page[i] = model_word(p, m->version[p], i);
	model_untouch(m, p);
}

static void model_discard(struct model *m, uint32_t p)
{
	uint32_t n =
		1 + (uint32_t)(model_rand(m) % (m->huge && model_rand(m) % 16 == 0 ? 2048 : 16));

	n = n < N_PAGES - p ? n : N_PAGES - p;
	ck_assert_int_eq(gmm_space_discard(m->space, (gmm_gfn){p}, n), 0);
	for (uint32_t i = p; i < p + n; i++)
		if (!m->held[i])
			m->version[i] = 0;
}

static void model_balloon(struct model *m, uint32_t p)
{
	gmm_gfn gfns[32];
	uint8_t state;
	unsigned n = 0;

	/* Some that are no pages at all, and some twice. */
	for (; n < 32; n++)
		gfns[n].v = model_rand(m) % 16 ? (p + n / 2) % N_PAGES : model_rand(m);
	gmm_balloon_give(m->balloon, gfns, n);
	for (unsigned i = 0; i < n; i++) {
		if (gfns[i].v >= N_PAGES)
			continue;
		ck_assert_int_eq(gmm_space_states(m->space, gfns[i], 1, &state), 0);
		if (!m->held[gfns[i].v])
			m->version[gfns[i].v] = 0;
	}
	if (model_rand(m) % 2)
		gmm_balloon_take(m->balloon, gfns, n / 2);
}

static void model_device(struct model *m, uint32_t p)
{
	uint64_t page[512];

	ck_assert_int_eq(gmm_space_read(m->space, (gmm_gpa){(uint64_t)p << 12}, page, 4096), 0);
	ck_assert(page[7] == model_word(p, m->version[p], 7));
	m->version[p] = (uint32_t)model_rand(m) | 1;
	for (unsigned i = 0; i < 512; i++)
		page[i] = model_word(p, m->version[p], i);
	ck_assert_int_eq(gmm_space_write(m->space, (gmm_gpa){(uint64_t)p << 12}, page, 4096), 0);
}

static void model_hold(struct model *m, uint32_t p)
{
	void *hva;

	if (m->held[p]) {
		gmm_space_release(m->space, (gmm_gpa){(uint64_t)p << 12}, 4096);
		m->held[p] = false;
	} else if (gmm_space_hold(m->space, (gmm_gpa){(uint64_t)p << 12}, 4096, true, &hva) == 0) {
		ck_assert_ptr_eq(hva, m->mem + (size_t)p * 512);
		m->held[p] = true;
	}
}

static void model_limit(struct model *m)
{
	struct gmm_pool_stats stats = {.size = sizeof(stats)};
	struct timespec ms = {0, 1000000};
	struct pollfd pfd = {.fd = gmm_space_fd(m->space), .events = POLLIN};

	m->limit = (m->huge ? 5 : 2) * MIB +
		   (model_rand(m) % ((m->huge ? 11 : 6) * MIB) & ~UINT64_C(4095));
	ck_assert_int_eq(gmm_pool_set_limit(m->pool, m->limit), 0);
	/* Reached without anybody stopping, unless held pages are in the way: they are not. */
	for (int i = 0; i < 20000; i++) {
		gmm_pool_stats(m->pool, &stats);
		if (stats.used_bytes <= m->limit)
			return;
		if (!m->alone)
			nanosleep(&ms, NULL);
		else if (gmm_space_dispatch(m->space) == 0)
			poll(&pfd, 1, 1);
	}
	ck_abort_msg("limit of %lu KiB not met: %lu KiB in use", (unsigned long)m->limit >> 10,
		     (unsigned long)stats.used_bytes >> 10);
}

static void model_step(struct model *m)
{
	static uint32_t walk;
	uint64_t what = model_rand(m) % 1000;
	uint32_t p = (uint32_t)(model_rand(m) % N_PAGES);

	if (model_rand(m) % 2) /* half of it in a hot eighth, some of it in order */
		p %= N_PAGES / 8;
	else if (model_rand(m) % 2)
		p = walk++ % N_PAGES;
	if (what < 500)
		model_verify(m, p);
	else if (what < 900)
		model_write(m, p);
	else if (what < 930)
		model_discard(m, p);
	else if (what < 950)
		model_balloon(m, p);
	else if (what < 980)
		model_device(m, p);
	else if (what < 995)
		model_hold(m, p % 64);
	else if (what < 997)
		gmm_space_reclaim(m->space, model_rand(m) % 512);
	else if (what == 999)
		model_limit(m);
}

/* Touches a page that is about to be written: left to chance that may not happen in a short run. */
static void model_rescue(struct model *m)
{
	uint8_t state[N_PAGES];

	for (int i = 0; i < 4 * (int)N_PAGES; i++) {
		model_write(m, (uint32_t)(model_rand(m) % N_PAGES));
		ck_assert_int_eq(gmm_space_states(m->space, (gmm_gfn){0}, N_PAGES, state), 0);
		for (uint32_t p = 0; p < N_PAGES; p++) {
			if (state[p] != GMM_PAGE_EVICTING)
				continue;
			model_verify(m, p);
			return;
		}
	}
	ck_abort_msg("nothing was seen on its way out");
}

static int model_fail(void *user, enum gmm_store_verb verb, uint64_t n_seen)
{
	struct model *m = user;

	if (verb != GMM_STORE_WRITE || !m->fail_one_in || n_seen % m->fail_one_in)
		return 0;
	m->n_failed++;
	return n_seen / m->fail_one_in % 2 ? -EIO : -ENOSPC;
}

static void model_event(void *user, const struct gmm_event *event)
{
	struct model *m = user;

	ck_assert_int_ne(event->kind, GMM_EVENT_POISONED);
	if (event->kind == GMM_EVENT_STORE_FULL)
		m->n_full++;
}

static struct gmm_store *model_store(struct model *m)
{
	struct gmm_store_file_config file = {.size = sizeof(file), .capacity_bytes = 32 * MIB};
	struct gmm_store *store, *faulty;

	file.no_uring = m->alone; /* the page cache, read and written on the spot, is fast */
	file.no_direct = m->alone;
	ck_assert_int_eq(gmm_store_file_new(&file, &store), 0);
	if (!m->fail_one_in)
		return store;
	ck_assert_int_eq(gmm_store_faulty_new(store, model_fail, m, &faulty), 0);
	return faulty;
}

static void model_start(struct model *m, enum gmm_engine engine)
{
	struct gmm_pool_config pool = {.size = sizeof(pool), .limit_bytes = LIMIT};
	struct gmm_space_config space = {.size = sizeof(space), .engine = engine, .n_vcpus = 1};
	struct gmm_worker_config worker = {.size = sizeof(worker), .cpu = -1};
	struct gmm_balloon_config balloon = {.size = sizeof(balloon)};
	int ret;

	if (m->huge) {
		pool.limit_bytes = HUGE_LIMIT;
		space.huge = GMM_HUGE_ALWAYS;
	}
	ck_assert_int_eq(gmm_pool_new(&pool, &m->pool), 0);
	if (m->watched)
		space.working_set = GMM_WORKING_SET_ON;
	space.pool = m->pool;
	space.store = model_store(m);
	space.on_event = model_event;
	space.user = m;
	ret = gmm_space_new(&space, &m->space);
	if (ret == -EPERM || ret == -ENOSYS || ret == -EOPNOTSUPP)
		UNIT_SKIP("userfaultfd or this engine is not to be had here: %s", strerror(-ret));
	ck_assert_int_eq(ret, 0);
	ck_assert_int_eq(
		gmm_space_add_ram(m->space, (gmm_gpa){0}, N_PAGES * 4096ul, (void **)&m->mem), 0);
	worker.space = balloon.space = m->space;
	if (!m->alone)
		ck_assert_int_eq(gmm_worker_new(&worker, &m->worker), 0);
	ck_assert_int_eq(gmm_balloon_new(&balloon, &m->balloon), 0);
}

static void model_stop(struct model *m)
{
	struct gmm_pool_stats stats = {.size = sizeof(stats)};

	m->worker = gmm_worker_free(m->worker);
	m->balloon = gmm_balloon_free(m->balloon);
	m->space = gmm_space_free(m->space);
	gmm_pool_stats(m->pool, &stats);
	ck_assert_uint_eq(stats.used_bytes, 0);
	m->pool = gmm_pool_free(m->pool);
}

static uint64_t model_number(const char *name, uint64_t otherwise)
{
	const char *v = getenv(name);

	return v ? strtoull(v, NULL, 0) : otherwise;
}

static void model_report(const struct model *m, const struct gmm_stats *stats)
{
	printf("%s: zero %lu swap-in %lu rescue %lu prefetched %lu; evicted %lu zero %lu clean %lu "
	       "written %lu failed %lu busy %lu; store full %u times\n",
	       stats->engine, stats->faults.demand_zero, stats->faults.swap_in,
	       stats->faults.rescue, stats->faults.prefetched, stats->reclaim.evicted,
	       stats->reclaim.zero, stats->reclaim.clean, stats->reclaim.written,
	       stats->reclaim.failed, stats->reclaim.busy, m->n_full);
}

/* It all happened: a model that never evicts proves nothing. */
static void model_check_stats(const struct model *m, const struct gmm_stats *stats, uint64_t n)
{
	ck_assert_uint_eq(stats->poisoned_pages, 0);
	if (n < 10000 && (m->huge || !m->alone))
		return; /* too few for any of it to be certain */
	ck_assert_uint_gt(stats->faults.swap_in, m->huge ? 0 : n / 1000);
	ck_assert(stats->faults.rescue > 0 || m->huge || !m->alone);
	ck_assert_uint_gt(stats->reclaim.zero, 0);
	ck_assert_uint_gt(stats->reclaim.written, m->huge ? 0 : n / 1000);
	if (m->fail_one_in) {
		ck_assert_uint_gt(m->n_failed, 0);
		ck_assert_uint_gt(stats->reclaim.failed, 0);
		ck_assert_uint_gt(m->n_full, 0);
	}
	if (m->huge) {
		printf("huge: filled %lu taken %lu split %lu gathered %lu\n", stats->huge.filled,
		       stats->huge.taken, stats->huge.split, stats->huge.gathered);
		ck_assert_uint_gt(stats->huge.filled, 0);
		ck_assert(stats->huge.taken > 0 || n < 100000);
		ck_assert(stats->huge.split > 0 || n < 100000);
	}
	if (m->watched) {
		printf("watched: %lu touches\n", stats->working_set.touches);
		ck_assert_uint_gt(stats->working_set.touches, n / 1000);
	}
	/* Clean evictions come and go with the room for bookkeeping: invariants.c counts them. */
}

/* More eagerly than it would be: each page of the sample goes and comes all the time. */
static void model_watch(struct model *m)
{
	pthread_mutex_lock(&m->space->lock);
	m->space->ws.pace = (struct ws_pace){
		.permille = 1000000, .burst_ns = 1000000000, .tick_ns = 1, .cool_ns = 1};
	pthread_mutex_unlock(&m->space->lock);
}

static void model_run(enum gmm_engine engine, struct model how)
{
	struct model *m = malloc(sizeof(*m));
	uint64_t n = (how.alone ? 5000 : 200) * model_number("GUESTMM_MODEL_OPS", 100) /
		     (how.huge ? 3 : 1) / /* those take longer, and are there thrice */
		     (how.watched ? 3 : 1);
	uint64_t seed = ((uint64_t)time(NULL) | 1) * 0x9e3779b97f4a7c15u;
	struct gmm_stats stats = {.size = sizeof(stats)};
	struct gmm_pool_stats pool = {.size = sizeof(pool)};

	*m = how;
	m->seed = model_number("GUESTMM_MODEL_SEED", seed);
	printf("GUESTMM_MODEL_SEED=%lu\n", (unsigned long)m->seed);
	fflush(stdout);
	model_start(m, engine);
	if (how.watched)
		model_watch(m);
	for (uint64_t i = 0; i < n; i++)
		model_step(m);
	if (m->alone && !m->huge)
		model_rescue(m);
	for (uint32_t p = 0; p < N_PAGES; p++)
		model_verify(m, p);
	gmm_pool_stats(m->pool, &pool);
	/* the highest limit there was */
	ck_assert_uint_le(pool.used_peak_bytes, (m->huge ? 16 : 8) * MIB);
	gmm_space_stats(m->space, &stats);
	model_report(m, &stats);
	model_check_stats(m, &stats, n);
	model_stop(m);
	free(m);
}

START_TEST(move_engine_keeps_every_page)
{
	model_run(GMM_ENGINE_MOVE, (struct model){.fail_one_in = 0});
	model_run(GMM_ENGINE_MOVE, (struct model){.alone = true});
}
END_TEST

START_TEST(copy_engine_keeps_every_page)
{
	model_run(GMM_ENGINE_COPY, (struct model){.fail_one_in = 0});
	model_run(GMM_ENGINE_COPY, (struct model){.alone = true});
}
END_TEST

START_TEST(move_engine_loses_nothing_to_write_errors)
{
	model_run(GMM_ENGINE_MOVE, (struct model){.fail_one_in = 97});
	model_run(GMM_ENGINE_MOVE, (struct model){.alone = true, .fail_one_in = 997});
}
END_TEST

START_TEST(copy_engine_loses_nothing_to_write_errors)
{
	model_run(GMM_ENGINE_COPY, (struct model){.fail_one_in = 97});
	model_run(GMM_ENGINE_COPY, (struct model){.alone = true, .fail_one_in = 997});
}
END_TEST

START_TEST(huge_frames_keep_every_page)
{
	unit_need_huge_pages();
	model_run(GMM_ENGINE_MOVE, (struct model){.huge = true});
	model_run(GMM_ENGINE_MOVE, (struct model){.huge = true, .alone = true});
	model_run(GMM_ENGINE_MOVE, (struct model){.huge = true, .alone = true, .fail_one_in = 997});
}
END_TEST

START_TEST(watching_keeps_every_page)
{
	model_run(GMM_ENGINE_MOVE, (struct model){.watched = true});
	model_run(GMM_ENGINE_COPY, (struct model){.watched = true});
	model_run(GMM_ENGINE_MOVE, (struct model){.watched = true, .alone = true});
	model_run(GMM_ENGINE_COPY, (struct model){.watched = true, .alone = true});
	model_run(GMM_ENGINE_MOVE, (struct model){.watched = true, .fail_one_in = 97});
	model_run(GMM_ENGINE_MOVE, (struct model){.watched = true, .huge = true});
	model_run(GMM_ENGINE_MOVE, (struct model){.watched = true, .huge = true, .alone = true});
}
END_TEST

UNIT_MAIN_TIMEOUT("space", 600, watching_keeps_every_page, huge_frames_keep_every_page,
		  move_engine_keeps_every_page, copy_engine_keeps_every_page,
		  move_engine_loses_nothing_to_write_errors,
		  copy_engine_loses_nothing_to_write_errors)
