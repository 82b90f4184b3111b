/* A guest's allocator that two guest threads and the VMM work on at once: a frame has one holder, a
 * frame that is free reads as zero, what a holder wrote stays, and no frame is lost. The guest's
 * threads get, use and free frames, one by one, in batches and huge; the VMM changes the balloon's
 * target, answers a guest out of memory, and is short of memory all the while.
 *
 * GUESTMM_MODEL_OPS scales the number of operations (percent), GUESTMM_MODEL_SEED sets the seed.
 */
#include <check.h>
#include <errno.h>
#include <guestmm/frames.h>
#include <guestmm/guestmm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "unit.h"

#define MIB	 (UINT64_C(1) << 20)
#define N_PAGES	 8192u /* 32 MiB */
#define LIMIT	 (12 * MIB)
#define MAX_HELD 3000u
#define N_GUESTS 2u

struct model {
	struct gmm_pool *pool;
	struct gmm_space *space;
	struct gmm_worker *worker;
	struct gmm_balloon *balloon;
	struct gmm_frames *block;
	uint64_t *mem;
	atomic_bool stop;
	_Atomic uint64_t n_oom;
};

struct guest {
	struct model *m;
	unsigned id;
	uint64_t seed, n_steps, held[MAX_HELD];
	unsigned n_held, n_wrong;
};

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed * UINT64_C(2685821657736338717);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *v = getenv(name);

	return v ? strtoull(v, NULL, 0) : otherwise;
}

/* ---- The guest ---- */

static uint64_t *word(const struct guest *g, uint64_t frame)
{
	return g->m->mem + frame * 512 + frame % 512;
}

static uint64_t mark(const struct guest *g, uint64_t frame)
{
	return frame << 8 | (g->id + 1);
}

static void use(struct guest *g, uint64_t frame)
{
	uint64_t *w = word(g, frame);

	g->n_wrong += *w != 0;
	*w = mark(g, frame);
	g->held[g->n_held++] = frame;
}

/* Takes one of those held out of the list; it reads as zero again. */
static uint64_t unuse(struct guest *g, unsigned i)
{
	uint64_t frame = g->held[i];

	g->held[i] = g->held[--g->n_held];
	g->n_wrong += *word(g, frame) != mark(g, frame);
	*word(g, frame) = 0;
	return frame;
}

static void guest_get(struct guest *g)
{
	uint64_t frames[512];
	unsigned n = next(&g->seed) % 4 ? (unsigned)(next(&g->seed) % 8 + 1)
					: (unsigned)(next(&g->seed) % 64 + 1);

	if (g->n_held + n > MAX_HELD)
		return;
	if (gmm_frames_get(g->m->block, g->id, n, frames)) {
		gmm_balloon_deflate_on_oom(g->m->balloon, n);
		g->m->n_oom++;
		return;
	}
	for (unsigned i = 0; i < n; i++)
		use(g, frames[i]);
}

static void guest_get_huge(struct guest *g)
{
	uint64_t first;

	if (g->n_held + 512 > MAX_HELD || gmm_frames_get_huge(g->m->block, g->id, &first))
		return;
	for (unsigned i = 0; i < 512; i++)
		use(g, first + i);
}

static void guest_put(struct guest *g)
{
	uint64_t frames[64];
	unsigned n = (unsigned)(next(&g->seed) % 64), k = 0;

	while (k < n && g->n_held)
		frames[k++] = unuse(g, (unsigned)(next(&g->seed) % g->n_held));
	if (k)
		g->n_wrong += gmm_frames_put(g->m->block, g->id, k, frames) != 0;
}

static void *guest_run(void *arg)
{
	struct guest *g = arg;

	for (uint64_t i = 0; i < g->n_steps; i++) {
		uint64_t what = next(&g->seed) % 100;

		if (what < 45)
			guest_get(g);
		else if (what < 46)
			guest_get_huge(g);
		else if (what < 90)
			guest_put(g);
		else if (g->n_held) {
			uint64_t frame = g->held[next(&g->seed) % g->n_held];

			g->n_wrong += *word(g, frame) != mark(g, frame);
		}
	}
	while (g->n_held) {
		uint64_t frame = unuse(g, g->n_held - 1);

		g->n_wrong += gmm_frames_put(g->m->block, g->id, 1, &frame) != 0;
	}
	return NULL;
}

/* ---- The VMM ---- */

static void *vmm_run(void *arg)
{
	struct model *m = arg;
	uint64_t seed = number("GUESTMM_MODEL_SEED", 7) * 77 + 1;

	while (!m->stop) {
		switch (next(&seed) % 8) {
		case 0:
			gmm_balloon_tick(m->balloon);
			break;
		case 1:
			gmm_balloon_set_auto(m->balloon, next(&seed) % 2);
			break;
		case 2:
			gmm_space_reclaim(m->space, next(&seed) % 512);
			break;
		case 3:
			gmm_balloon_set_target(m->balloon, 0);
			break;
		default:
			gmm_balloon_set_target(m->balloon, next(&seed) % (32 * MIB) & ~4095ul);
			break;
		}
		nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
	}
	return NULL;
}

static void start(struct model *m, enum gmm_engine engine)
{
	struct gmm_pool_config pool = {.size = sizeof(pool), .limit_bytes = LIMIT};
	struct gmm_store_file_config file = {.size = sizeof(file), .capacity_bytes = 64 * MIB};
	struct gmm_space_config space = {.size = sizeof(space), .engine = engine, .n_vcpus = 2};
	struct gmm_worker_config worker = {.size = sizeof(worker), .cpu = -1};
	struct gmm_balloon_config balloon = {.size = sizeof(balloon)};
	struct gmm_balloon_share share = {.size = sizeof(share), .n_frames = N_PAGES};
	size_t bytes = (gmm_frames_bytes(N_PAGES) + 127) & ~127ul;
	int ret;

	ck_assert_int_eq(gmm_pool_new(&pool, &m->pool), 0);
	ck_assert_int_eq(gmm_store_file_new(&file, &space.store), 0);
	space.pool = m->pool;
	ret = gmm_space_new(&space, &m->space);
	if (ret == -EPERM || ret == -ENOSYS || ret == -EOPNOTSUPP)
		UNIT_SKIP("userfaultfd or this engine is not to be had here: %s", strerror(-ret));
	ck_assert_int_eq(ret, 0);
	ck_assert_int_eq(
		gmm_space_add_ram(m->space, (gmm_gpa){0}, N_PAGES * 4096ul, (void **)&m->mem), 0);
	worker.space = balloon.space = m->space;
	ck_assert_int_eq(gmm_worker_new(&worker, &m->worker), 0);
	ck_assert_int_eq(gmm_balloon_new(&balloon, &m->balloon), 0);
	m->block = aligned_alloc(128, bytes);
	ck_assert_int_eq(gmm_frames_init(m->block, bytes, N_PAGES), 0);
	share.block = m->block;
	share.block_bytes = bytes;
	ck_assert_int_eq(gmm_balloon_share(m->balloon, &share), 0);
}

static void finish(struct model *m)
{
	struct gmm_pool_stats pool = {.size = sizeof(pool)};

	m->worker = gmm_worker_free(m->worker);
	m->balloon = gmm_balloon_free(m->balloon);
	m->space = gmm_space_free(m->space);
	gmm_pool_stats(m->pool, &pool);
	ck_assert_uint_eq(pool.used_bytes, 0);
	ck_assert_uint_le(pool.used_peak_bytes, LIMIT);
	m->pool = gmm_pool_free(m->pool);
	free(m->block);
}

/* What was asked for before is done: it would have its share of what is there. */
static void wait_for_reclaim(struct model *m)
{
	struct gmm_stats stats = {.size = sizeof(stats)};
	uint64_t seen, now = 0;

	do {
		seen = now;
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		gmm_space_stats(m->space, &stats);
		now = stats.reclaim.evicted + stats.free_taken;
	} while (now != seen);
}

/* Memory that the guest used and freed is there: it is what pressure takes first. */
static void check_free_is_taken(struct model *m)
{
	struct gmm_stats before = {.size = sizeof(before)}, after = {.size = sizeof(after)};
	uint64_t frames[64];

	wait_for_reclaim(m);
	ck_assert_int_eq(gmm_frames_get(m->block, 0, 64, frames), 0);
	for (unsigned i = 0; i < 64; i++) {
		ck_assert_uint_eq(m->mem[frames[i] * 512], 0);
		m->mem[frames[i] * 512] = 1;
		m->mem[frames[i] * 512] = 0;
	}
	ck_assert_int_eq(gmm_frames_put(m->block, 0, 64, frames), 0);
	gmm_space_stats(m->space, &before);
	ck_assert_int_eq(gmm_space_reclaim(m->space, 64), 0);
	for (unsigned i = 0; i < 10000 && after.free_taken < before.free_taken + 64; i++) {
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* the worker does it */
		gmm_space_stats(m->space, &after);
	}
	ck_assert_uint_ge(after.free_taken, before.free_taken + 64);
	ck_assert_uint_eq(after.reclaim.written, before.reclaim.written);
	ck_assert_int_eq(gmm_balloon_set_target(m->balloon, 0), 0);
}

/* It all happened, and all is free again in the end. */
static void check_end(struct model *m)
{
	struct gmm_stats stats = {.size = sizeof(stats)};

	gmm_balloon_set_auto(m->balloon, false);
	ck_assert_int_eq(gmm_balloon_set_target(m->balloon, 0), 0);
	check_free_is_taken(m);
	ck_assert_uint_eq(gmm_balloon_bytes(m->balloon), 0);
	ck_assert_uint_eq(gmm_frames_n_free(m->block), N_PAGES);
	ck_assert_uint_eq(gmm_frames_n_held(m->block, GMM_FRAMES_HOST), 0);
	for (uint64_t f = 0; f < N_PAGES; f++)
		ck_assert(gmm_frames_is_free(m->block, f));
	gmm_space_stats(m->space, &stats);
	printf("%s: zero %lu swap-in %lu; evicted %lu written %lu free taken %lu; out of memory "
	       "%lu "
	       "times\n",
	       stats.engine, stats.faults.demand_zero, stats.faults.swap_in, stats.reclaim.evicted,
	       stats.reclaim.written, stats.free_taken, (unsigned long)m->n_oom);
	ck_assert_uint_gt(stats.faults.demand_zero, 0);
}

START_TEST(guest_and_vmm_work_on_one_block)
{
	static const enum gmm_engine engines[] = {GMM_ENGINE_MOVE, GMM_ENGINE_COPY};
	uint64_t seed = number("GUESTMM_MODEL_SEED", (uint64_t)time(NULL) | 1);
	struct model m = {0};
	struct guest guests[N_GUESTS];
	pthread_t threads[N_GUESTS], vmm;

	printf("GUESTMM_MODEL_SEED=%lu\n", (unsigned long)seed);
	fflush(stdout);
	start(&m, engines[_i]);
	pthread_create(&vmm, NULL, vmm_run, &m);
	for (unsigned i = 0; i < N_GUESTS; i++) {
		guests[i] = (struct guest){.m = &m,
					   .id = i,
					   .seed = seed * (i + 3),
					   .n_steps = 150 * number("GUESTMM_MODEL_OPS", 100)};
		pthread_create(&threads[i], NULL, guest_run, &guests[i]);
	}
	for (unsigned i = 0; i < N_GUESTS; i++)
		pthread_join(threads[i], NULL);
	m.stop = true;
	pthread_join(vmm, NULL);
	for (unsigned i = 0; i < N_GUESTS; i++)
		ck_assert_msg(guests[i].n_wrong == 0, "guest %u met %u wrong words", i,
			      guests[i].n_wrong);
	check_end(&m);
	finish(&m);
}
END_TEST

UNIT_MAIN_LOOP("shared", 2, 300, guest_and_vmm_work_on_one_block)
