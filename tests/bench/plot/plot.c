/* Draws what the benchmarks found, as SVG: a bar for each ratio, on a logarithmic scale.
 *
 * usage: bench_plot RESULTS.json [PICTURE.svg]
 *
 * Lists what is in the file, a line a metric, and draws it where a picture is asked for. A file
 * that is not what the benchmarks write is an error: exit status 1.
 */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/report.h"

#define LINE_HEIGHT 22.0
#define TOP	    64.0
#define LABELS	    430.0 /* where the bars' field begins */
#define FIELD	    420.0
#define RIGHT	    200.0
#define GREEN	    "#2e8b57"
#define RED	    "#c0392b"
#define GREY	    "#7f8c8d"

struct bar {
	int row;
	const char *measure, *variant, *metric, *relation, *unit;
	double ours, floor, ratio, min, max, target;
	bool met;
};

struct scale {
	double low, high; /* ratios at the field's ends: powers of ten, or of ten by halves */
};

__attribute__((noreturn)) static void die(const char *path, const char *what)
{
	fprintf(stderr, "bench_plot: %s: %s\n", path, what);
	exit(1);
}

/* A value that must be there, be a number and be above zero. */
static bool get_number(const json_t *o, const char *side, const char *key, double *to)
{
	const json_t *v = json_object_get(side ? json_object_get(o, side) : o, key);

	*to = json_number_value(v);
	return json_is_number(v) && *to > 0 && isfinite(*to);
}

static bool get_text(const json_t *o, const char *key, const char **to)
{
	*to = json_string_value(json_object_get(o, key));
	return *to != NULL;
}

static bool get_bar(const json_t *o, struct bar *b)
{
	*b = (struct bar){.row = (int)json_integer_value(json_object_get(o, "row"))};
	b->met = json_is_true(json_object_get(o, "met"));
	if (!get_number(o, NULL, "target", &b->target))
		b->target = 0;
	if (b->target != 0 && !get_text(o, "relation", &b->relation))
		return false;
	return b->row > 0 && get_text(o, "measure", &b->measure) &&
	       get_text(o, "variant", &b->variant) && get_text(o, "metric", &b->metric) &&
	       get_text(o, "unit", &b->unit) && get_number(o, "ours", "median", &b->ours) &&
	       get_number(o, "floor", "median", &b->floor) &&
	       get_number(o, NULL, "ratio", &b->ratio) && get_number(o, "ratios", "min", &b->min) &&
	       get_number(o, "ratios", "max", &b->max);
}

static int by_row(const void *a, const void *b)
{
	const struct bar *x = a, *y = b;

	return (x->row > y->row) - (x->row < y->row);
}

static struct scale scale_of(const struct bar *bars, size_t n)
{
	struct scale s = {0.5, 2};

	for (size_t i = 0; i < n; i++) {
		double low = fmin(bars[i].min, bars[i].ratio), high = bars[i].max;

		if (bars[i].target != 0) {
			low = fmin(low, bars[i].target);
			high = fmax(high, bars[i].target);
		}
		s.low = fmin(s.low, low);
		s.high = fmax(s.high, high);
	}
	s.low = pow(10, floor(log10(s.low) * 2) / 2);
	s.high = pow(10, ceil(log10(s.high) * 2) / 2);
	return s;
}

static double at(const struct scale *s, double ratio)
{
	return LABELS + FIELD * (log10(ratio) - log10(s->low)) / (log10(s->high) - log10(s->low));
}

/* Text of the file is not trusted to be free of markup. */
static void put_text(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("&lt;", f);
		else if (*text == '&')
			fputs("&amp;", f);
		else
			fputc(*text, f);
	}
}

static void draw_axis(FILE *f, const struct scale *s, double bottom)
{
	for (int e = -6; e <= 12; e++) {
		double ratio = pow(10, e / 2.0), x = at(s, ratio);

		if (ratio < s->low * 0.99 || ratio > s->high * 1.01)
			continue;
		fprintf(f,
			"<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' stroke='%s'/>"
			"<text x='%.1f' y='%.1f' text-anchor='middle' class='s'>%.2g</text>\n",
			x, x, TOP - 8, bottom, e == 0 ? "#555" : "#ddd", x, TOP - 14, ratio);
	}
}

static void draw_bar(FILE *f, const struct scale *s, const struct bar *b, double y)
{
	const char *colour = b->target == 0 ? GREY : b->met ? GREEN : RED;
	double from = at(s, fmin(1, b->ratio)), to = at(s, fmax(1, b->ratio)), mid = y + 7;

	fprintf(f, "<text x='8' y='%.1f'>%d</text><text x='34' y='%.1f'>", y + 11, b->row, y + 11);
	put_text(f, b->measure);
	put_text(f, *b->variant ? ", " : "");
	put_text(f, b->variant);
	put_text(f, ": ");
	put_text(f, b->metric);
	fprintf(f, "</text>\n<rect x='%.1f' y='%.1f' width='%.1f' height='14' fill='%s'/>\n", from,
		y, fmax(to - from, 1), colour);
	fprintf(f, "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' stroke='#000'/>\n", at(s, b->min),
		at(s, b->max), mid, mid);
	if (b->target != 0)
		fprintf(f,
			"<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' stroke='#1f4e9c' "
			"stroke-width='3'/>\n",
			at(s, b->target), at(s, b->target), y - 2, y + 16);
	fprintf(f, "<text x='%.1f' y='%.1f'>%.3g", LABELS + FIELD + 12, y + 11, b->ratio);
	if (b->target != 0)
		fprintf(f, " (%s %g)", b->relation[0] == '>' ? "&#8805;" : "&#8804;", b->target);
	fprintf(f, "</text>\n");
}

static void draw(FILE *f, const struct bar *bars, size_t n)
{
	struct scale s = scale_of(bars, n);
	double bottom = TOP + LINE_HEIGHT * (double)n;

	fprintf(f,
		"<svg xmlns='http://www.w3.org/2000/svg' width='%.0f' height='%.0f'>\n"
		"<style>text{font:12px sans-serif}.s{font-size:10px;fill:#555}</style>\n"
		"<rect width='100%%' height='100%%' fill='#fff'/>\n"
		"<text x='8' y='20' style='font-size:15px'>guestmm beside its floors: ours / floor "
		"(medians)</text>\n"
		"<text x='8' y='36' class='s'>blue: the target; black: the rounds' extremes; green "
		"met, red missed, grey for information</text>\n",
		LABELS + FIELD + RIGHT, bottom + 16);
	draw_axis(f, &s, bottom);
	for (size_t i = 0; i < n; i++)
		draw_bar(f, &s, &bars[i], TOP + LINE_HEIGHT * (double)i);
	fprintf(f, "</svg>\n");
}

static void draw_to(const char *path, const struct bar *bars, size_t n)
{
	FILE *f = fopen(path, "we");

	if (!f)
		die(path, strerror(errno));
	draw(f, bars, n);
	if (fclose(f))
		die(path, "cannot be written");
}

int main(int argc, char **argv)
{
	json_error_t error;
	json_t *all, *rows;
	struct bar *bars;
	size_t n;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: bench_plot RESULTS.json [PICTURE.svg]\n");
		return 64;
	}
	all = json_load_file(argv[1], 0, &error);
	if (!all)
		die(argv[1], error.text);
	rows = json_object_get(all, "rows");
	n = json_array_size(rows);
	bars = calloc(n + 1, sizeof(*bars));
	if (!bars || n == 0)
		die(argv[1], "no rows in it");
	for (size_t i = 0; i < n; i++)
		if (!get_bar(json_array_get(rows, i), &bars[i]))
			die(argv[1], "a row lacks what a row must have");
	qsort(bars, n, sizeof(*bars), by_row);
	for (size_t i = 0; i < n; i++)
		printf("%d\t%s\t%s\t%s\t%.4g\n", bars[i].row, bars[i].measure, bars[i].variant,
		       bars[i].metric, bars[i].ratio);
	if (argc > 2)
		draw_to(argv[2], bars, n);
	free(bars);
	json_decref(all);
	return 0;
}
