/* gmm_frames under many threads: a frame never has two holders, none is lost, the counts add up in
 * the end. The build with the thread sanitizer also sees that a frame's next holder comes after its
 * last one: each writes a plain word that belongs to the frame. */
#include <guestmm/frames.h>
#include <pthread.h>
#include <string.h>

#include "unit.h"

#define N_THREADS 6u
#define MAX_HELD  600u

struct stress {
	struct gmm_frames *f;
	uint64_t n;
	uint64_t *owner; /* plain: guarded by holding the frame; thread, holder */
	unsigned n_steps;
	pthread_barrier_t start;
};

struct thread {
	struct stress *s;
	unsigned id, caller;
	uint64_t seed, held[MAX_HELD], n_got, n_failed;
	unsigned n_held, errors;
};

static uint64_t rng(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed * UINT64_C(2685821657736338717);
}

static void take(struct thread *t, unsigned holder, uint64_t frame)
{
	uint64_t *owner = &t->s->owner[frame];

	t->errors += *owner != 0;
	*owner = (t->id + 1) * GMM_FRAMES_HOLDERS + holder;
}

/* Returns what it was held as. */
static unsigned give(struct thread *t, uint64_t frame)
{
	uint64_t *owner = &t->s->owner[frame];
	unsigned holder = (unsigned)*owner % GMM_FRAMES_HOLDERS;

	t->errors += *owner / GMM_FRAMES_HOLDERS != t->id + 1;
	t->errors += gmm_frames_class(t->s->f, frame) != (int)holder;
	*owner = 0;
	return holder;
}

static unsigned any_holder(struct thread *t)
{
	return rng(&t->seed) % 2 ? GMM_FRAMES_GUEST
				 : (unsigned)(rng(&t->seed) % GMM_FRAMES_HOLDERS);
}

static void step_get(struct thread *t, unsigned n)
{
	uint64_t frames[64];
	unsigned holder = any_holder(t);

	if (t->n_held + n > MAX_HELD)
		return;
	if (gmm_frames_get_as(t->s->f, t->caller, holder, n, frames)) {
		t->n_failed++;
		return;
	}
	t->n_got += n;
	for (unsigned i = 0; i < n; i++) {
		take(t, holder, frames[i]);
		t->held[t->n_held++] = frames[i];
	}
}

/* A batch is of one class: what a frame of another one was drawn for goes back alone. */
static void step_put(struct thread *t, unsigned n)
{
	uint64_t frames[64];
	unsigned holder = 0, k = 0;

	for (unsigned i = 0; i < n && t->n_held; i++) {
		uint64_t at = rng(&t->seed) % t->n_held;
		unsigned as = give(t, t->held[at]);

		if (k && as != holder) {
			t->errors += gmm_frames_put_as(t->s->f, t->caller, holder, k, frames) != 0;
			k = 0;
		}
		holder = as;
		frames[k++] = t->held[at];
		t->held[at] = t->held[--t->n_held];
	}
	if (k)
		t->errors += gmm_frames_put_as(t->s->f, t->caller, holder, k, frames) != 0;
}

/* Batches that come back whole, and sometimes not quite. */
static void step_repeat(struct thread *t)
{
	uint64_t frames[64];
	unsigned n = rng(&t->seed) % 4 ? 20 : 64;

	for (unsigned round = 0; round < 4 && t->n_held + n <= MAX_HELD; round++) {
		if (gmm_frames_get(t->s->f, t->caller, n, frames))
			return;
		for (unsigned i = 0; i < n; i++)
			take(t, GMM_FRAMES_GUEST, frames[i]);
		if (rng(&t->seed) % 8 == 0) { /* they will be returned one by one */
			memcpy(t->held + t->n_held, frames, n * sizeof(*frames));
			t->n_held += n;
			return;
		}
		for (unsigned i = 0; i < n; i++)
			give(t, frames[i]);
		t->errors += gmm_frames_put(t->s->f, t->caller, n, frames) != 0;
	}
}

static void step_order(struct thread *t)
{
	uint64_t first;
	unsigned holder = any_holder(t), order = (unsigned)rng(&t->seed) % 9;

	if (gmm_frames_get_order_as(t->s->f, t->caller, holder, order, &first))
		return;
	for (unsigned i = 0; i < 1u << order; i++)
		take(t, holder, first + i);
	for (unsigned i = 0; i < 1u << order; i++)
		give(t, first + i);
	t->errors += gmm_frames_put_run_as(t->s->f, t->caller, holder, first, 1u << order) != 0;
}

static void step_huge(struct thread *t)
{
	uint64_t first;
	unsigned holder = any_holder(t);

	if (gmm_frames_get_huge_as(t->s->f, t->caller, holder, &first))
		return;
	for (unsigned i = 0; i < 512; i++)
		take(t, holder, first + i);
	for (unsigned i = 0; i < 512; i++)
		give(t, first + i);
	t->errors += gmm_frames_put_huge_as(t->s->f, t->caller, holder, first) != 0;
}

static void *thread_main(void *arg)
{
	struct thread *t = arg;

	pthread_barrier_wait(&t->s->start);
	for (unsigned i = 0; i < t->s->n_steps; i++) {
		unsigned n = rng(&t->seed) % 4 ? 1 : 1 + (unsigned)rng(&t->seed) % 64;

		if (rng(&t->seed) % 64 == 0)
			step_huge(t);
		else if (rng(&t->seed) % 16 == 0)
			step_order(t);
		else if (rng(&t->seed) % 16 == 0)
			step_repeat(t);
		else if (rng(&t->seed) % 2)
			step_get(t, n);
		else
			step_put(t, n);
	}
	while (t->n_held)
		step_put(t, 1);
	return NULL;
}

/* All frames but each `stride`-th are in use; 0: none is. */
static void fill(struct gmm_frames *f, uint64_t n_frames, uint64_t stride)
{
	if (stride)
		ck_assert_int_eq(gmm_frames_claim(f, 0, n_frames), 0);
	for (uint64_t i = 0; stride && i < n_frames; i += stride)
		ck_assert_int_eq(gmm_frames_put(f, GMM_FRAMES_ANYONE, 1, &i), 0);
}

static void check_all_free(struct gmm_frames *f, uint64_t n_frames, uint64_t stride)
{
	for (uint64_t i = 0; stride && i < n_frames; i++)
		if (i % stride)
			ck_assert_int_eq(gmm_frames_put(f, GMM_FRAMES_ANYONE, 1, &i), 0);
	ck_assert_uint_eq(gmm_frames_n_free(f), n_frames);
	for (unsigned holder = 0; holder < GMM_FRAMES_HOLDERS; holder++)
		ck_assert_uint_eq(gmm_frames_n_held(f, holder), 0);
	for (uint64_t i = 0; i < n_frames; i++)
		if (!gmm_frames_is_free(f, i))
			ck_abort_msg("frame %llu is lost", (unsigned long long)i);
	ck_assert_uint_eq(gmm_frames_n_free_huge(f), n_frames / 512);
}

static void run(uint64_t n_frames, unsigned n_steps, uint64_t stride)
{
	size_t bytes = gmm_frames_bytes(n_frames);
	struct stress s = {.n = n_frames, .n_steps = n_steps};
	struct thread *threads = calloc(N_THREADS, sizeof(*threads));
	pthread_t ids[N_THREADS];
	uint64_t n_got = 0;

	s.f = aligned_alloc(128, (bytes + 127) & ~(size_t)127);
	s.owner = calloc(n_frames, sizeof(uint64_t));
	ck_assert_int_eq(gmm_frames_init(s.f, bytes, n_frames), 0);
	fill(s.f, n_frames, stride);
	pthread_barrier_init(&s.start, NULL, N_THREADS);
	for (unsigned i = 0; i < N_THREADS; i++) {
		threads[i].s = &s;
		threads[i].id = i;
		threads[i].caller = i < N_THREADS - 2 ? i : GMM_FRAMES_ANYONE;
		threads[i].seed = 1000 + i;
		ck_assert_int_eq(pthread_create(&ids[i], NULL, thread_main, &threads[i]), 0);
	}
	for (unsigned i = 0; i < N_THREADS; i++) {
		pthread_join(ids[i], NULL);
		ck_assert_uint_eq(threads[i].errors, 0);
		n_got += threads[i].n_got;
	}
	ck_assert_uint_gt(n_got, n_steps);
	check_all_free(s.f, n_frames, stride);
	free(s.owner);
	free(s.f);
	free(threads);
}

START_TEST(plenty)
{
	run(20000, 60000, 0);
}
END_TEST

/* Fewer frames than the threads want: searches, sweeps and failures all the time. */
START_TEST(short_of_frames)
{
	run(1100, 30000, 0);
}
END_TEST

/* Free frames are scattered, enough for some bundles, not for all threads. */
START_TEST(bundles)
{
	run(4 * 32 * 512, 30000, 61);
}
END_TEST

START_TEST(one_word)
{
	run(50, 60000, 0);
}
END_TEST

UNIT_MAIN("frames under threads", plenty, short_of_frames, bundles, one_word)
