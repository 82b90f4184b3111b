/* malloc: random blocks of all sizes up to a sum of live bytes, then frees, reallocations
 * and new ones. Every byte of every block has a pattern of its own, verified when the
 * block is freed or moved, and for all live blocks once more at the end in random order.
 *
 * Sizes: each power of two up to a bound is as likely as any other, and the bound is such
 * that two thirds of the operations fill the memory; an eighth of it, where there is
 * room, are blocks of 1 to 3 MiB. What dies is mostly young, as in real programs: three
 * times in four the block is taken from the newest eighth.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "list.h"
#include "loads.h"
#include "pattern.h"
#include "random.h"

#define LARGE_MIN_BYTES (1ul << 20)

struct slot {
	uint64_t *block;
	uint64_t n;
	uint64_t seed;
};

struct worker {
	uint64_t target_bytes, n_ops, random;
	unsigned size_bits;    /* ordinary sizes are below 2^size_bits */
	uint64_t large_one_in; /* 0: never */
	struct slot *slots;
	uint64_t n_slots, n_room;
	uint64_t live_bytes, n_wrong, checksum;
	bool out_of_memory;
};

static uint64_t random_size(struct worker *w)
{
	unsigned bits;

	if (w->large_one_in && random_below(&w->random, w->large_one_in) == 0)
		return LARGE_MIN_BYTES + random_below(&w->random, 2 * LARGE_MIN_BYTES);
	bits = (unsigned)random_below(&w->random, w->size_bits);
	return (1ul << bits) + random_below(&w->random, 1ul << bits);
}

static void choose_sizes(struct worker *w)
{
	uint64_t n_fill = w->n_ops * 2 / 3 + 1, mean = w->target_bytes / n_fill;

	if (w->target_bytes >= 32 * LARGE_MIN_BYTES)
		w->large_one_in = n_fill / (w->target_bytes / 8 / (2 * LARGE_MIN_BYTES)) + 1;

	w->size_bits = 8;
	while (w->size_bits < 22 && 3 * (1ul << w->size_bits) / 2 / w->size_bits < mean)
		w->size_bits++;
	while (w->size_bits > 4 && (1ul << w->size_bits) > w->target_bytes / 4)
		w->size_bits--;
}

static void op_alloc(struct worker *w, uint64_t n)
{
	struct slot *slot;

	if (w->n_slots == w->n_room) {
		uint64_t room = w->n_room ? w->n_room * 2 : 1024;
		struct slot *grown = realloc(w->slots, room * sizeof(*grown));

		if (!grown) {
			w->out_of_memory = true;
			return;
		}
		w->slots = grown;
		w->n_room = room;
	}
	slot = &w->slots[w->n_slots];
	slot->n = n;
	slot->seed = random_next(&w->random);
	slot->block = malloc(n);
	if (!slot->block) {
		w->out_of_memory = true;
		return;
	}
	pattern_fill(slot->block, n, slot->seed);
	w->n_slots++;
	w->live_bytes += n;
}

static void op_free(struct worker *w, uint64_t i)
{
	struct slot *slot = &w->slots[i];

	w->n_wrong += !pattern_verify(slot->block, slot->n, slot->seed);
	free(slot->block);
	w->live_bytes -= slot->n;
	*slot = w->slots[--w->n_slots];
}

/* Grows or shrinks: what both sizes share must have survived. */
static void op_realloc(struct worker *w, uint64_t i, uint64_t n)
{
	struct slot *slot = &w->slots[i];
	uint64_t kept = slot->n < n ? slot->n : n;
	uint64_t *moved = realloc(slot->block, n);

	if (!moved) {
		w->out_of_memory = true;
		return;
	}
	w->n_wrong += !pattern_verify(moved, kept, slot->seed);
	w->live_bytes += n - slot->n;
	slot->block = moved;
	slot->n = n;
	slot->seed = random_next(&w->random);
	pattern_fill(moved, n, slot->seed);
}

static uint64_t random_slot(struct worker *w)
{
	uint64_t n = w->n_slots, young = n / 8 + 1;

	if (n == 0)
		return 0;
	if (random_below(&w->random, 4) == 0)
		return random_below(&w->random, n);
	return n - 1 - random_below(&w->random, young < n ? young : n);
}

static void op_random(struct worker *w)
{
	uint64_t n = random_size(w), choice = random_below(&w->random, 16);
	uint64_t i = random_slot(w);

	if (w->n_slots && w->live_bytes + n > w->target_bytes)
		op_free(w, i);
	else if (w->n_slots && choice == 0)
		op_free(w, i);
	else if (w->n_slots && choice < 4)
		op_realloc(w, i, n);
	else
		op_alloc(w, n);
}

static void worker_run(void *arg)
{
	struct worker *w = arg;

	choose_sizes(w);
	for (uint64_t i = 0; i < w->n_ops && !w->out_of_memory; i++)
		op_random(w);
}

/* Every live byte once more, in random order; then all is freed. */
static void worker_finish(void *arg)
{
	struct worker *w = arg;

	for (uint64_t i = 0; i < w->n_slots; i++) {
		const struct slot *slot = &w->slots[permute(i, w->n_slots, w->random)];

		w->n_wrong += !pattern_verify(slot->block, slot->n, slot->seed);
		w->checksum += pattern_checksum(slot->block, slot->n);
	}
	for (uint64_t i = 0; i < w->n_slots; i++)
		free(w->slots[i].block);
	free(w->slots);
}

static int report(const struct worker *workers, unsigned n, uint64_t n_ops, uint64_t ns)
{
	uint64_t live = 0, n_wrong = 0, checksum = 0;
	struct gm_malloc_stats stats;
	bool ok, out_of_memory = false;

	for (unsigned i = 0; i < n; i++) {
		live += workers[i].live_bytes;
		n_wrong += workers[i].n_wrong;
		checksum += workers[i].checksum;
		out_of_memory |= workers[i].out_of_memory;
	}
	if (out_of_memory)
		eprintf("malloc: out of memory at %lu live bytes\n", live);
	gm_malloc_stats(&stats);
	if (stats.live_blocks)
		eprintf("malloc: %lu blocks are left over after all were freed\n",
			stats.live_blocks);
	ok = !n_wrong && !out_of_memory && !stats.live_blocks;
	printf("malloc: ops=%lu ns_per_op=%lu live_bytes=%lu checksum=%016lx peak_mapped_bytes=%lu "
	       "wrong=%lu %s\n",
	       n_ops, ns / n_ops, live, checksum, stats.mapped_peak_bytes, n_wrong, verdict(ok));
	return ok ? 0 : EXIT_FAILED;
}

int malloc_load(uint64_t bytes, uint64_t n_ops, uint64_t seed, void (*before_verify)(void))
{
	static struct worker workers[WORKERS_MAX];
	unsigned n = workers_count();
	uint64_t start, ns;

	for (unsigned i = 0; i < n; i++)
		workers[i] = (struct worker){.target_bytes = bytes / n,
					     .n_ops = n_ops * (i + 1) / n - n_ops * i / n,
					     .random = mix64(seed + i * 0x100000001ul)};
	start = clock_ns();
	workers_run(n, worker_run, workers, sizeof(*workers));
	ns = clock_ns() - start;
	if (before_verify)
		before_verify();
	workers_run(n, worker_finish, workers, sizeof(*workers));
	return report(workers, n, n_ops, ns);
}

static int malloc_main(int argc, char **argv)
{
	uint64_t bytes = 64ul << 20, n_ops = 100000, seed = 1;
	const struct option options[] = {
		{"bytes", OPTION_SIZE, &bytes},
		{"ops", OPTION_NUMBER, &n_ops},
		{"seed", OPTION_NUMBER, &seed},
		{NULL, OPTION_FLAG, NULL},
	};

	options_read(&program_malloc, argc, argv, options);
	if (bytes < WORKERS_MAX * 1024 || !n_ops)
		usage_die(&program_malloc, "out of range",
			  "--bytes is 64K at least, --ops 1 at least");
	return malloc_load(bytes, n_ops, seed, NULL);
}

const struct program program_malloc = {"malloc", "[--bytes SIZE] [--ops N] [--seed S]",
				       malloc_main};
