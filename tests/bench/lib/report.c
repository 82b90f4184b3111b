/* Tables and JSON: see report.h. */
#include "report.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

/* One side of a metric. */
struct spread {
	double min, median, max;
};

struct verdict {
	struct spread ours, floor, pairs; /* pairs: ours / floor of each round */
	double ratio;			  /* of the medians */
	bool met;
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct spread spread_of(double *values, unsigned n)
{
	qsort(values, n, sizeof(values[0]), by_value);
	return (struct spread){values[0], values[n / 2], values[n - 1]};
}

static struct verdict judge(const struct bench_metric *m, unsigned i,
			    const struct bench_sample *ours, const struct bench_sample *floor,
			    unsigned n)
{
	double *a = calloc(3 * (size_t)n, sizeof(*a)), *b = a + n, *pairs = b + n;
	struct verdict v;

	if (!a)
		bench_die("out of memory");
	for (unsigned k = 0; k < n; k++) {
		a[k] = ours[k].value[i];
		b[k] = floor[k].value[i];
		pairs[k] = b[k] != 0 ? a[k] / b[k] : 0;
	}
	v.ours = spread_of(a, n);
	v.floor = spread_of(b, n);
	v.pairs = spread_of(pairs, n);
	v.ratio = v.floor.median != 0 ? v.ours.median / v.floor.median : 0;
	/* Beside a floor of nothing, nothing is met. */
	v.met = v.ratio > 0 && (m->relation == '>' ? v.ratio >= m->target : v.ratio <= m->target);
	free(a);
	return v;
}

/* ---- The table ---- */

void report_head(void)
{
	printf("%-3s %-48s %-7s %10s %21s %10s %21s %7s  %s\n", "row", "measure", "unit", "ours",
	       "min..max", "floor", "min..max", "ratio", "target");
}

static const char *in_short(double v, char text[16])
{
	int digits = v == 0 ? 0 : 3 - (int)floor(log10(fabs(v)));

	snprintf(text, 16, "%.*f", digits < 0 ? 0 : digits > 3 ? 3 : digits, v);
	return text;
}

static void print_spread(const struct spread *s)
{
	char median[16], min[16], max[16], range[40];

	snprintf(range, sizeof(range), "%s..%s", in_short(s->min, min), in_short(s->max, max));
	printf(" %10s %21s", in_short(s->median, median), range);
}

static void print_metric(const struct bench_row *row, const struct bench_metric *m,
			 const struct verdict *v)
{
	char measure[128];

	snprintf(measure, sizeof(measure), "%s%s%s: %s", row->title, row->variant ? ", " : "",
		 row->variant ? row->variant : "", m->name);
	printf("%-3u %-48s %-7s", row->number, measure, m->unit);
	print_spread(&v->ours);
	print_spread(&v->floor);
	printf(" %7.3f", v->ratio);
	if (m->target != 0)
		printf("  %s %g %s", m->relation == '>' ? ">=" : "<=", m->target,
		       v->met ? "met" : "MISSED");
	printf("\n");
}

/* A count's mean over the runs that have it by this name. */
static double mean_count(const struct bench_sample *s, unsigned n, const char *name)
{
	double sum = 0;

	for (unsigned k = 0; k < n; k++)
		for (unsigned i = 0; i < s[k].n_counts; i++)
			if (strcmp(s[k].counts[i].name, name) == 0)
				sum += s[k].counts[i].n;
	return sum / n;
}

/* Calls `each` once for every count that a run has. */
static void each_count(const struct bench_sample *s, unsigned n,
		       void (*each)(void *user, const char *name, double mean), void *user)
{
	for (unsigned k = 0; k < n; k++)
		for (unsigned i = 0; i < s[k].n_counts; i++) {
			const char *name = s[k].counts[i].name;

			if (k == 0 || mean_count(s, k, name) == 0) /* not in an earlier run */
				each(user, name, mean_count(s, n, name));
		}
}

static void print_count(void *user, const char *name, double mean)
{
	(void)user;
	printf(" %s %.0f", name, mean);
}

static void print_counts(const char *side, const struct bench_sample *s, unsigned n)
{
	printf("    %-6s", side);
	each_count(s, n, print_count, NULL);
	printf("\n");
}

/* ---- JSON ---- */

static json_t *spread_json(const struct spread *s)
{
	return json_pack("{s:f, s:f, s:f}", "median", s->median, "min", s->min, "max", s->max);
}

static void add_count(void *user, const char *name, double mean)
{
	json_object_set_new(user, name, json_real(mean));
}

static json_t *side_json(const struct spread *spread, const struct bench_sample *s, unsigned n,
			 unsigned metric)
{
	json_t *side = spread_json(spread), *runs = json_array(), *counts = json_object();

	for (unsigned k = 0; k < n; k++)
		json_array_append_new(runs, json_real(s[k].value[metric]));
	each_count(s, n, add_count, counts);
	json_object_set_new(side, "runs", runs);
	json_object_set_new(side, "counts", counts);
	return side;
}

static json_t *machine_json(void)
{
	struct utsname u = {0};
	char line[256], cpu[256] = "";
	FILE *f = fopen("/proc/cpuinfo", "re");

	uname(&u);
	while (f && !cpu[0] && fgets(line, sizeof(line), f))
		sscanf(line, "model name%*[ \t]: %255[^\n]", cpu);
	if (f)
		fclose(f);
	return json_pack("{s:s, s:s}", "kernel", u.release, "cpu", cpu);
}

static json_t *load_file(const char *path)
{
	json_t *all = json_load_file(path, 0, NULL);
	const char *schema = json_string_value(json_object_get(all, "schema"));

	if (schema && strcmp(schema, REPORT_SCHEMA) == 0 &&
	    json_is_array(json_object_get(all, "rows")))
		return all;
	json_decref(all);
	return json_pack("{s:s, s:o, s:[]}", "schema", REPORT_SCHEMA, "machine", machine_json(),
			 "rows");
}

static bool same_text(const json_t *a, const json_t *b, const char *key)
{
	return json_equal(json_object_get(a, key), json_object_get(b, key));
}

static void put_row(const char *path, json_t *row)
{
	json_t *all = load_file(path), *rows = json_object_get(all, "rows");

	for (size_t i = json_array_size(rows); i > 0; i--) {
		json_t *old = json_array_get(rows, i - 1);

		if (same_text(old, row, "row") && same_text(old, row, "measure") &&
		    same_text(old, row, "variant") && same_text(old, row, "metric"))
			json_array_remove(rows, i - 1);
	}
	json_array_append_new(rows, row);
	if (json_dump_file(all, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6)))
		bench_die("%s: cannot be written: %s", path, strerror(errno));
	json_decref(all);
}

static json_t *metric_json(const struct bench_row *row, unsigned i, const struct verdict *v,
			   const struct bench_sample *ours, const struct bench_sample *floor,
			   unsigned n)
{
	const struct bench_metric *m = &row->metrics[i];
	json_t *o = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:f, s:o}", "row",
			      (int)row->number, "measure", row->title, "variant",
			      row->variant ? row->variant : "", "metric", m->name, "unit", m->unit,
			      "against", row->against, "ours", side_json(&v->ours, ours, n, i),
			      "floor", side_json(&v->floor, floor, n, i), "ratio", v->ratio,
			      "ratios", spread_json(&v->pairs));

	if (m->target != 0) {
		json_object_set_new(o, "target", json_real(m->target));
		json_object_set_new(o, "relation", json_string(m->relation == '>' ? ">=" : "<="));
		json_object_set_new(o, "met", json_boolean(v->met));
	}
	return o;
}

void report_row(const struct bench_row *row, const struct bench_sample *ours,
		const struct bench_sample *floor, unsigned n, bool quick, const char *json)
{
	for (unsigned i = 0; i < BENCH_METRICS && row->metrics[i].name; i++) {
		struct verdict v = judge(&row->metrics[i], i, ours, floor, n);
		json_t *o;

		print_metric(row, &row->metrics[i], &v);
		if (!json)
			continue;
		o = metric_json(row, i, &v, ours, floor, n);
		if (!o)
			bench_die("out of memory");
		json_object_set_new(o, "quick", json_boolean(quick));
		put_row(json, o);
	}
	print_counts("ours", ours, n);
	print_counts("floor", floor, n);
	fflush(stdout);
}
