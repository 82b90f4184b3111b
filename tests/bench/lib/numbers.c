/* Time, chance and order statistics of the benchmarks: see harness.h. */
#include <stdlib.h>
#include <time.h>
#include <x86intrin.h>

#include "harness.h"

uint64_t bench_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The counter's rate, measured once over 20 ms: good to some ppm. */
double bench_ticks_ns(double ticks)
{
	static double ns_a_tick;

	if (ns_a_tick == 0) {
		uint64_t began = bench_now_ns(), began_ticks = __rdtsc(), now;

		do
			now = bench_now_ns();
		while (now - began < 20000000);
		ns_a_tick = (double)(now - began) / (double)(__rdtsc() - began_ticks);
	}
	return ticks * ns_a_tick;
}

uint64_t bench_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * UINT64_C(2685821657736338717);
}

void bench_shuffle(uint32_t *list, uint64_t n, uint64_t seed)
{
	for (uint64_t i = n; i > 1; i--) {
		uint64_t j = bench_random(&seed) % i;
		uint32_t x = list[i - 1];

		list[i - 1] = list[j];
		list[j] = x;
	}
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

double bench_percentile(uint32_t *log, uint64_t n, double share)
{
	qsort(log, n, sizeof(*log), by_value);
	return log[(uint64_t)((double)(n - 1) * share)];
}

double bench_mean(const uint32_t *log, uint64_t n)
{
	double sum = 0;

	for (uint64_t i = 0; i < n; i++)
		sum += log[i];
	return sum / (double)n;
}
