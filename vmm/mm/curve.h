/* Curves: what a guest would refault with so much memory, from times of reuse.
 *
 * A page is watched in cycles: it was touched; for a while nobody looks (it cools); then it is
 * watched until the next touch. The state of a page seen from a random instant is the time until
 * its next touch, and each cycle says for how long of it that time was what. Of the watched part
 * it is known: it went down from `watched` to nothing, evenly. Of the rest there are two cases. A
 * page that came back sooner than it had cooled is in use all the time, and each instant of its
 * cooling was like the one at which watching began: `watched` away from a touch. Any other
 * had most likely no touch meanwhile: one even stretch over both.
 *
 * Summed over all pages this is the footprint: how many pages are touched within a time w. With as
 * much memory as the footprint of w, a page is away at its touch if the touch before was longer
 * ago than w; and how many of those there are a second is the footprint's slope at w. That slope
 * falls with w: made so, the estimate loses most of its noise. (Footprint and its slope: Xiang,
 * Ding and others, "HOTL", ASPLOS 2013; times instead of stack distances, too: Hu and others,
 * "Kinetic modeling of data eviction in cache", USENIX ATC 2016. Few pages do for many: Waldspurger
 * and others, "SHARDS", FAST 2015.) It is the curve of an LRU; what evicts better refaults less.
 *
 * Nothing is known of locks here, nor of memory. Old cycles fade, by a factor of e in
 * CURVE_FADE_NS.
 */
#ifndef MM_CURVE_H
#define MM_CURVE_H

#include <stdint.h>

#define CURVE_FADE_NS	  UINT64_C(60000000000)
#define CURVE_STEPS	  8u  /* an octave */
#define CURVE_FIRST_SHIFT 14u /* below 16 us all times are alike */
#define CURVE_OCTAVES	  27u /* up to 36 minutes */
#define CURVE_BUCKETS	  (1 + CURVE_OCTAVES * CURVE_STEPS)

struct curve {
	uint64_t at_ns;		     /* faded up to here */
	double even[CURVE_BUCKETS];  /* pages whose even stretch ended here */
	double still[CURVE_BUCKETS]; /* page-nanoseconds that were just so far from a touch */
	double seen_ns;		     /* page-nanoseconds of all cycles */
	double n_cycles;	     /* not weighted */
};

void curve_init(struct curve *c, uint64_t now_ns);

/* A page, which stands for `weight` of them, was touched; it was watched for watched_ns, after
 * cooled_ns in which nobody looked. */
void curve_cycle(struct curve *c, double weight, uint64_t cooled_ns, uint64_t watched_ns);

/* Fades what is old. */
void curve_advance(struct curve *c, uint64_t now_ns);

/* What curve_refaults() reads from: the footprint as a polygon that bends down only. */
struct curve_slopes {
	unsigned n;
	double pages[CURVE_BUCKETS]; /* up to so many pages */
	double per_s[CURVE_BUCKETS]; /* so many refaults a second */
};

/* n_pages: in use. open_ns: page-nanoseconds that pages have been watched for without a touch so
 * far. */
void curve_fit(const struct curve *c, double n_pages, double open_ns, struct curve_slopes *out);

/* Refaults a second with so many pages of memory. */
double curve_refaults(const struct curve_slopes *s, double pages);

/* A stretch of so many nanoseconds that has gone on until now, faded like everything else. */
double curve_faded(uint64_t ns);

#endif
