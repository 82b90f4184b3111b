/* Curves: see curve.h. */
#include "curve.h"

#include <string.h>

#define FADE_STEP_NS UINT64_C(1000000000)
#define FADE_STEP    0.98347145382161748 /* exp(-1 s / CURVE_FADE_NS) */

/* What is left after so many steps. */
static double curve_keep(uint64_t n_steps)
{
	double keep = 1, by = FADE_STEP;

	_Static_assert(CURVE_FADE_NS == 60 * FADE_STEP_NS, "FADE_STEP is for this");
	for (uint64_t n = n_steps < 100000 ? n_steps : 100000; n; n >>= 1) {
		if (n & 1)
			keep *= by;
		by *= by;
	}
	return keep;
}

void curve_init(struct curve *c, uint64_t now_ns)
{
	memset(c, 0, sizeof(*c));
	c->at_ns = now_ns;
}

/* The bucket of a time: each octave is cut into CURVE_STEPS equal parts. */
static unsigned curve_bucket(uint64_t ns)
{
	unsigned octave, part, b;

	if (ns >> CURVE_FIRST_SHIFT == 0)
		return 0;
	octave = 63 - (unsigned)__builtin_clzll(ns) - CURVE_FIRST_SHIFT;
	part = (unsigned)(ns >> (octave + CURVE_FIRST_SHIFT - 3)) & (CURVE_STEPS - 1);
	b = 1 + octave * CURVE_STEPS + part;
	return b < CURVE_BUCKETS ? b : CURVE_BUCKETS - 1;
}

/* Where bucket b begins; that of CURVE_BUCKETS is where the last one ends. */
static double curve_edge(unsigned b)
{
	unsigned octave = b ? (b - 1) / CURVE_STEPS : 0, part = b ? (b - 1) % CURVE_STEPS : 0;

	_Static_assert(CURVE_STEPS == 8, "1 << 3");
	return b ? (double)((uint64_t)(CURVE_STEPS + part) << (octave + CURVE_FIRST_SHIFT - 3)) : 0;
}

void curve_cycle(struct curve *c, double weight, uint64_t cooled_ns, uint64_t watched_ns)
{
	uint64_t all = cooled_ns + watched_ns;

	c->n_cycles++;
	c->seen_ns += weight * (double)all;
	if (watched_ns < cooled_ns) {
		c->even[curve_bucket(watched_ns)] += weight;
		c->still[curve_bucket(watched_ns)] += weight * (double)cooled_ns;
	} else {
		c->even[curve_bucket(all)] += weight;
	}
}

void curve_advance(struct curve *c, uint64_t now_ns)
{
	uint64_t n_steps = now_ns > c->at_ns ? (now_ns - c->at_ns) / FADE_STEP_NS : 0;
	double keep;

	if (n_steps == 0)
		return;
	keep = curve_keep(n_steps);
	c->at_ns += n_steps * FADE_STEP_NS;
	c->seen_ns *= keep;
	c->n_cycles *= keep;
	for (unsigned b = 0; b < CURVE_BUCKETS; b++) {
		c->even[b] *= keep;
		c->still[b] *= keep;
	}
}

double curve_faded(uint64_t ns)
{
	double keep = curve_keep(ns / FADE_STEP_NS);

	return (double)CURVE_FADE_NS * (1 - keep) + keep * (double)(ns % FADE_STEP_NS);
}

/* A stretch of the footprint's polygon: so much later so many pages more. */
struct stretch {
	double width, rise;
};

/* Pool adjacent violators: a stretch that is steeper than the one before becomes one with it. */
static unsigned curve_bend(struct stretch *all, unsigned n, struct stretch next)
{
	while (n && all[n - 1].rise * next.width <= next.rise * all[n - 1].width) {
		n--;
		next.width += all[n].width;
		next.rise += all[n].rise;
	}
	all[n] = next;
	return n + 1;
}

void curve_fit(const struct curve *c, double n_pages, double open_ns, struct curve_slopes *out)
{
	struct stretch all[CURVE_BUCKETS];
	double later = 0, seen = c->seen_ns + open_ns, pages = 0;
	unsigned n = 0;

	out->n = 0;
	if (seen <= 0)
		return;
	for (unsigned b = 0; b < CURVE_BUCKETS; b++)
		later += c->even[b];
	for (unsigned b = 0; b < CURVE_BUCKETS; b++) {
		double width = curve_edge(b + 1) - curve_edge(b);

		later -= c->even[b];
		/* What ended in here did so in its middle, about. */
		n = curve_bend(
			all, n,
			(struct stretch){width, (later + c->even[b] / 2) * width + c->still[b]});
	}
	for (unsigned i = 0; i < n && all[i].rise > 0; i++) {
		pages += all[i].rise * n_pages / seen;
		out->pages[i] = pages;
		out->per_s[i] = all[i].rise / all[i].width * n_pages / seen * 1e9;
		out->n = i + 1;
	}
}

double curve_refaults(const struct curve_slopes *s, double pages)
{
	for (unsigned i = 0; i < s->n; i++)
		if (pages < s->pages[i])
			return s->per_s[i];
	return 0;
}
