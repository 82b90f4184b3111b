/* The frame of a benchmark: rows, each of which is run against its floor, in turns.
 *
 * A program has a table of rows and calls bench_main(). A row is measured by two functions, ours
 * and the floor's; one call of either is one run, on fresh memory, and gives one value for each
 * of the row's metrics. Runs alternate: ours first in one round, the floor first in the next; the
 * first round is thrown away. What is compared are medians.
 */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

#define BENCH_METRICS 4u
#define BENCH_COUNTS  24u

struct bench_metric {
	const char *name, *unit;
	double target; /* of ours / floor; 0: for information */
	char relation; /* '<': at most the target, '>': at least */
};

struct bench_count {
	const char *name;
	double n;
};

/* One run. */
struct bench_sample {
	double value[BENCH_METRICS];
	struct bench_count counts[BENCH_COUNTS];
	unsigned n_counts;
	uint64_t began_ns, elapsed_ns; /* of bench_begin() to bench_end() */
};

struct bench_row;

typedef void bench_run_fn(const struct bench_row *row, bool quick, struct bench_sample *out);

struct bench_row {
	unsigned number;
	const char *title, *variant; /* variant: NULL where there is but one */
	const char *against;	     /* what the floor is */
	struct bench_metric metrics[BENCH_METRICS];
	bench_run_fn *ours, *floor;
	const void *arg; /* the row's own */
};

/* A program's main(): options as in its usage text. Returns the exit status: 0 whether or not
 * targets are met. */
int bench_main(int argc, char **argv, const struct bench_row *rows, unsigned n_rows);

/* Around what is measured: time, and the system calls and switches of the whole process. */
void bench_begin(struct bench_sample *s);
void bench_end(struct bench_sample *s);

void bench_count(struct bench_sample *s, const char *name, uint64_t n);

uint64_t bench_now_ns(void);

/* Nanoseconds for so many ticks of the time stamp counter. */
double bench_ticks_ns(double ticks);

/* Chance that is the same in every run. */
uint64_t bench_random(uint64_t *state);
void bench_shuffle(uint32_t *list, uint64_t n, uint64_t seed);

/* The value that `share` (0 to 1) of all are not above. Sorts the log. */
double bench_percentile(uint32_t *log, uint64_t n, double share);
double bench_mean(const uint32_t *log, uint64_t n);

/* Ends the program with a message: 1, or 77 where this machine cannot run it. */
__attribute__((noreturn, format(printf, 1, 2))) void bench_die(const char *format, ...);
__attribute__((noreturn, format(printf, 1, 2))) void bench_unavailable(const char *format, ...);

#endif
