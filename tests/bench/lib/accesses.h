/* Timed accesses to pages in random order, no two of which are neighbours. */
#ifndef BENCH_ACCESSES_H
#define BENCH_ACCESSES_H

#include "bare_vm.h"
#include "harness.h"

/* First come n_warm accesses that do not count: whatever is made on first use is made then. */
struct accesses {
	uint64_t n;
	struct guest_args warm, run; /* the caller may set what is stored or expected */
	uint32_t *log;		     /* of `run` */
};

/* Of every `apart` pages from `base` on, one; apart: even. */
void accesses_new(struct accesses *a, struct bare_vm *vm, uint64_t base, uint64_t n,
		  uint64_t n_warm, unsigned apart);

static inline uint64_t accesses_bytes(uint64_t n, uint64_t n_warm, unsigned apart)
{
	return (n + n_warm) * apart * BARE_PAGE;
}

/* Metrics 0, 1, 2: p50, mean, p99, in nanoseconds. Sorts the log. */
void accesses_result(struct accesses *a, struct bench_sample *out);

#endif
