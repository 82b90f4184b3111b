/* gmm_frames against a bare `lock cmpxchg`, glibc's malloc of 4 KiB blocks and a bitmap under a
 * mutex.
 *
 * usage: bench_frames [BATCHES [anything]]   1: one by one, 2: and batches of 64, 3: and of 512;
 * alone
 *
 * Rows: bulk (fill all, free all), repeat (get and put in turn), random (return some of the held
 * frames, chosen at random, get as many again), at several degrees of fullness, one by one and in
 * batches, with one thread and two; then how many huge frames stay free when frames come and go at
 * random.
 *
 * A time is CPU time of the thread, an operation is one frame got and put. Each figure is the
 * median of rounds in which all candidates and the floor take turns; `ratio` is that of the round's
 * own floor: the time of two uncontended compare-and-swaps, one to get, one to put, taken by as
 * many threads at once as the row has: what two CPUs take from each other by themselves is in it.
 */
#include <guestmm/frames.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N_FRAMES    (UINT64_C(1) << 18) /* 1 GiB */
#define N_ROUNDS    7
#define MAX_THREADS 2

struct rival {
	const char *name;
	uint64_t n_frames;
	void (*reset)(const struct rival *rival);
	void (*get_many)(unsigned caller, unsigned batch, uint64_t n, uint64_t *frames);
	void (*put_many)(unsigned caller, unsigned batch, uint64_t n, const uint64_t *frames);
	void (*repeat)(unsigned caller, unsigned batch, unsigned n);
};

/* The loops that are timed, with a rival's own functions inlined in them. */
#define LOOPS(rival, state)                                                                        \
	static void rival##_get_many(unsigned caller, unsigned batch, uint64_t n,                  \
				     uint64_t *frames)                                             \
	{                                                                                          \
		void *s = state;                                                                   \
                                                                                                   \
		if (batch == 1)                                                                    \
			for (uint64_t i = 0; i < n; i++)                                           \
				rival##_get(s, caller, 1, frames + i);                             \
		else                                                                               \
			for (uint64_t i = 0; i < n; i += batch)                                    \
				rival##_get(s, caller, n - i < batch ? (unsigned)(n - i) : batch,  \
					    frames + i);                                           \
	}                                                                                          \
	static void rival##_put_many(unsigned caller, unsigned batch, uint64_t n,                  \
				     const uint64_t *frames)                                       \
	{                                                                                          \
		void *s = state;                                                                   \
                                                                                                   \
		if (batch == 1)                                                                    \
			for (uint64_t i = 0; i < n; i++)                                           \
				rival##_put(s, caller, 1, frames + i);                             \
		else                                                                               \
			for (uint64_t i = 0; i < n; i += batch)                                    \
				rival##_put(s, caller, n - i < batch ? (unsigned)(n - i) : batch,  \
					    frames + i);                                           \
	}                                                                                          \
	static void rival##_repeat(unsigned caller, unsigned batch, unsigned n)                    \
	{                                                                                          \
		uint64_t frames[512];                                                              \
		void *s = state;                                                                   \
                                                                                                   \
		for (unsigned i = 0; i < n; i++) {                                                 \
			if (batch == 1) {                                                          \
				rival##_get(s, caller, 1, frames);                                 \
				rival##_put(s, caller, 1, frames);                                 \
			} else {                                                                   \
				rival##_get(s, caller, batch, frames);                             \
				rival##_put(s, caller, batch, frames);                             \
			}                                                                          \
		}                                                                                  \
	}

static void die(const char *what)
{
	fprintf(stderr, "bench_frames: %s\n", what);
	exit(1);
}

/* ---- Ours ---- */

static struct gmm_frames *ours;

static void ours_reset(const struct rival *rival)
{
	size_t bytes = gmm_frames_bytes(rival->n_frames);

	if (!ours)
		ours = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
	if (!ours || gmm_frames_init(ours, bytes, rival->n_frames))
		die("cannot make the allocator");
}

static inline void ours_get(void *state, unsigned caller, unsigned n, uint64_t *frames)
{
	if (gmm_frames_get(state, caller, n, frames))
		die("out of frames");
}

static inline void ours_put(void *state, unsigned caller, unsigned n, const uint64_t *frames)
{
	if (gmm_frames_put(state, caller, n, frames))
		die("a frame was refused");
}

LOOPS(ours, ours)

/* ---- glibc's malloc ---- */

static void malloc_reset(const struct rival *rival)
{
	(void)rival; /* what it got from the kernel it keeps: not to measure page faults */
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
	mallopt(M_ARENA_MAX, MAX_THREADS);
}

static inline void malloc_get(void *state, unsigned caller, unsigned n, uint64_t *frames)
{
	(void)state, (void)caller;
	for (unsigned i = 0; i < n; i++)
		if (!(frames[i] = (uint64_t)(uintptr_t)malloc(4096)))
			die("out of memory");
}

static inline void malloc_put(void *state, unsigned caller, unsigned n, const uint64_t *frames)
{
	(void)state, (void)caller;
	for (unsigned i = 0; i < n; i++)
		free((void *)(uintptr_t)frames[i]);
}

LOOPS(malloc, NULL)

/* ---- A bitmap under a mutex, searched from where the last frame was found ---- */

static struct {
	pthread_mutex_t lock;
	uint64_t words[N_FRAMES / 64];
	uint64_t n_words, at;
} map = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void map_reset(const struct rival *rival)
{
	memset(map.words, 0, sizeof(map.words));
	map.n_words = rival->n_frames / 64;
	map.at = 0;
}

static inline void map_get(void *state, unsigned caller, unsigned n, uint64_t *frames)
{
	(void)state, (void)caller;
	pthread_mutex_lock(&map.lock);
	for (unsigned i = 0; i < n; i++) {
		unsigned bit;

		while (!~map.words[map.at])
			map.at = map.at + 1 < map.n_words ? map.at + 1 : 0;
		bit = (unsigned)__builtin_ctzll(~map.words[map.at]);
		map.words[map.at] |= UINT64_C(1) << bit;
		frames[i] = map.at * 64 + bit;
	}
	pthread_mutex_unlock(&map.lock);
}

static inline void map_put(void *state, unsigned caller, unsigned n, const uint64_t *frames)
{
	(void)state, (void)caller;
	pthread_mutex_lock(&map.lock);
	for (unsigned i = 0; i < n; i++)
		map.words[frames[i] / 64] &= ~(UINT64_C(1) << (frames[i] % 64));
	pthread_mutex_unlock(&map.lock);
}

LOOPS(map, NULL)

/* malloc's blocks are touched by its own headers: a quarter of the memory is enough of it. */
static const struct rival rivals[] = {
	{"gmm_frames", N_FRAMES, ours_reset, ours_get_many, ours_put_many, ours_repeat},
	{"malloc", N_FRAMES / 4, malloc_reset, malloc_get_many, malloc_put_many, malloc_repeat},
	{"mutex+bitmap", N_FRAMES, map_reset, map_get_many, map_put_many, map_repeat},
};
#define N_RIVALS (sizeof(rivals) / sizeof(rivals[0]))
static unsigned n_rivals = N_RIVALS;

/* ---- Time and chance ---- */

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint64_t rng(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * UINT64_C(2685821657736338717);
}

static void shuffle(uint64_t *a, uint64_t n, uint64_t *seed)
{
	for (uint64_t i = n; i > 1; i--) {
		uint64_t j = rng(seed) % i, x = a[i - 1];

		a[i - 1] = a[j];
		a[j] = x;
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *a, unsigned n)
{
	qsort(a, n, sizeof(*a), by_value);
	return a[n / 2];
}

/* Two uncontended compare-and-swaps on a cached line. */
static double floor_ns(void)
{
	uint64_t word __attribute__((aligned(128))) = 0;
	double t = cpu_ns();

	for (unsigned i = 0; i < 500000; i++) {
		uint64_t old = __atomic_load_n(&word, __ATOMIC_RELAXED);

		__atomic_compare_exchange_n(&word, &old, old + 1, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED);
	}
	return (cpu_ns() - t) / 500000 * 2;
}

/* ---- A row ---- */

enum shape { BULK, REPEAT, RANDOM };

struct work {
	const struct rival *rival;
	enum shape shape;
	unsigned percent, batch, n_threads;
	pthread_barrier_t barrier;
};

struct worker {
	struct work *work;
	unsigned caller;
	uint64_t seed;
	double ns, floor; /* a frame got and put; two compare-and-swaps, all threads at it */
};

static void get_many(const struct work *w, unsigned caller, uint64_t n, uint64_t *frames)
{
	w->rival->get_many(caller, w->batch, n, frames);
}

static void put_many(const struct work *w, unsigned caller, uint64_t n, const uint64_t *frames)
{
	w->rival->put_many(caller, w->batch, n, frames);
}

/* Fills this thread's share and returns at random what is too much; how many are held. */
static uint64_t fill(struct worker *me, uint64_t share, uint64_t *held)
{
	const struct work *w = me->work;
	uint64_t keep = share * w->percent / 100;

	if (w->shape == BULK)
		return 0;
	get_many(w, me->caller, share, held);
	pthread_barrier_wait(&me->work->barrier);
	shuffle(held, share, &me->seed);
	put_many(w, me->caller, share - keep, held + keep);
	return keep;
}

static double run_bulk(struct worker *me, uint64_t share, uint64_t *held)
{
	double t = cpu_ns();

	for (int i = 0; i < 4; i++) {
		get_many(me->work, me->caller, share, held);
		put_many(me->work, me->caller, share, held);
	}
	return (cpu_ns() - t) / (double)share / 4;
}

static double run_repeat(struct worker *me)
{
	const struct work *w = me->work;
	unsigned n = 400000 / w->batch;
	double t = cpu_ns();

	w->rival->repeat(me->caller, w->batch, n);
	return (cpu_ns() - t) / ((double)n * w->batch);
}

/* A part of the held frames goes and comes; 1 % of all of them in each step. */
static double run_random(struct worker *me, uint64_t share, uint64_t *held, uint64_t n_held)
{
	uint64_t n = share / 100, total = 0;
	double ns = 0;

	if (!n_held) {
		n_held = n;
		get_many(me->work, me->caller, n, held);
	}
	for (unsigned i = 0; i < 50; i++) {
		double t;

		for (uint64_t j = 0; j < n; j++) {
			uint64_t k = j + rng(&me->seed) % (n_held - j), x = held[j];

			held[j] = held[k];
			held[k] = x;
		}
		t = cpu_ns();
		put_many(me->work, me->caller, n, held);
		get_many(me->work, me->caller, n, held);
		ns += cpu_ns() - t;
		total += n;
	}
	return ns / (double)total;
}

static void *worker_main(void *arg)
{
	struct worker *me = arg;
	struct work *w = me->work;
	uint64_t share = w->rival->n_frames / w->n_threads, n_held;
	uint64_t *held = malloc(share * sizeof(*held));
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(me->caller, &set);
	sched_setaffinity(0, sizeof(set), &set); /* better, not needed */
	if (!held)
		die("out of memory");
	memset(held, 0, share * sizeof(*held));
	n_held = fill(me, share, held);
	pthread_barrier_wait(&w->barrier);
	me->floor = floor_ns();
	pthread_barrier_wait(&w->barrier);
	if (w->shape == BULK)
		me->ns = run_bulk(me, share, held);
	else if (w->shape == REPEAT)
		me->ns = run_repeat(me);
	else
		me->ns = run_random(me, share, held, n_held);
	if (w->shape == RANDOM && !n_held)
		n_held = share / 100;
	put_many(w, me->caller, n_held, held);
	free(held);
	return NULL;
}

/* The time of an operation; its ratio to the floor, and the floor. */
static double run_once(struct work *w, uint64_t seed, double *ratio, double *floor)
{
	struct worker workers[MAX_THREADS];
	pthread_t threads[MAX_THREADS];
	double ns = 0;

	*ratio = *floor = 0;
	w->rival->reset(w->rival);
	pthread_barrier_init(&w->barrier, NULL, w->n_threads);
	for (unsigned i = 0; i < w->n_threads; i++) {
		workers[i] = (struct worker){w, i, seed * 77 + i * 1234567 + 1, 0, 0};
		if (pthread_create(&threads[i], NULL, worker_main, &workers[i]))
			die("cannot start a thread");
	}
	for (unsigned i = 0; i < w->n_threads; i++) {
		pthread_join(threads[i], NULL);
		ns += workers[i].ns / w->n_threads;
		*ratio += workers[i].ns / workers[i].floor / w->n_threads;
		*floor += workers[i].floor / w->n_threads;
	}
	pthread_barrier_destroy(&w->barrier);
	return ns;
}

static const unsigned percents[] = {0, 50, 90, 99}, batches[] = {1, 64, 512};
static double found[3][4][3][MAX_THREADS]; /* our ratios: shape, percent, batch, threads */
static double floors[MAX_THREADS];

static void run_row(enum shape shape, unsigned p, unsigned b, unsigned n_threads)
{
	static const char *const names[] = {"bulk", "repeat", "random"};
	double ns[N_RIVALS][N_ROUNDS], ratio[N_RIVALS][N_ROUNDS], floor[N_RIVALS][N_ROUNDS];

	for (unsigned round = 0; round < N_ROUNDS; round++)
		for (unsigned i = 0; i < n_rivals; i++) {
			struct work w = {&rivals[i], shape,	percents[p],
					 batches[b], n_threads, {{0}}};

			ns[i][round] = run_once(&w, round + 1, &ratio[i][round], &floor[i][round]);
		}
	printf("%-7s %3u%% %5u %8u", names[shape], percents[p], batches[b], n_threads);
	for (unsigned i = 0; i < n_rivals; i++)
		printf("  %9.2f %6.2f", median(ns[i], N_ROUNDS), median(ratio[i], N_ROUNDS));
	printf("\n");
	fflush(stdout);
	found[shape][p][b][n_threads - 1] = median(ratio[0], N_ROUNDS);
	floors[n_threads - 1] = median(floor[0], N_ROUNDS);
}

static void goal(const char *what, double is, double at_most)
{
	printf("%-62s %5.2f  (at most %.2f)\n", what, is, at_most);
}

/* What the rows come to. */
static void print_goals(unsigned n_batches)
{
	double one = found[REPEAT][0][0][0];

	printf("\ntwo threads' own compare-and-swaps take %.2f of one's\n", floors[1] / floors[0]);
	goal("get+put pair, of two compare-and-swaps", one, 1.5);
	goal("  two threads, of one", found[REPEAT][0][0][1] / one, 1.1);
	goal("  99 % full, of empty", found[REPEAT][3][0][0] / one, 2);
	goal("random, 99 % full, of empty", found[RANDOM][3][0][0] / found[RANDOM][0][0][0], 2);
	if (n_batches < 2)
		return;
	goal("batches of 64, of one a frame", found[REPEAT][0][1][0] / one, 0.25);
	goal("  two threads, of one", found[REPEAT][0][1][1] / found[REPEAT][0][1][0], 1.1);
	goal("  99 % full, of empty", found[REPEAT][3][1][0] / found[REPEAT][0][1][0], 2);
	goal("  random, 99 % full, of empty", found[RANDOM][3][1][0] / found[RANDOM][0][1][0], 2);
}

/* ---- Fragmentation ---- */

/* `percent` of all frames are held; 60 times `part` percent of those go and as many come. An area
 * that gets nothing any more has lost all it held after 60 rounds with a chance of 0.6 where a
 * tenth goes each time: that is then the best that can be had from frames scattered over all areas.
 */
static double fragment(unsigned percent, unsigned part, bool scattered, unsigned batch,
		       uint64_t seed)
{
	struct work w = {&rivals[0], RANDOM, percent, batch, 1, {{0}}};
	uint64_t *held = malloc(N_FRAMES * sizeof(*held)), keep = N_FRAMES * percent / 100;
	uint64_t ideal = (N_FRAMES - keep) / GMM_FRAMES_HUGE, n_free;

	if (!held)
		die("out of memory");
	ours_reset(w.rival);
	get_many(&w, 0, scattered ? N_FRAMES : keep, held);
	shuffle(held, scattered ? N_FRAMES : keep, &seed);
	if (scattered)
		put_many(&w, 0, N_FRAMES - keep, held + keep);
	for (unsigned i = 0; i < 60; i++) {
		shuffle(held, keep, &seed);
		put_many(&w, 0, keep * part / 100, held);
		get_many(&w, 0, keep * part / 100, held);
	}
	n_free = gmm_frames_n_free_huge(ours);
	free(held);
	return 100.0 * (double)n_free / (double)ideal;
}

static void run_fragmentation(unsigned percent, unsigned part, bool scattered, unsigned batch)
{
	double sum = 0, worst = 100;

	for (unsigned i = 0; i < 5; i++) {
		double x = fragment(percent, part, scattered, batch, 42 + i * 1000);

		sum += x;
		worst = x < worst ? x : worst;
	}
	printf("fragmentation: %u%% full, %u%% of it in turn, batch %2u, %-18s: "
	       "%5.1f %% of the ideal number of huge frames are free, %.1f at worst\n",
	       percent, part, batch, scattered ? "scattered at first" : "filled in order", sum / 5,
	       worst);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	unsigned n_batches = argc > 1 ? (unsigned)atoi(argv[1]) : 3;

	if (n_batches < 1 || n_batches > 3)
		die("usage: bench_frames [1|2|3 [anything]]");
	if (argc > 2)
		n_rivals = 1;
	printf("ns a frame got and put, and its ratio to two compare-and-swaps (%.2f ns)\n",
	       floor_ns());
	printf("%-7s %4s %5s %8s", "row", "full", "batch", "threads");
	for (unsigned i = 0; i < n_rivals; i++)
		printf("  %16s", rivals[i].name);
	printf("\n");
	for (unsigned t = 1; t <= MAX_THREADS; t++)
		for (unsigned b = 0; b < n_batches; b++) {
			run_row(BULK, 0, b, t);
			for (unsigned p = 0; p < 4; p++)
				run_row(REPEAT, p, b, t);
			for (unsigned p = 0; p < 4; p++)
				run_row(RANDOM, p, b, t);
		}
	print_goals(n_batches);
	for (unsigned percent = 50; percent <= 90; percent += 40)
		for (unsigned part = 10; part <= 20; part += 10)
			for (unsigned b = 0; b < 2; b++) {
				run_fragmentation(percent, part, false, batches[b]);
				run_fragmentation(percent, part, true, batches[b]);
			}
	return 0;
}
