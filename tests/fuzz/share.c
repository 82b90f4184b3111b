/* The VMM's side of a shared page-frame allocator, under a guest that writes to the block what it
 * likes: the input is the block's bytes at first, then what the VMM is told to do and what the
 * guest does, one after the other; by the input's wish a thread scribbles over the block all the
 * while.
 *
 * Whatever it holds, nothing outside the block is touched (the address sanitizer looks), every call
 * ends, the limit holds, no more is taken than there is RAM and nothing is taken twice, a page that
 * is held keeps its content, and any other page has what was written to it last, or zeros from some
 * moment on. In the end, told to take nothing, the VMM has nothing.
 *
 * RAM has a hole and ends in the middle of 2 MiB; the block is for more frames than that.
 */
#include <errno.h>
#include <guestmm/frames.h>
#include <guestmm/guestmm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"

#define MIB	 (UINT64_C(1) << 20)
#define PAGE	 UINT64_C(4096)
#define LOW	 (4 * MIB)		 /* RAM: [0, LOW) and */
#define HIGH	 (8 * MIB)		 /* [HIGH, END) */
#define END	 (12 * MIB + 256 * 1024) /* the last 2 MiB are not whole */
#define N_FRAMES ((14 * MIB) / PAGE)	 /* that the block is for */
#define N_RAM	 ((LOW + END - HIGH) / PAGE)

#define must(e)                                                                                    \
	do {                                                                                       \
		if (!(e)) {                                                                        \
			fprintf(stderr, "line %d: %s\n", __LINE__, #e);                            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct world {
	struct gmm_pool *pool;
	struct gmm_space *space;
	struct gmm_balloon *balloon;
	uint64_t *block; /* at the end of its allocation */
	size_t block_words;
	uint64_t limit_max, ballooned;
	uint64_t written[N_FRAMES]; /* each page's first word; 0: may be gone */
	volatile uint64_t *held;
	uint64_t held_frame;
	uint64_t seed; /* of the scribbler */
	atomic_bool stop;
};

/* ---- The world ---- */

static int space_new(struct world *w, enum gmm_engine engine)
{
	struct gmm_store_file_config file = {
		.size = sizeof(file), .capacity_bytes = 16 * MIB, .no_uring = 1, .no_direct = 1};
	struct gmm_space_config space = {.size = sizeof(space), .engine = engine, .n_vcpus = 1};
	int ret = gmm_store_file_new(&file, &space.store);
	void *mem;

	must(ret == 0);
	space.pool = w->pool;
	ret = gmm_space_new(&space, &w->space);
	if (ret)
		return ret;
	must(gmm_space_add_ram(w->space, (gmm_gpa){0}, LOW, &mem) == 0);
	must(gmm_space_add_ram(w->space, (gmm_gpa){HIGH}, END - HIGH, &mem) == 0);
	return 0;
}

static int world_new(struct world *w, enum gmm_engine engine, uint64_t limit)
{
	struct gmm_pool_config pool = {.size = sizeof(pool), .limit_bytes = limit};
	struct gmm_balloon_config balloon = {.size = sizeof(balloon)};
	int ret;

	memset(w, 0, sizeof(*w));
	w->limit_max = limit;
	must(gmm_pool_new(&pool, &w->pool) == 0);
	ret = space_new(w, engine);
	if (ret)
		return ret;
	balloon.space = w->space;
	must(gmm_balloon_new(&balloon, &w->balloon) == 0);
	w->block_words = gmm_frames_bytes(N_FRAMES) / 8;
	w->block = malloc(w->block_words * 8);
	must(w->block != NULL);
	return 0;
}

static void release(struct world *w)
{
	if (w->held)
		gmm_space_release(w->space, (gmm_gpa){w->held_frame * PAGE}, 8);
	w->held = NULL;
}

static void world_free(struct world *w)
{
	struct gmm_pool_stats stats = {.size = sizeof(stats)};

	release(w);
	gmm_balloon_free(w->balloon);
	gmm_space_free(w->space);
	gmm_pool_stats(w->pool, &stats);
	must(stats.used_bytes == 0);
	gmm_pool_free(w->pool);
	free(w->block);
}

static void share(struct world *w)
{
	struct gmm_balloon_share share = {.size = sizeof(share),
					  .block = (struct gmm_frames *)(void *)w->block,
					  .block_bytes = w->block_words * 8,
					  .n_frames = N_FRAMES};

	must(gmm_balloon_share(w->balloon, &share) == 0);
}

/* ---- What holds at any time ---- */

static bool is_ram(uint64_t frame)
{
	return frame < LOW / PAGE || (frame >= HIGH / PAGE && frame < END / PAGE);
}

static uint64_t n_in(struct world *w, enum gmm_page_state state)
{
	uint8_t states[N_FRAMES];
	uint64_t n = 0, high = HIGH / PAGE, n_high = (END - HIGH) / PAGE;

	must(gmm_space_states(w->space, (gmm_gfn){0}, LOW / PAGE, states) == 0);
	must(gmm_space_states(w->space, (gmm_gfn){high}, n_high, states + LOW / PAGE) == 0);
	for (uint64_t i = 0; i < N_RAM; i++)
		n += states[i] == state;
	return n;
}

static void check(struct world *w)
{
	uint64_t have = gmm_balloon_bytes(w->balloon) / PAGE;
	struct gmm_pool_stats stats = {.size = sizeof(stats)};

	gmm_pool_stats(w->pool, &stats);
	must(stats.used_peak_bytes <= w->limit_max);
	must(have <= N_RAM);
	must(gmm_balloon_guest_free(w->balloon) <= N_FRAMES * PAGE);
	/* (what is taken counts as resident where the guest touches it all the same) */
	if (have != w->ballooned)
		must(n_in(w, GMM_PAGE_BALLOONED) <= have &&
		     have <= N_RAM - n_in(w, GMM_PAGE_EMPTY));
	w->ballooned = have;
	must(!w->held || *w->held == w->written[w->held_frame]);
}

static void read_page(struct world *w, uint64_t frame)
{
	uint64_t word = 1;

	must(gmm_space_read(w->space, (gmm_gpa){frame * PAGE}, &word, sizeof(word)) == 0);
	must(word == 0 || word == w->written[frame]);
	w->written[frame] = word; /* what was gone stays gone */
}

/* ---- Steps ---- */

static void write_page(struct world *w, uint64_t frame, uint64_t value)
{
	w->written[frame] = frame << 32 | value;
	must(gmm_space_write(w->space, (gmm_gpa){frame * PAGE}, &w->written[frame], 8) == 0);
}

static void hold_page(struct world *w, uint64_t frame, uint64_t value)
{
	void *hva;

	release(w);
	must(gmm_space_hold(w->space, (gmm_gpa){frame * PAGE}, 8, true, &hva) == 0);
	w->held = hva;
	w->held_frame = frame;
	*w->held = w->written[frame] = frame << 32 | value;
}

static uint64_t any_ram(struct input *in)
{
	uint64_t i = take(in, 2) % N_RAM;

	return i < LOW / PAGE ? i : i - LOW / PAGE + HIGH / PAGE;
}

static void list(struct world *w, struct input *in)
{
	gmm_gfn gfns[64];
	uint64_t first = take(in, 2), what = take(in, 1);

	for (unsigned i = 0; i < 64; i++)
		gfns[i].v = first + i * (what / 2 % 4);
	if (what % 2)
		must(gmm_balloon_give(w->balloon, gfns, 64) <= 64);
	else
		must(gmm_balloon_take(w->balloon, gfns, 64) <= 64);
}

static void vmm_step(struct world *w, struct input *in)
{
	int ret;

	switch (take(in, 1) % 8) {
	case 0:
		gmm_balloon_set_target(w->balloon, take(in, 2) % (N_RAM + 8) * PAGE);
		break;
	case 1: /* whole areas */
		gmm_balloon_set_target(w->balloon, take(in, 1) % 5 * 2 * MIB);
		break;
	case 2:
		gmm_balloon_set_auto(w->balloon, take(in, 1) % 2);
		break;
	case 3:
		gmm_balloon_tick(w->balloon);
		break;
	case 4:
		must(gmm_balloon_deflate_on_oom(w->balloon, take(in, 2)) <= N_RAM);
		break;
	case 5:
		gmm_pool_set_limit(w->pool,
				   GMM_POOL_MIN_BYTES +
					   take(in, 2) * PAGE % (w->limit_max - 2 * MIB + 1));
		break;
	case 6:
		gmm_space_reclaim(w->space, take(in, 1) % 64);
		break;
	case 7:
		ret = gmm_space_dispatch(w->space);
		must(ret == 0 || ret == -EAGAIN);
		break;
	}
}

/* As a guest that is well uses the block, in the middle of what it is not. */
static void guest_frames(struct world *w, struct input *in)
{
	struct gmm_fr r = {(struct gmm_frames *)(void *)w->block, N_FRAMES};
	uint64_t frames[64], first = take(in, 2), n = take(in, 1) % 64 + 1;

	switch (take(in, 1) % 4) {
	case 0:
		if (gmm_fr_get(r, 0, (unsigned)n, frames) == 0 && is_ram(frames[0]))
			write_page(w, frames[0], n);
		break;
	case 1:
		gmm_fr_put_run_as(r, 0, GMM_FRAMES_GUEST, first, n * 16);
		break;
	case 2:
		gmm_fr_claim_as(r, GMM_FRAMES_GUEST, first, n * 16);
		break;
	case 3:
		gmm_fr_get_huge_as(r, 0, GMM_FRAMES_GUEST, &first);
		break;
	}
}

static void guest_step(struct world *w, struct input *in)
{
	uint64_t frame = any_ram(in), at, n, value;

	switch (take(in, 1) % 8) {
	case 0:
		for (n = take(in, 1); n && is_ram(frame); n--, frame++)
			write_page(w, frame == w->held_frame && w->held ? 1000 : frame, n);
		break;
	case 1:
		for (n = take(in, 1); n && is_ram(frame); n--)
			read_page(w, frame++);
		break;
	case 2:
		hold_page(w, frame, take(in, 2));
		break;
	case 3: /* all is free, it says */
		release(w);
		must(!gmm_frames_init((void *)w->block, w->block_words * 8, N_FRAMES));
		break;
	case 4:
		list(w, in);
		break;
	case 5:
		guest_frames(w, in);
		break;
	case 6:
		at = take(in, 2) % w->block_words;
		__atomic_store_n(&w->block[at], take(in, 8), __ATOMIC_RELAXED);
		break;
	case 7: /* many words, most often of the bitmap */
		at = take(in, 2) % w->block_words;
		n = take(in, 2) % (w->block_words - at);
		value = take(in, 1);
		memset(w->block + at, value % 4 ? value % 2 ? 0 : 255 : (int)value, n * 8);
		break;
	}
}

static void *scribble(void *arg)
{
	struct world *w = arg;
	uint64_t x = w->seed | 1;

	while (!atomic_load(&w->stop)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		__atomic_store_n(&w->block[x % w->block_words],
				 x >> 60 < 5	? 0
				 : x >> 60 < 10 ? UINT64_MAX
						: x * 77,
				 __ATOMIC_RELAXED);
	}
	return NULL;
}

/* ---- */

static const enum gmm_engine engines[] = {GMM_ENGINE_MOVE, GMM_ENGINE_COPY};
static bool has_engine[2];
static struct world world;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	for (unsigned i = 0; i < 2; i++) {
		has_engine[i] = world_new(&world, engines[i], 4 * MIB) == 0;
		if (has_engine[i])
			world_free(&world);
	}
	if (!has_engine[0] && !has_engine[1]) {
		printf("skipped: userfaultfd is not to be had here\n");
		exit(77);
	}
	return 0;
}

static void finish(struct world *w)
{
	gmm_gfn gfn;

	gmm_balloon_set_auto(w->balloon, false);
	must(gmm_balloon_set_target(w->balloon, 0) == 0);
	for (gfn.v = 0; gfn.v < N_FRAMES; gfn.v++)
		gmm_balloon_take(w->balloon, &gfn, 1);
	gmm_balloon_tick(w->balloon);
	must(gmm_balloon_bytes(w->balloon) == 0);
	for (uint64_t frame = 0; frame < N_FRAMES; frame++)
		if (w->written[frame])
			read_page(w, frame);
	check(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint64_t how = take(&in, 1), limit = GMM_POOL_MIN_BYTES + take(&in, 2) * PAGE % (6 * MIB);
	struct world *w = &world;
	unsigned engine = has_engine[how / 2 % 2] ? how / 2 % 2 : !(how / 2 % 2);
	pthread_t thread;

	must(world_new(w, engines[engine], limit) == 0);
	if (how / 4 % 4)
		must(!gmm_frames_init((void *)w->block, w->block_words * 8, N_FRAMES));
	else
		memset(w->block, (int)take(&in, 1), w->block_words * 8);
	w->seed = take(&in, 8);
	share(w);
	if (how % 2)
		must(pthread_create(&thread, NULL, scribble, w) == 0);
	while (in.left) {
		if (take(&in, 1) % 2)
			vmm_step(w, &in);
		else
			guest_step(w, &in);
		check(w);
	}
	atomic_store(&w->stop, true);
	if (how % 2)
		pthread_join(thread, NULL);
	finish(w);
	world_free(w);
	return 0;
}
