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
