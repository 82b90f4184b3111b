/* The guest's malloc under threads: blocks cross from one to another, threads come and go,
 * and all of them trim. What a thread finds in a block is what another one wrote. */
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "guest/malloc/malloc.h"
#include "unit.h"

#define N_THREADS 4
#define N_SLOTS	  512
#define N_OPS	  60000

struct block {
	uint64_t n, seed;
	unsigned char bytes[];
};

static struct block *slots[N_SLOTS];
static uint64_t n_wrong;

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static size_t random_size(uint64_t *random)
{
	uint64_t kind = random_next(random) % 1000;

	if (kind < 2)
		return (1 << 20) + random_next(random) % 65536;
	if (kind < 30)
		return 33000 + random_next(random) % 60000;
	return 1 + random_next(random) % 2000;
}

static struct block *block_new(uint64_t *random)
{
	size_t n = random_size(random);
	struct block *block = gm_malloc(sizeof(*block) + n);

	block->n = n;
	block->seed = random_next(random);
	for (size_t i = 0; i < n; i += 1 + n / 64)
		block->bytes[i] = (unsigned char)(block->seed + i);
	return block;
}

static void block_end(struct block *block)
{
	if (!block)
		return;
	for (size_t i = 0; i < block->n; i += 1 + block->n / 64)
		if (block->bytes[i] != (unsigned char)(block->seed + i))
			__atomic_add_fetch(&n_wrong, 1, __ATOMIC_RELAXED);
	gm_free(block);
}

static void *exchange_blocks(void *arg)
{
	uint64_t random = 88172645463325252u + (uintptr_t)arg * 7919;

	for (unsigned i = 0; i < N_OPS; i++) {
		struct block *block = block_new(&random);
		uint64_t slot = random_next(&random) % N_SLOTS;

		if (random_next(&random) % 8 == 0)
			block = gm_realloc(block, sizeof(*block) + block->n);
		block_end(__atomic_exchange_n(&slots[slot], block, __ATOMIC_ACQ_REL));
		if (i % 20000 == 10000)
			gm_malloc_trim(1 << 20);
		if (i % 30000 == 15000)
			gm_malloc_thread_done();
	}
	gm_malloc_thread_done();
	return NULL;
}

START_TEST(blocks_cross_threads_unharmed)
{
	struct gm_malloc_stats stats;
	pthread_t threads[N_THREADS];

	for (uintptr_t i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, exchange_blocks, (void *)i), 0);
	for (unsigned i = 0; i < N_THREADS; i++) {
		gm_malloc_stats(&stats); /* while they run */
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	}
	for (unsigned i = 0; i < N_SLOTS; i++)
		block_end(slots[i]);
	ck_assert_uint_eq(n_wrong, 0);
	gm_malloc_stats(&stats);
	ck_assert_uint_eq(stats.live_blocks, 0);
	ck_assert_uint_eq(stats.live_bytes, 0);
}
END_TEST

static void *allocate_some(void *arg)
{
	for (unsigned i = 0; i < 200; i++) {
		void *p = gm_malloc(1 + i * 7);

		memset(p, (int)(uintptr_t)arg, 1 + i * 7);
		gm_free(p);
	}
	gm_malloc_thread_done();
	return NULL;
}

START_TEST(caches_of_ended_threads_are_used_again)
{
	struct gm_malloc_stats first, last;
	pthread_t thread;

	for (uintptr_t i = 0; i < 200; i++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, allocate_some, (void *)i), 0);
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
		if (i == 0)
			gm_malloc_stats(&first);
	}
	gm_malloc_stats(&last);
	ck_assert_uint_eq(last.mapped_bytes, first.mapped_bytes);
	ck_assert_uint_eq(last.live_blocks, 0);
}
END_TEST

UNIT_MAIN_TIMEOUT("malloc_threads", 100, blocks_cross_threads_unharmed,
		  caches_of_ended_threads_are_used_again)
