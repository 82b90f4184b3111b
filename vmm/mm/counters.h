/* Counters: what a space counts, and how long its faults took.
 *
 * Everything is under the space's lock. Latencies go to a histogram of 8 steps an octave
 * (at most 12.5 % error), 64 octaves: 4 KiB.
 */
#ifndef MM_COUNTERS_H
#define MM_COUNTERS_H

#include <guestmm/space.h>

#define LATENCY_BUCKETS 512u
#define LATENCY_SAMPLE	16u /* to time one takes a system call more */

struct latency {
	uint64_t n[LATENCY_BUCKETS];
	uint64_t n_all, max_ns;
};

void latency_add(struct latency *l, uint64_t ns);

/* One that is not counted, and took this long or a little longer. */
void latency_at_least(struct latency *l, uint64_t ns);

/* The latency that `per_mille` of all are not above; 0 where there is none. */
uint64_t latency_at(const struct latency *l, unsigned per_mille);

struct counters {
	uint64_t demand_zero, swap_in, rescue, prefetched, poison;
	uint64_t read_ahead, prefetch_used, prefetch_wasted;
	uint64_t evicted, zero, clean, written, dropped, busy, failed, free_taken;
	uint64_t n_served;	/* faults whose page was put in place */
	struct latency latency; /* of one in LATENCY_SAMPLE of these */
};

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t now_ns(void);

/* Nanoseconds of CPU time that the calling thread has used. */
uint64_t cpu_ns(void);

#endif
