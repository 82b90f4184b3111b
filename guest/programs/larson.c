/* larson: what a server does to malloc (after Larson and Krishnan, 1998): threads put new
 * blocks into slots that all share and free what they find there, most often a block of
 * another thread. Contents are verified when a block is freed. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "list.h"
#include "pattern.h"
#include "random.h"

#define SLOTS_PER_WORKER 2048u
#define SIZE_MIN_BYTES	 16u
#define SIZE_MAX_BYTES	 1024u
#define OPS_PER_LOOK	 4096u /* at the clock */

struct block {
	uint64_t n; /* bytes of the pattern that follows */
	uint64_t seed;
	uint64_t pattern[];
};

struct worker {
	struct block **slots;
	uint64_t n_slots, seed, ns;
	uint64_t n_ops, n_wrong;
	bool out_of_memory;
};

static struct block *block_new(uint64_t *random)
{
	uint64_t n = SIZE_MIN_BYTES + random_below(random, SIZE_MAX_BYTES - SIZE_MIN_BYTES);
	struct block *block = malloc(sizeof(*block) + n);

	if (!block)
		return NULL;
	block->n = n;
	block->seed = random_next(random);
	pattern_fill(block->pattern, n, block->seed);
	return block;
}

static uint64_t block_end(struct block *block)
{
	bool right;

	if (!block)
		return 0;
	right = block->n < SIZE_MAX_BYTES && pattern_verify(block->pattern, block->n, block->seed);
	free(block);
	return !right;
}

static void worker_run(void *arg)
{
	struct worker *w = arg;
	uint64_t random = w->seed, end = clock_ns() + w->ns;

	do {
		for (unsigned i = 0; i < OPS_PER_LOOK; i++) {
			struct block *block = block_new(&random);
			uint64_t slot = random_below(&random, w->n_slots);

			w->out_of_memory |= !block;
			w->n_wrong += block_end(
				__atomic_exchange_n(&w->slots[slot], block, __ATOMIC_ACQ_REL));
		}
		w->n_ops += OPS_PER_LOOK;
	} while (clock_ns() < end && !w->out_of_memory);
}

static int larson_main(int argc, char **argv)
{
	static struct worker workers[WORKERS_MAX];
	uint64_t seconds = 2, n_ops = 0, n_wrong = 0, start, ns;
	const struct option options[] = {{"seconds", OPTION_NUMBER, &seconds},
					 {NULL, OPTION_FLAG, NULL}};
	unsigned n = workers_count();
	struct gm_malloc_stats stats;
	struct block **slots;
	bool ok = true;

	options_read(&program_larson, argc, argv, options);
	if (!seconds || seconds > 86400)
		usage_die(&program_larson, "out of range", "--seconds is 1 to 86400");
	slots = calloc(n * SLOTS_PER_WORKER, sizeof(struct block *));
	for (unsigned i = 0; i < n; i++)
		workers[i] = (struct worker){.slots = slots,
					     .n_slots = n * SLOTS_PER_WORKER,
					     .seed = i + 1,
					     .ns = seconds * 1000000000u};
	start = clock_ns();
	if (slots)
		workers_run(n, worker_run, workers, sizeof(*workers));
	ns = clock_ns() - start;
	for (unsigned i = 0; i < n; i++) {
		n_ops += workers[i].n_ops;
		n_wrong += workers[i].n_wrong;
		ok &= !workers[i].out_of_memory;
	}
	for (uint64_t i = 0; slots && i < n * SLOTS_PER_WORKER; i++)
		n_wrong += block_end(slots[i]);
	free(slots);
	gm_malloc_stats(&stats);
	ok &= slots && !n_wrong && !stats.live_blocks;
	printf("larson: ops_per_s=%lu threads=%u wrong=%lu left_over=%lu %s\n",
	       n_ops * 1000000u / (ns / 1000 + 1), n, n_wrong, stats.live_blocks, verdict(ok));
	return ok ? 0 : EXIT_FAILED;
}

const struct program program_larson = {"larson", "[--seconds S]", larson_main};
