/* What a run looks like to a person: the progress line and the summary at the end. */
#ifndef VMM_CMD_REPORT_H
#define VMM_CMD_REPORT_H

#include <stdio.h>

#include "vmm/ctl/stats.h"

struct report {
	uint64_t at_ns, faults, bytes; /* as of the line before */
};

#define REPORT_LINE_BYTES 256

/* Writes the progress line for `now`; rates are since the line before. */
const char *report_progress(struct report *r, const struct run_stats *now,
			    char line[REPORT_LINE_BYTES]);

void report_summary(FILE *to, const struct run_stats *s);

#endif
