/* Operations on the guest's malloc beside a naive oracle: a sorted list of the blocks that
 * ought to live. Shared by the model test, which draws the operations, and by the fuzzer,
 * which is given them. What differs ends the program by abort(), with words. */
#ifndef TESTS_MODEL_MALLOC_OPS_H
#define TESTS_MODEL_MALLOC_OPS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/malloc/malloc.h"

#define MODEL_BLOCKS 600u

struct model_block {
	unsigned char *p;
	size_t n;
	unsigned char seed;
};

struct model {
	struct model_block blocks[MODEL_BLOCKS]; /* by address */
	unsigned n_blocks;
	uint64_t live_bytes;
	uint64_t n_ops;
};

enum model_op {
	MODEL_MALLOC,
	MODEL_CALLOC,
	MODEL_ALIGNED,
	MODEL_FREE,
	MODEL_REALLOC,
	MODEL_TRIM,
	MODEL_TUNE,
	MODEL_FLUSH,
	MODEL_N_OPS
};

#define MODEL_CHECK(model, condition)                                                              \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "operation %llu: not so: %s\n",                            \
				(unsigned long long)(model)->n_ops, #condition);                   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static inline void model_fill(struct model_block *b)
{
	for (size_t i = 0; i < b->n; i++)
		b->p[i] = (unsigned char)(b->seed + i * 7);
}

static inline int model_holds(const struct model_block *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (b->p[i] != (unsigned char)(b->seed + i * 7))
			return 0;
	return 1;
}

/* Enters a block: its bytes must be nobody else's. */
static inline void model_add(struct model *m, struct model_block b)
{
	unsigned at = m->n_blocks;

	MODEL_CHECK(m, b.p != NULL && (uintptr_t)b.p % 16 == 0);
	MODEL_CHECK(m, gm_malloc_usable_size(b.p) == b.n);
	while (at > 0 && m->blocks[at - 1].p > b.p)
		at--;
	/* One byte at least lies between: the guard. */
	MODEL_CHECK(m, at == 0 || m->blocks[at - 1].p + m->blocks[at - 1].n < b.p);
	MODEL_CHECK(m, at == m->n_blocks || b.p + b.n < m->blocks[at].p);
	memmove(&m->blocks[at + 1], &m->blocks[at], (m->n_blocks - at) * sizeof(b));
	m->blocks[at] = b;
	m->n_blocks++;
	m->live_bytes += b.n;
}

static inline struct model_block model_remove(struct model *m, unsigned at)
{
	struct model_block b = m->blocks[at];

	m->n_blocks--;
	memmove(&m->blocks[at], &m->blocks[at + 1], (m->n_blocks - at) * sizeof(b));
	m->live_bytes -= b.n;
	return b;
}

/* `choice` picks a block, an alignment, a threshold; n is a size where one is needed. */
static inline void model_alloc(struct model *m, enum model_op op, size_t n, uint32_t choice)
{
	struct model_block b = {.n = n, .seed = (unsigned char)(choice >> 8)};
	size_t align = (size_t)1 << (choice % 17);

	if (m->n_blocks == MODEL_BLOCKS)
		return;
	if (op == MODEL_MALLOC) {
		b.p = gm_malloc(n);
	} else if (op == MODEL_CALLOC) {
		b.p = gm_calloc(n, 1);
		for (size_t i = 0; i < n; i++)
			MODEL_CHECK(m, b.p[i] == 0);
	} else {
		b.p = gm_aligned_alloc(align, n);
		MODEL_CHECK(m, (uintptr_t)b.p % align == 0);
	}
	model_fill(&b);
	model_add(m, b);
}

static inline void model_free(struct model *m, uint32_t choice)
{
	struct model_block b;

	if (!m->n_blocks)
		return;
	b = model_remove(m, choice % m->n_blocks);
	MODEL_CHECK(m, model_holds(&b, b.n));
	gm_free(b.p);
}

static inline void model_realloc(struct model *m, size_t n, uint32_t choice)
{
	struct model_block b;

	if (!m->n_blocks)
		return;
	n += n == 0;
	b = model_remove(m, choice % m->n_blocks);
	b.p = gm_realloc(b.p, n);
	MODEL_CHECK(m, b.p && model_holds(&b, b.n < n ? b.n : n));
	b.n = n;
	model_fill(&b);
	model_add(m, b);
}

static inline void model_tune(uint32_t choice)
{
	static const size_t mmap_thresholds[] = {4096, 20000, 100000, 1 << 20, 2 << 20};
	static const size_t trim_thresholds[] = {0, 1 << 16, 1 << 20, 8 << 20};
	static const size_t cache_bytes[] = {0, 64, 1024, 8192, 1 << 20};

	gm_mallopt(GM_MMAP_THRESHOLD, mmap_thresholds[choice % 5]);
	gm_mallopt(GM_TRIM_THRESHOLD, trim_thresholds[choice / 5 % 4]);
	gm_mallopt(GM_CACHE_BYTES, cache_bytes[choice / 20 % 5]);
}

static inline void model_op(struct model *m, enum model_op op, size_t n, uint32_t choice)
{
	m->n_ops++;
	switch (op) {
	case MODEL_MALLOC:
	case MODEL_CALLOC:
	case MODEL_ALIGNED:
		model_alloc(m, op, n, choice);
		return;
	case MODEL_FREE:
		model_free(m, choice);
		return;
	case MODEL_REALLOC:
		model_realloc(m, n, choice);
		return;
	case MODEL_TRIM:
		gm_malloc_trim(choice % 3 ? 0 : n);
		return;
	case MODEL_TUNE:
		model_tune(choice);
		return;
	case MODEL_FLUSH:
		gm_malloc_thread_done();
		return;
	case MODEL_N_OPS:
		return;
	}
}

/* What malloc counts is what the oracle counts, and every block is whole. */
static inline void model_verify(struct model *m)
{
	struct gm_malloc_stats stats;

	gm_malloc_stats(&stats);
	MODEL_CHECK(m, stats.live_blocks == m->n_blocks);
	MODEL_CHECK(m, stats.live_bytes == m->live_bytes);
	MODEL_CHECK(m, stats.mapped_bytes >= m->live_bytes + stats.idle_bytes);
	for (unsigned i = 0; i < m->n_blocks; i++)
		MODEL_CHECK(m, model_holds(&m->blocks[i], m->blocks[i].n));
}

static inline void model_end(struct model *m)
{
	while (m->n_blocks)
		model_free(m, m->n_blocks / 2);
	model_verify(m);
	gm_malloc_trim(0);
}

#endif
