/* What is told of a row: lines of a table on standard output, and an object in a JSON file. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "harness.h"

#define REPORT_SCHEMA "guestmm-bench-1"

void report_head(void);

/* n runs of each side. json: the file to put the row into, in place of an older one of the same
 * row, variant and metric; NULL: none. */
void report_row(const struct bench_row *row, const struct bench_sample *ours,
		const struct bench_sample *floor, unsigned n, bool quick, const char *json);

#endif
