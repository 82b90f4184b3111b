/* What `guestmm top` shows. Everything fits 80 columns and 24 lines whatever the numbers are,
 * for they come from another process; counts are shortened to four digits and a letter. */
#include "top_view.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "size.h"

#define BAR_COLUMNS  34
#define NUMBER_BYTES 32

struct top {
	const json_t *now, *before;
	double seconds; /* that rates are over; 0: no rates */
	struct top_screen *screen;
};

__attribute__((format(printf, 2, 3))) static void line(struct top *top, const char *fmt, ...)
{
	va_list args;

	if (top->screen->n_lines == TOP_LINES)
		return;
	va_start(args, fmt);
	vsnprintf(top->screen->lines[top->screen->n_lines++], TOP_COLUMNS + 1, fmt, args);
	va_end(args);
}

/* The number at outer.inner, or at inner where outer is NULL. */
static uint64_t number(const json_t *stats, const char *outer, const char *inner)
{
	const json_t *in = outer ? json_object_get(stats, outer) : stats;
	json_int_t value = json_integer_value(json_object_get(in, inner));

	return value > 0 ? (uint64_t)value : 0;
}

static uint64_t now(const struct top *top, const char *outer, const char *inner)
{
	return number(top->now, outer, inner);
}

static const char *word(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "none";
}

/* Per second since the sample before. */
static double rate(const struct top *top, const char *outer, const char *inner)
{
	uint64_t new = now(top, outer, inner), old = number(top->before, outer, inner);

	return top->seconds > 0 && new > old ? (double)(new - old) / top->seconds : 0;
}

/* At most five characters: 0 to 9999, 12.3k, 456M, ... */
static char *count(double value, char text[NUMBER_BYTES])
{
	static const char units[] = " kMGTPE";
	unsigned unit = 0;

	if (value < 9999.5) {
		snprintf(text, NUMBER_BYTES, "%.0f", value);
		return text;
	}
	while (value >= 999.5 && unit + 2 < sizeof(units)) {
		value /= 1000;
		unit++;
	}
	snprintf(text, NUMBER_BYTES, value < 99.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
	return text;
}

static char *duration(uint64_t ns, char text[NUMBER_BYTES])
{
	static const struct {
		uint64_t ns;
		const char *name;
	} units[] = {
		{1, "ns"}, {1000, "us"}, {1000000, "ms"}, {1000000000, "s"}, {3600000000000, "h"},
	};
	size_t unit = 0;

	while (unit + 1 < sizeof(units) / sizeof(units[0]) && ns / units[unit].ns >= 10000)
		unit++;
	snprintf(text, NUMBER_BYTES, "%" PRIu64 " %s", ns / units[unit].ns, units[unit].name);
	return text;
}

static void bar_line(struct top *top, const char *name, uint64_t part, uint64_t whole,
		     const char *whole_name)
{
	char bar[BAR_COLUMNS + 1], part_text[SIZE_TEXT_BYTES], whole_text[SIZE_TEXT_BYTES];
	double filled = whole ? (double)part / (double)whole : 0;
	unsigned n = (unsigned)((filled < 1 ? filled : 1) * BAR_COLUMNS + 0.5);

	memset(bar, '#', n);
	memset(bar + n, '.', BAR_COLUMNS - n);
	bar[BAR_COLUMNS] = '\0';
	line(top, "%-9s [%s] %9s of %s %s", name, bar, size_format(part, part_text),
	     size_format(whole, whole_text), whole_name);
}

static void head(struct top *top)
{
	bool paused = json_is_true(json_object_get(top->now, "paused"));
	char up[NUMBER_BYTES];

	line(top, "guestmm %.12s  engine %.8s  policy %.10s  store %.8s  up %s%s",
	     word(top->now, "version"), word(top->now, "engine"), word(top->now, "policy"),
	     word(json_object_get(top->now, "store"), "kind"),
	     duration(now(top, NULL, "wall_ns"), up), paused ? "  PAUSED" : "");
	line(top, "%s", "");
}

static void memory(struct top *top)
{
	uint64_t all = now(top, NULL, "memory_bytes");
	char peak[SIZE_TEXT_BYTES], target[SIZE_TEXT_BYTES], own[SIZE_TEXT_BYTES],
		poisoned[NUMBER_BYTES];

	bar_line(top, "resident", now(top, NULL, "resident_bytes"), now(top, NULL, "limit_bytes"),
		 "limit");
	bar_line(top, "swapped", now(top, NULL, "swapped_bytes"), all, "memory");
	bar_line(top, "balloon", now(top, NULL, "ballooned_bytes"), all, "memory");
	line(top, "          peak %s, balloon to %s, process %s, poisoned %s",
	     size_format(now(top, NULL, "resident_peak_bytes"), peak),
	     size_format(now(top, NULL, "balloon_target_bytes"), target),
	     size_format(now(top, "process", "rss_bytes"), own),
	     count((double)now(top, NULL, "poisoned_pages"), poisoned));
	line(top, "%s", "");
}

/* Faults on the left, reclaim on the right: name, total, per second. */
static void counters(struct top *top)
{
	static const struct {
		const char *left_in, *left, *right;
	} rows[] = {
		{"faults", "demand_zero", "evicted"},  {"faults", "swap_in", "zero"},
		{"faults", "rescue", "clean"},	       {"faults", "prefetched", "written"},
		{"guest_faults", "minor", "dropped"},  {"guest_faults", "major", "busy"},
		{"guest_faults", "invalid", "failed"},
	};
	char a[NUMBER_BYTES], b[NUMBER_BYTES], c[NUMBER_BYTES], d[NUMBER_BYTES];

	line(top, "%-18s %8s %8s    %-18s %8s %8s", "FAULTS", "total", "/s", "RECLAIM", "total",
	     "/s");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool is_guest = rows[i].left_in[0] == 'g';

		line(top, "%s%-*s %8s %8s    %-18s %8s %8s", is_guest ? "guest " : "",
		     is_guest ? 12 : 18, rows[i].left,
		     count((double)now(top, rows[i].left_in, rows[i].left), a),
		     count(rate(top, rows[i].left_in, rows[i].left), b), rows[i].right,
		     count((double)now(top, "reclaim", rows[i].right), c),
		     count(rate(top, "reclaim", rows[i].right), d));
	}
}

static void latency(struct top *top)
{
	char p50[NUMBER_BYTES], p99[NUMBER_BYTES], max[NUMBER_BYTES];

	line(top, "served in          p50 %s, p99 %s, max %s",
	     duration(now(top, "faults", "p50_ns"), p50),
	     duration(now(top, "faults", "p99_ns"), p99),
	     duration(now(top, "faults", "max_ns"), max));
	line(top, "%s", "");
}

static void store(struct top *top)
{
	char in[SIZE_TEXT_BYTES], out[SIZE_TEXT_BYTES], in_rate[SIZE_TEXT_BYTES],
		out_rate[SIZE_TEXT_BYTES], errors[NUMBER_BYTES];

	line(top, "STORE   in %9s %9s/s   out %9s %9s/s   errors %s",
	     size_format(now(top, "store", "read_bytes"), in),
	     size_format((uint64_t)rate(top, "store", "read_bytes"), in_rate),
	     size_format(now(top, "store", "written_bytes"), out),
	     size_format((uint64_t)rate(top, "store", "written_bytes"), out_rate),
	     count((double)now(top, "store", "errors"), errors));
}

/* Percent of the last 10, 60 and 300 s that vCPUs waited for memory. */
static void stalls(struct top *top)
{
	static const char *const kinds[] = {"some", "full"};
	const json_t *all = json_object_get(top->now, "stall_permille");
	char text[NUMBER_BYTES];

	for (unsigned i = 0; i < 2; i++) {
		const json_t *avg = json_object_get(all, kinds[i]);
		double percent[3];

		for (unsigned k = 0; k < 3; k++) {
			json_int_t value = json_integer_value(json_array_get(avg, k));

			percent[k] = value > 1000 ? 100 : value < 0 ? 0 : (double)value / 10;
		}
		line(top, "%-7s %s  10 s %5.1f %%  60 s %5.1f %%  300 s %5.1f %%  total %s",
		     i ? "" : "STALL", kinds[i], percent[0], percent[1], percent[2],
		     duration(now(top, "stall_ns", kinds[i]), text));
	}
}

/* The verdict, short. */
static void thrash(struct top *top)
{
	const json_t *verdict = json_object_get(top->now, "thrash");
	uint64_t permille = number(verdict, NULL, "stalled_permille");
	char refaults[NUMBER_BYTES], more[SIZE_TEXT_BYTES];

	if (!json_is_true(json_object_get(verdict, "thrashing"))) {
		line(top, "%s", "        not thrashing");
		return;
	}
	line(top, "THRASHING  waits %.0f %%, %s pages back too soon, %s more would do",
	     permille > 1000 ? 100 : (double)permille / 10,
	     count((double)number(verdict, NULL, "refaults"), refaults),
	     size_format(number(verdict, NULL, "more_bytes"), more));
}

/* What the guest uses, and what it would refault with half the limit and with all of it. */
static void working_set(struct top *top)
{
	const json_t *set = json_object_get(top->now, "working_set"), *point;
	uint64_t limit = now(top, NULL, "limit_bytes"), half = 0, full = 0;
	char used[SIZE_TEXT_BYTES], at_half[NUMBER_BYTES], at_full[NUMBER_BYTES];
	size_t i;

	if (!json_is_true(json_object_get(set, "on"))) {
		line(top, "%s", "IN USE  not watched");
		return;
	}
	json_array_foreach(json_object_get(set, "curve"), i, point)
	{
		uint64_t at = number(point, NULL, "limit_bytes");

		half = at == limit / 2 ? number(point, NULL, "refaults_per_s") : half;
		full = at == limit ? number(point, NULL, "refaults_per_s") : full;
	}
	line(top, "IN USE  %9s   would refault %s/s, with half the limit %s/s",
	     size_format(number(set, NULL, "bytes"), used), count((double)full, at_full),
	     count((double)half, at_half));
}

/* One line for all vCPUs: how busy, how many exits. */
static void vcpus(struct top *top)
{
	const json_t *list = json_object_get(top->now, "vcpus"), *vcpu;
	const json_t *old = json_object_get(top->before, "vcpus");
	double exits = 0, busy = 0;
	char text[NUMBER_BYTES];
	size_t i;

	json_array_foreach(list, i, vcpu)
	{
		const struct top one = {
			.now = vcpu, .before = json_array_get(old, i), .seconds = top->seconds};

		exits += rate(&one, NULL, "exits");
		busy += rate(&one, NULL, "run_ns") / 1e9;
	}
	line(top, "VCPUS   %zu, %.2f running, %s exits/s", json_array_size(list),
	     busy < 9999 ? busy : 9999, count(exits, text));
}

void top_render(const json_t *stats, const json_t *before, struct top_screen *screen)
{
	struct top top = {.now = stats, .before = before, .screen = screen};
	uint64_t new = number(stats, NULL, "wall_ns"), old = number(before, NULL, "wall_ns");

	screen->n_lines = 0;
	top.seconds = new > old ? (double)(new - old) / 1e9 : 0;
	head(&top);
	memory(&top);
	counters(&top);
	latency(&top);
	store(&top);
	stalls(&top);
	thrash(&top);
	working_set(&top);
	vcpus(&top);
}
