/* What a run looks like to a person. */
#include "vmm/cmd/report.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "vmm/cmd/size.h"
#include "vmm/ctl/verdict.h"

#define REPORT_COUNT_BYTES 32
#define REPORT_COLUMNS	   80
#define WATCHED_NS	   UINT64_C(10000000000) /* sooner too little was seen to tell */
#define REPORT_INDENT	   13

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

enum { BAR_WIDTH = 40 };

static int bar_length(uint64_t part, uint64_t whole)
{
	const double share = whole ? (double)part / (double)whole : 0;
	const int n = (int)((share < 1 ? share : 1) * BAR_WIDTH + 0.5);

	return part && !n ? 1 : n;
}

/* A bar of what was used and what was allowed, as long as the memory. */
static void print_memory(FILE *to, const struct gmm_stats *m)
{
	char memory[SIZE_TEXT_BYTES], limit[SIZE_TEXT_BYTES], peak[SIZE_TEXT_BYTES];
	const int used = bar_length(m->resident_peak_bytes, m->memory_bytes);
	const int allowed = bar_length(m->limit_bytes, m->memory_bytes);

	fputs("  memory     [", to);
	for (int i = 0; i < BAR_WIDTH; i++)
		fputc(i < used ? '#' : i < allowed ? '-' : '.', to);
	fprintf(to, "]  %s\n", size_format(m->memory_bytes, memory));
	fprintf(to, "             # %s used at most, %.0f %% of the limit of %s\n",
		size_format(m->resident_peak_bytes, peak),
		percent(m->resident_peak_bytes, m->limit_bytes),
		size_format(m->limit_bytes, limit));
}

struct kind {
	const char *name;
	uint64_t n;
};

/* 1,234,567 */
static const char *count_format(uint64_t n, char text[REPORT_COUNT_BYTES])
{
	char digits[24];
	const int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);
	char *at = text;

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			*at++ = ',';
		*at++ = digits[i];
	}
	*at = '\0';
	return text;
}

static const char *time_format(uint64_t ns, char text[REPORT_COUNT_BYTES])
{
	const bool is_long = ns >= 1000000;

	snprintf(text, REPORT_COUNT_BYTES, "%.1f %s", (double)ns / (is_long ? 1e6 : 1e3),
		 is_long ? "ms" : "us");
	return text;
}

/* A line for each kind that occurred, with a bar as long as its part of them all. */
static void print_kinds(FILE *to, const char *what, const struct kind *kinds, unsigned n)
{
	char count[REPORT_COUNT_BYTES];
	uint64_t all = 0;

	for (unsigned i = 0; i < n; i++)
		all += kinds[i].n;
	if (!all)
		fprintf(to, "  %-9s  none\n", what);
	for (unsigned i = 0; i < n; i++) {
		if (!kinds[i].n)
			continue;
		fprintf(to, "  %-9s  %-11s %11s  %.*s\n", what, kinds[i].name,
			count_format(kinds[i].n, count), bar_length(kinds[i].n, all),
			"########################################");
		what = "";
	}
}

static void print_faults(FILE *to, const struct gmm_stats *m)
{
	const struct kind kinds[] = {
		{"first touch", m->faults.demand_zero},
		{"swapped in", m->faults.swap_in},
		{"rescued", m->faults.rescue},
		{"lost", m->faults.poison},
	};
	char count[REPORT_COUNT_BYTES], p50[REPORT_COUNT_BYTES], p99[REPORT_COUNT_BYTES];

	print_kinds(to, "faults", kinds, 4);
	if (m->faults.prefetched)
		fprintf(to, "             %s pages more came along with them\n",
			count_format(m->faults.prefetched, count));
	fprintf(to, "             served in %s (median), %s (99th percentile)\n",
		time_format(m->faults.p50_ns, p50), time_format(m->faults.p99_ns, p99));
}

static void print_evictions(FILE *to, const struct gmm_stats *m)
{
	const struct kind kinds[] = {
		{"written", m->reclaim.written},
		{"clean", m->reclaim.clean},
		{"zero", m->reclaim.zero},
		{"dropped", m->reclaim.dropped},
	};
	char written[SIZE_TEXT_BYTES], read[SIZE_TEXT_BYTES], count[REPORT_COUNT_BYTES];

	print_kinds(to, "evictions", kinds, 4);
	if (m->free_taken)
		fprintf(to, "             %s pages more were free in the guest, and dropped\n",
			count_format(m->free_taken, count));
	fprintf(to, "  swap       %s written, %s read back%s\n",
		size_format(m->io.written_bytes, written), size_format(m->io.read_bytes, read),
		m->io.errors ? ", WITH ERRORS" : "");
}

/* A sentence, over as many lines as it takes. */
static void print_wrapped(FILE *to, const char *label, const char *text)
{
	const size_t width = REPORT_COLUMNS - REPORT_INDENT;

	while (*text) {
		size_t n = strlen(text), end = n;

		if (n > width)
			for (end = width; end && text[end] != ' ';)
				end--;
		if (end == 0)
			end = n; /* one long word */
		fprintf(to, "\n  %-*s%.*s", REPORT_INDENT - 2, label, (int)end, text);
		text += end + (text[end] == ' ');
		label = "";
	}
}

/* Where faults were served, and why there. */
static void print_placement(FILE *to, const struct run_stats *s)
{
	char same[REPORT_COUNT_BYTES], other[REPORT_COUNT_BYTES], spin[REPORT_COUNT_BYTES];
	char text[VERDICT_BYTES];

	if (!s->fault_cpu.choice || !s->fault_cpu.same_ns)
		return;
	snprintf(text, sizeof(text),
		 "%s: a fault took %s on the same CPU, %s from another, %s polling",
		 s->fault_cpu.choice, time_format(s->fault_cpu.same_ns, same),
		 time_format(s->fault_cpu.other_ns, other),
		 time_format(s->fault_cpu.spin_ns, spin));
	print_wrapped(to, "faults at", text);
}

static void print_rest(FILE *to, const struct run_stats *s)
{
	const struct gmm_stats *m = &s->mm;
	char verdict[VERDICT_BYTES];

	if (m->huge.filled || m->huge.gathered)
		fprintf(to,
			"  2M frames  %" PRIu64 " filled, %" PRIu64 " evicted as one, %" PRIu64
			" split, %" PRIu64 " put together\n",
			m->huge.filled, m->huge.taken, m->huge.split, m->huge.gathered);
	if (s->guest_faults.minor || s->guest_faults.major || s->guest_faults.invalid)
		fprintf(to,
			"  in guest   %" PRIu64 " minor faults, %" PRIu64 " major, %" PRIu64
			" invalid\n",
			s->guest_faults.minor, s->guest_faults.major, s->guest_faults.invalid);
	fprintf(to, "  waited     %.2f s, %.0f %% of the time, for memory",
		(double)m->stall_some_ns / 1e9, percent(m->stall_some_ns, s->wall_ns));
	if (s->n_vcpus > 1)
		fprintf(to, "; all vCPUs %.2f s", (double)m->stall_full_ns / 1e9);
	if (s->wall_ns >= WATCHED_NS && verdict_working_set(m, verdict)[0])
		print_wrapped(to, "working", verdict);
	if (verdict_past(m, verdict)[0])
		print_wrapped(to, "thrashing", verdict);
	print_placement(to, s);
	fprintf(to, "\n  engine     %s, policy %s, swap %s\n\n", m->engine,
		m->policy ? m->policy : "none", m->store ? m->store : "off");
}

void report_summary(FILE *to, const struct run_stats *s)
{
	fprintf(to, "\n  guestmm: exit status %d after %.2f s (up after %.0f ms)\n\n",
		s->exit_status, (double)s->wall_ns / 1e9, (double)s->boot_ns / 1e6);
	print_memory(to, &s->mm);
	print_faults(to, &s->mm);
	print_evictions(to, &s->mm);
	print_rest(to, s);
}
