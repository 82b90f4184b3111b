/* What a run looks like to a person. */
#include "vmm/cmd/report.h"

#include <inttypes.h>

#include "vmm/cmd/size.h"

static uint64_t n_faults(const struct gmm_stats *s)
{
	return s->faults.demand_zero + s->faults.swap_in + s->faults.rescue;
}

static uint64_t per_second(uint64_t now, uint64_t then, uint64_t ns)
{
	return ns ? (uint64_t)((double)(now - then) * 1e9 / (double)ns) : 0;
}

const char *report_progress(struct report *r, const struct run_stats *now,
			    char line[REPORT_LINE_BYTES])
{
	char resident[SIZE_TEXT_BYTES], limit[SIZE_TEXT_BYTES], swapped[SIZE_TEXT_BYTES];
	char rate[SIZE_TEXT_BYTES], balloon[SIZE_TEXT_BYTES];
	const struct gmm_stats *s = &now->mm;
	const uint64_t faults = n_faults(s), bytes = s->io.read_bytes + s->io.written_bytes;
	const uint64_t ns = r->at_ns ? now->wall_ns - r->at_ns : 0;

	snprintf(line, REPORT_LINE_BYTES,
		 "%s of %s resident | %s swapped | %" PRIu64
		 " faults/s | %s/s swap I/O | balloon %s",
		 size_format(s->resident_bytes, resident), size_format(s->limit_bytes, limit),
		 size_format(s->swapped_bytes, swapped), per_second(faults, r->faults, ns),
		 size_format(per_second(bytes, r->bytes, ns), rate),
		 size_format(s->ballooned_bytes, balloon));
	*r = (struct report){.at_ns = now->wall_ns, .faults = faults, .bytes = bytes};
	return line;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

/* A bar of `peak` against `limit`, both within `memory`. */
static void print_bar(FILE *to, uint64_t peak, uint64_t limit, uint64_t memory)
{
	enum { WIDTH = 48 };
	const double scale = memory ? (double)WIDTH / (double)memory : 0;
	const int filled = (int)((double)peak * scale + 0.5),
		  allowed = (int)((double)limit * scale + 0.5);

	fputs("  [", to);
	for (int i = 0; i < WIDTH; i++)
		fputc(i < filled ? '#' : i < allowed ? '-' : '.', to);
	fputs("]  # used at most, - allowed, . the rest of its memory\n", to);
}

static void print_faults(FILE *to, const struct run_stats *s)
{
	const struct gmm_stats *m = &s->mm;

	fprintf(to,
		"  faults     %10" PRIu64 " first touch, %" PRIu64 " swapped in, %" PRIu64
		" rescued, %" PRIu64 " prefetched\n",
		m->faults.demand_zero, m->faults.swap_in, m->faults.rescue, m->faults.prefetched);
	if (s->guest_faults.minor || s->guest_faults.major || s->guest_faults.invalid)
		fprintf(to,
			"  in guest   %10" PRIu64 " minor, %" PRIu64 " major, %" PRIu64
			" invalid\n",
			s->guest_faults.minor, s->guest_faults.major, s->guest_faults.invalid);
	if (m->huge.filled || m->huge.gathered)
		fprintf(to,
			"  2M frames  %10" PRIu64 " filled, %" PRIu64 " evicted as one, %" PRIu64
			" split, %" PRIu64 " put together\n",
			m->huge.filled, m->huge.taken, m->huge.split, m->huge.gathered);
	fprintf(to, "  latency    %10.1f us median, %.1f us 99th percentile\n",
		(double)m->faults.p50_ns / 1e3, (double)m->faults.p99_ns / 1e3);
}

static void print_reclaim(FILE *to, const struct gmm_stats *m)
{
	char written[SIZE_TEXT_BYTES], read[SIZE_TEXT_BYTES];

	fprintf(to,
		"  evictions  %10" PRIu64 " pages: %" PRIu64 " written, %" PRIu64 " clean, %" PRIu64
		" zero, %" PRIu64 " dropped\n",
		m->reclaim.evicted, m->reclaim.written, m->reclaim.clean, m->reclaim.zero,
		m->reclaim.dropped);
	if (m->free_taken)
		fprintf(to,
			"  free       %10" PRIu64 " pages dropped that were free in the guest\n",
			m->free_taken);
	fprintf(to, "  swap       %10s written, %s read back%s\n",
		size_format(m->io.written_bytes, written), size_format(m->io.read_bytes, read),
		m->io.errors ? ", WITH ERRORS" : "");
}

void report_summary(FILE *to, const struct run_stats *s)
{
	char memory[SIZE_TEXT_BYTES], limit[SIZE_TEXT_BYTES], peak[SIZE_TEXT_BYTES];
	const struct gmm_stats *m = &s->mm;

	fprintf(to, "\n  guestmm: exit status %d after %.2f s (up after %.0f ms)\n", s->exit_status,
		(double)s->wall_ns / 1e9, (double)s->boot_ns / 1e6);
	print_bar(to, m->resident_peak_bytes, m->limit_bytes, m->memory_bytes);
	fprintf(to,
		"  memory     %10s for the guest, %s allowed, %s used at most (%.0f %% of the "
		"limit)\n",
		size_format(m->memory_bytes, memory), size_format(m->limit_bytes, limit),
		size_format(m->resident_peak_bytes, peak),
		percent(m->resident_peak_bytes, m->limit_bytes));
	print_faults(to, s);
	print_reclaim(to, m);
	fprintf(to,
		"  stalled    %10.2f s some, %.2f s all vCPUs waited for memory (engine %s, policy "
		"%s)\n\n",
		(double)m->stall_some_ns / 1e9, (double)m->stall_full_ns / 1e9, m->engine,
		m->policy ? m->policy : "none");
}
