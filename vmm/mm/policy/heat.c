/* heat: what comes back soon stays. The default.
 *
 * Nobody tells a policy of touches of resident pages. What it is told, of pages that come back, is
 * how many evictions went by meanwhile: a sample of how long a page goes without a touch. A page's
 * estimate is the mean of the logarithms of these, the latest with a weight of a third (half
 * for the first, the other half being the number of resident pages). It is kept while the page is
 * away, in a byte for every page: no list of ghosts is needed.
 *
 * Pages enter through a window, first in, first out. At its end a page is filed by the octave of
 * its estimate; pages that never came back are coldest. The victim is a page of the coldest octave,
 * by a hand that goes round, or the page at the window's end itself, where it is no better than
 * that. So a scan passes through the window and leaves the rest alone, and of a loop that is larger
 * than memory a part stays.
 *
 * The window is a 64th of the resident pages where estimates hold, and grows to all of them where
 * they do not, as when a program moves on to other memory. It finds its size by regret: pages that
 * come back within a quarter of the resident pages' number of evictions should have stayed. Each
 * one that left by the window's end makes it larger, each one that had been filed makes it smaller,
 * by so much that both ends get the same share of regrets. (ARC finds its split in this way:
 * Megiddo and Modha, 2003; W-TinyLFU compares at a window's end: Einziger, Friedman and Manes,
 * 2017.)
 *
 * How it compares with others: docs/performance.md; `guestmm replay` measures it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"
#include "policy/ranks.h"
#include "queue.h"
#include "reserve.h"

#define WINDOW 1u /* of the set of queues */

/* A page's byte: its estimate's octave (0: it never came back) and flags. */
#define OCTAVE	    31u
#define FILED	    32u
#define LEFT_WINDOW 64u	 /* by the window's end, when it left last */
#define LEFT_FILED  128u /* from where it was filed */
#define LEFT	    (LEFT_WINDOW | LEFT_FILED)
#define OCTAVE_MAX  30u
#define COLDEST	    31u /* the rank of pages that never came back */

#define WINDOW_MIN_SHARE 64u
#define REGRET_SHARE	 4u
#define REGRET_STEP	 4u  /* pages, where both ends have the same share of victims: twice that */
#define LOG_UNIT	 16u /* of an octave: what estimates are computed in */
#define HOT_OCTAVES                                                                                \
	3u /* hotter than so many below the number of resident pages is all the same               \
	    */

struct heat {
	struct gmm_policy base;
	struct queue_set queues;
	struct ranks ranks;
	uint8_t *bytes;
	uint8_t rank_of[256];
	uint64_t n_filed;
	uint64_t hands[COLDEST + 1]; /* by rank: where the next victim is looked for */
	uint64_t window;	     /* pages that it may hold */
	uint64_t n_left_window, n_left_filed, n_left_since;
	uint64_t random;
};

static struct heat *heat_of(struct gmm_policy *p)
{
	return (struct heat *)p;
}

static void heat_free(struct gmm_policy *p)
{
	struct heat *h = heat_of(p);

	if (h->ranks.n_levels)
		ranks_fini(&h->ranks);
	reserve_unmap(h->bytes, h->queues.n_pages);
	queue_fini(&h->queues);
	free(h);
}

static int heat_make(uint64_t n_pages, uint64_t n_resident, struct gmm_policy **out)
{
	struct heat *h = calloc(1, sizeof(*h));
	int error;

	if (!h)
		return -ENOMEM;
	h->base.ops = &policy_heat;
	h->random = UINT64_C(0x9e3779b97f4a7c15);
	h->window = n_resident / WINDOW_MIN_SHARE;
	for (unsigned byte = 0; byte < 256; byte++)
		if (byte & FILED)
			h->rank_of[byte] = byte & OCTAVE ? byte & OCTAVE : COLDEST;
	error = queue_init(&h->queues, n_pages);
	if (error) {
		free(h);
		return error;
	}
	h->bytes = reserve_map(n_pages);
	if (!h->bytes || ranks_init(&h->ranks, h->bytes, n_pages, h->rank_of)) {
		heat_free(&h->base);
		return -ENOMEM;
	}
	*out = &h->base;
	return 0;
}

static uint64_t heat_n_resident(const struct heat *h)
{
	return queue_pages(&h->queues, WINDOW) + h->n_filed;
}

/* ---- pages' bytes ---- */

static void heat_set(struct heat *h, uint64_t page, unsigned byte)
{
	uint8_t old = h->bytes[page];

	if (byte == old) /* nor is memory taken for a page that never left */
		return;
	h->n_filed += (byte & FILED) != 0;
	h->n_filed -= (old & FILED) != 0;
	h->bytes[page] = (uint8_t)byte;
	ranks_changed(&h->ranks, page, old);
}

static void heat_file(struct heat *h, uint64_t page)
{
	queue_drop(&h->queues, page);
	heat_set(h, page, h->bytes[page] | FILED);
}

static void heat_enter_window(struct heat *h, uint64_t page)
{
	heat_set(h, page, h->bytes[page] & ~FILED);
	queue_push(&h->queues, WINDOW, page);
}

/* Log2 in 16ths, linear between powers of two. */
static unsigned heat_log(uint64_t n)
{
	unsigned octave;

	if (n < 2)
		return 0;
	octave = 63u - (unsigned)__builtin_clzll(n);
	n = octave >= 4 ? n >> (octave - 4) : n << (4 - octave);
	return octave * LOG_UNIT + (unsigned)(n & 15);
}

/* xorshift64*: Vigna, 2016 */
static unsigned heat_draw(struct heat *h, unsigned below)
{
	h->random ^= h->random >> 12;
	h->random ^= h->random << 25;
	h->random ^= h->random >> 27;
	return (unsigned)(h->random * UINT64_C(2685821657736338717) >> 33) % below;
}

/* Whole octaves are kept: rounded up or down at random, they are right in the mean. */
static void heat_sample(struct heat *h, uint64_t page, uint64_t distance, uint64_t n_resident)
{
	unsigned octave = h->bytes[page] & OCTAVE, middle = heat_log(n_resident);
	unsigned min = middle / LOG_UNIT > HOT_OCTAVES ? middle / LOG_UNIT - HOT_OCTAVES : 1;
	unsigned mean = octave ? (2 * octave * LOG_UNIT + heat_log(distance)) / 3
			       : (middle + heat_log(distance)) / 2;

	octave = (mean + heat_draw(h, LOG_UNIT)) / LOG_UNIT;
	octave = octave < min ? min : octave > OCTAVE_MAX ? OCTAVE_MAX : octave;
	heat_set(h, page, (h->bytes[page] & ~OCTAVE) | octave);
}

/* ---- the window's size ---- */

static void heat_clamp_window(struct heat *h, uint64_t n_resident)
{
	uint64_t min = n_resident / WINDOW_MIN_SHARE;

	if (h->window < min)
		h->window = min;
	if (h->window > n_resident)
		h->window = n_resident;
}

/* The window holds far more than it may: when the first victims are picked all pages are in it. */
static bool heat_is_overfull(const struct heat *h, uint64_t n_resident)
{
	return queue_pages(&h->queues, WINDOW) > h->window + n_resident / 8;
}

static void heat_regret(struct heat *h, unsigned left, uint64_t n_resident)
{
	uint64_t n = left & LEFT_WINDOW ? h->n_left_window : h->n_left_filed;
	uint64_t step = REGRET_STEP * (h->n_left_window + h->n_left_filed) / (n + 1);

	if (left & LEFT_WINDOW)
		h->window += step;
	else
		h->window -= step < h->window ? step : h->window;
	heat_clamp_window(h, n_resident);
}

/* Counts fade: what was long ago is not what is. */
static void heat_left(struct heat *h, uint64_t page, unsigned left, uint64_t n_resident)
{
	heat_set(h, page, (h->bytes[page] & OCTAVE) | left);
	if (left == LEFT_WINDOW)
		h->n_left_window++;
	else
		h->n_left_filed++;
	if (++h->n_left_since < n_resident / 8)
		return;
	h->n_left_since = 0;
	h->n_left_window = h->n_left_window / 2 + 4;
	h->n_left_filed = h->n_left_filed / 2 + 4;
}

/* ---- the policy ---- */

static void heat_insert(struct gmm_policy *p, uint64_t page, enum gmm_policy_why why)
{
	(void)why;
	heat_enter_window(heat_of(p), page);
}

static void heat_insert_back(struct gmm_policy *p, uint64_t page, enum gmm_policy_why why,
			     uint64_t n_evictions)
{
	struct heat *h = heat_of(p);
	uint64_t n_resident = heat_n_resident(h);
	unsigned left = h->bytes[page] & LEFT;

	if (left && n_evictions < n_resident / REGRET_SHARE)
		heat_regret(h, left, n_resident);
	heat_set(h, page, h->bytes[page] & ~LEFT);
	heat_sample(h, page, n_evictions, n_resident);
	/* What was rescued has been looked at while it was on its way out. */
	if (why == GMM_POLICY_RESCUE)
		heat_file(h, page);
	else
		heat_enter_window(h, page);
}

/* How many pages can be skipped from `page` on, a multiple of 64, for none is filed: a multiple of
 * eight, up to n. */
static uint64_t heat_n_unfiled(const struct heat *h, uint64_t page, uint64_t n)
{
	uint64_t skip = 0, eight;

	for (; n - skip >= sizeof(eight); skip += sizeof(eight)) {
		memcpy(&eight, &h->bytes[page + skip], sizeof(eight));
		if (eight & FILED * UINT64_C(0x0101010101010101))
			break;
	}
	return skip;
}

static void heat_remove_run(struct gmm_policy *p, uint64_t first, uint64_t n)
{
	struct heat *h = heat_of(p);

	queue_drop_run(&h->queues, first, n);
	if (h->n_filed == 0) /* nor is memory taken to see that */
		return;
	for (uint64_t page = first; page < first + n; page++) {
		if (page % 64 == 0)
			page += heat_n_unfiled(h, page, first + n - page);
		if (page < first + n && h->bytes[page] & FILED)
			heat_set(h, page, h->bytes[page] & ~FILED);
	}
}

static void heat_remove(struct gmm_policy *p, uint64_t page)
{
	struct heat *h = heat_of(p);

	queue_drop(&h->queues, page);
	heat_set(h, page, h->bytes[page] & ~FILED);
}

static void heat_take_filed(struct heat *h, unsigned rank, uint64_t n_resident, uint64_t *page)
{
	*page = ranks_find(&h->ranks, h->hands[rank]);
	h->hands[rank] = *page;
	heat_left(h, *page, LEFT_FILED, n_resident);
}

static bool heat_pick_one(struct heat *h, uint64_t n_resident, uint64_t *page)
{
	for (;;) {
		unsigned coldest = ranks_highest(&h->ranks);

		if (coldest && queue_pages(&h->queues, WINDOW) <= h->window) {
			heat_take_filed(h, coldest, n_resident, page);
			return true;
		}
		if (!queue_pop(&h->queues, WINDOW, page))
			return false;
		if (coldest && !heat_is_overfull(h, n_resident) &&
		    h->rank_of[h->bytes[*page] | FILED] >= coldest) {
			heat_left(h, *page, LEFT_WINDOW, n_resident);
			return true;
		}
		heat_file(h, *page);
	}
}

static unsigned heat_pick(struct gmm_policy *p, uint64_t *pages, unsigned n)
{
	struct heat *h = heat_of(p);
	uint64_t n_resident = heat_n_resident(h);
	unsigned n_picked = 0;

	heat_clamp_window(h, n_resident);
	while (n_picked < n && heat_pick_one(h, n_resident, &pages[n_picked]))
		n_picked++;
	return n_picked;
}

static void heat_resize(struct gmm_policy *p, uint64_t n_resident)
{
	(void)n_resident; /* it counts those it has */
	queue_trim(&heat_of(p)->queues);
}

static uint64_t heat_metadata_bytes(const struct gmm_policy *p)
{
	const struct heat *h = (const struct heat *)p;

	return sizeof(*h) + queue_metadata_bytes(&h->queues) + h->queues.n_pages +
	       ranks_metadata_bytes(&h->ranks);
}

const struct gmm_policy_ops policy_heat = {
	.size = sizeof(struct gmm_policy_ops),
	.name = "heat",
	.make = heat_make,
	.insert = heat_insert,
	.remove = heat_remove,
	.remove_run = heat_remove_run,
	.pick = heat_pick,
	.resize = heat_resize,
	.metadata_bytes = heat_metadata_bytes,
	.free = heat_free,
	.insert_back = heat_insert_back,
};
