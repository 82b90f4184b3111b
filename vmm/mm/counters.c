/* Counters: see counters.h. */
#include "counters.h"

#include <time.h>

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* Values below 8 have a bucket each; above, 3 bits below the highest one choose the step. */
static unsigned latency_bucket(uint64_t ns)
{
	unsigned octave;

	if (ns < 8)
		return (unsigned)ns;
	octave = 63u - (unsigned)__builtin_clzll(ns);
	return (octave - 2) * 8 + (unsigned)(ns >> (octave - 3) & 7);
}

/* The largest value of a bucket. */
static uint64_t latency_bound(unsigned bucket)
{
	unsigned octave = bucket / 8 + 2;

	if (bucket < 8)
		return bucket;
	return ((UINT64_C(8) + bucket % 8 + 1) << (octave - 3)) - 1;
}

void latency_at_least(struct latency *l, uint64_t ns)
{
	if (ns > l->max_ns)
		l->max_ns = ns;
}

void latency_add(struct latency *l, uint64_t ns)
{
	l->n[latency_bucket(ns)]++;
	l->n_all++;
	latency_at_least(l, ns);
}

uint64_t latency_at(const struct latency *l, unsigned per_mille)
{
	uint64_t want = (l->n_all * per_mille + 999) / 1000, seen = 0;

	if (l->n_all == 0)
		return 0;
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		seen += l->n[i];
		if (seen >= want && seen)
			return latency_bound(i) < l->max_ns ? latency_bound(i) : l->max_ns;
	}
	return l->max_ns;
}
