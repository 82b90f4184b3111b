/* Verdicts: see verdict.h. The criteria are the library's (struct gmm_stats). */
#include "verdict.h"

#include <inttypes.h>
#include <stdio.h>

static uint64_t whole_mib(uint64_t bytes)
{
	return (bytes + (1 << 20) - 1) >> 20;
}

static uint64_t seconds(uint64_t ns)
{
	return (ns + 500000000) / 1000000000;
}

char *verdict_text(const struct gmm_stats *mm, char text[VERDICT_BYTES])
{
	const uint32_t percent = (mm->thrash.stalled_permille + 5) / 10;

	if (mm->thrash.on)
		snprintf(text, VERDICT_BYTES,
			 "thrashing: in the last %" PRIu64 " s the guest waited for memory %" PRIu32
			 " %% of the time; %" PRIu64
			 " pages came back that had left a moment ago; with about %" PRIu64
			 " MiB more it would stop",
			 seconds(mm->thrash.window_ns), percent, mm->thrash.refaults,
			 whole_mib(mm->thrash.more_bytes));
	else
		snprintf(text, VERDICT_BYTES,
			 "not thrashing: in the last %" PRIu64
			 " s the guest waited for memory %" PRIu32 " %% of the time",
			 seconds(mm->thrash.window_ns), percent);
	return text;
}

/* "with 32 MiB it would refault 1881 times a second" */
static int add_point(const struct gmm_stats *mm, uint64_t limit_bytes, const char *before,
		     char *text, size_t room)
{
	for (uint32_t i = 0; i < mm->working_set.n_points; i++)
		if (mm->working_set.curve[i].limit_bytes == limit_bytes)
			return snprintf(text, room,
					"%s%" PRIu64 " times a second with %" PRIu64 " MiB", before,
					mm->working_set.curve[i].refaults_per_s,
					whole_mib(limit_bytes));
	return 0;
}

char *verdict_working_set(const struct gmm_stats *mm, char text[VERDICT_BYTES])
{
	uint64_t limit = mm->limit_bytes;
	int n;

	text[0] = '\0';
	if (!mm->working_set.on)
		return text;
	n = snprintf(text, VERDICT_BYTES, "%" PRIu64 " MiB are in use",
		     whole_mib(mm->working_set.bytes));
	n += add_point(mm, limit / 2, "; it would refault ", text + n, VERDICT_BYTES - (size_t)n);
	n += add_point(mm, limit, ", ", text + n, VERDICT_BYTES - (size_t)n);
	add_point(mm, limit * 2, ", ", text + n, VERDICT_BYTES - (size_t)n);
	return text;
}

char *verdict_past(const struct gmm_stats *mm, char text[VERDICT_BYTES])
{
	text[0] = '\0';
	if (mm->thrash.total_ns)
		snprintf(text, VERDICT_BYTES,
			 "it was thrashing for %" PRIu64 " s, waiting for pages that had left a "
			 "moment ago; at most about %" PRIu64 " MiB more would have stopped that",
			 seconds(mm->thrash.total_ns), whole_mib(mm->thrash.most_more_bytes));
	return text;
}
