/* The frame of benchmarks: see harness.h. */
#include "harness.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "report.h"
#include "syscalls.h"

#define RUNS_MIN    9u
#define RUNS_QUICK  3u
#define RUNS_MAX    101u
#define NUMBERS_MAX 64u

struct options {
	unsigned n_runs;
	bool quick, list;
	uint64_t numbers; /* bit i: row i is wanted */
	const char *json;
};

void bench_die(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "bench: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

void bench_unavailable(const char *format, ...)
{
	va_list args;

	printf("skipped: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	exit(77);
}

void bench_count(struct bench_sample *s, const char *name, uint64_t n)
{
	if (n && s->n_counts < BENCH_COUNTS)
		s->counts[s->n_counts++] = (struct bench_count){name, (double)n};
}

/* ---- Around what is measured ---- */

static struct rusage usage_before;
static struct syscalls syscalls_before;

void bench_begin(struct bench_sample *s)
{
	getrusage(RUSAGE_SELF, &usage_before);
	syscalls_get(&syscalls_before);
	s->began_ns = bench_now_ns();
}

void bench_end(struct bench_sample *s)
{
	struct syscalls after;
	struct rusage usage;

	s->elapsed_ns = bench_now_ns() - s->began_ns;
	syscalls_get(&after);
	getrusage(RUSAGE_SELF, &usage);
	for (unsigned i = 0; i < SYSCALLS_N; i++)
		bench_count(s, syscalls_name(i), after.n[i] - syscalls_before.n[i]);
	bench_count(s, "switches", (uint64_t)(usage.ru_nvcsw - usage_before.ru_nvcsw));
	bench_count(s, "preempted", (uint64_t)(usage.ru_nivcsw - usage_before.ru_nivcsw));
	bench_count(s, "host_faults", (uint64_t)(usage.ru_minflt - usage_before.ru_minflt));
}

/* ---- Options ---- */

__attribute__((noreturn)) static void usage(const char *name, int status)
{
	fprintf(status ? stderr : stdout,
		"usage: %s [--rows N,N,...] [--runs N] [--quick] [--json FILE] [--list]\n"
		"  --rows N,...   only these rows (also: --row N)\n"
		"  --runs N       runs of each side, in turns: 9, and no fewer unless --quick is "
		"given\n"
		"  --quick        small sizes, 3 runs: to see that it works, not how fast\n"
		"  --json FILE    put the results into FILE, beside those of other programs\n"
		"  --list         the rows' numbers and titles\n",
		name);
	exit(status);
}

static uint64_t parse_rows(const char *text)
{
	uint64_t numbers = 0;
	char *end;

	do {
		unsigned long n = strtoul(text, &end, 10);

		if (end == text || n >= NUMBERS_MAX || (*end && *end != ','))
			bench_die("--rows: '%s' is no list of row numbers", text);
		numbers |= UINT64_C(1) << n;
		text = end + 1;
	} while (*end);
	return numbers;
}

static struct options parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"rows", required_argument, NULL, 'r'}, {"row", required_argument, NULL, 'r'},
		{"runs", required_argument, NULL, 'n'}, {"quick", no_argument, NULL, 'q'},
		{"json", required_argument, NULL, 'j'}, {"list", no_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},	{NULL, 0, NULL, 0}};
	struct options o = {0};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		if (c == 'r')
			o.numbers |= parse_rows(optarg);
		else if (c == 'n')
			o.n_runs = (unsigned)atoi(optarg);
		else if (c == 'q')
			o.quick = true;
		else if (c == 'j')
			o.json = optarg;
		else if (c == 'l')
			o.list = true;
		else
			usage(argv[0], c == 'h' ? 0 : 64);
	}
	if (optind < argc || o.n_runs > RUNS_MAX)
		usage(argv[0], 64);
	if (!o.n_runs)
		o.n_runs = o.quick ? RUNS_QUICK : RUNS_MIN;
	return o;
}

/* ---- Rounds ---- */

static void run_side(bench_run_fn *run, const struct bench_row *row, bool quick,
		     struct bench_sample *out)
{
	*out = (struct bench_sample){0};
	run(row, quick, out);
}

static void run_row(const struct bench_row *row, const struct options *o)
{
	struct bench_sample *ours = calloc(o->n_runs, sizeof(*ours));
	struct bench_sample *floor = calloc(o->n_runs, sizeof(*floor));
	const unsigned n_warm = o->quick ? 0 : 1;

	if (!ours || !floor)
		bench_die("out of memory");
	for (unsigned round = 0; round < o->n_runs + n_warm; round++) {
		unsigned at = round < n_warm ? 0 : round - n_warm;

		if (round % 2)
			run_side(row->floor, row, o->quick, &floor[at]);
		run_side(row->ours, row, o->quick, &ours[at]);
		if (round % 2 == 0)
			run_side(row->floor, row, o->quick, &floor[at]);
	}
	report_row(row, ours, floor, o->n_runs, o->quick, o->json);
	free(ours);
	free(floor);
}

int bench_main(int argc, char **argv, const struct bench_row *rows, unsigned n_rows)
{
	struct options o = parse(argc, argv);
	bool is_first = true;

	for (unsigned i = 0; i < n_rows; i++) {
		if (o.numbers && !(o.numbers >> rows[i].number & 1))
			continue;
		if (o.list) {
			printf("%u\t%s%s%s\n", rows[i].number, rows[i].title,
			       rows[i].variant ? ": " : "", rows[i].variant ? rows[i].variant : "");
			continue;
		}
		if (is_first)
			report_head();
		is_first = false;
		run_row(&rows[i], &o);
	}
	return 0;
}
