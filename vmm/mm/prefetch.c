/* Prefetch: see prefetch.h. */
#include "prefetch.h"

#include "huge.h"
#include "read.h"

#define PASSED_OVER   256u /* pages of a path that are there already, for one window */
#define PASSED_UNSEEN 32u  /* pages that nothing was read for, between two reads in order */
#define LATELY	      1024u
#define MAX_BLOCKING  32u /* pages at a time of a store whose reads are done at once */
#define MAX_DOUBTFUL  8u  /* pages at a time where a fifth and more is wasted, */
#define MAX_POOR      1u  /* and where half is */

void prefetch_init(struct prefetch *p)
{
	*p = (struct prefetch){0};
	trends_init(&p->trends);
}

/* ---- what became of it ---- */

static void prefetch_learn(struct prefetch *pf, uint32_t n_used, uint32_t n_wasted)
{
	pf->n_used += n_used;
	pf->n_wasted += n_wasted;
	if (pf->n_used + pf->n_wasted < LATELY)
		return;
	pf->n_used /= 2;
	pf->n_wasted /= 2;
}

static void prefetch_used(struct gmm_space *s, uint32_t n)
{
	s->counters.prefetch_used += n;
	prefetch_learn(&s->prefetch, n, 0);
}

void prefetch_touched(struct gmm_space *s, struct transfer *x)
{
	x->prefetch = 0;
	prefetch_used(s, 1);
}

void prefetch_evicted(struct gmm_space *s, unsigned flags)
{
	if (!(flags & PAGE_AHEAD))
		return;
	s->counters.prefetch_wasted++;
	prefetch_learn(&s->prefetch, 0, 1);
}

void prefetch_rescued(struct gmm_space *s, unsigned flags)
{
	if (!(flags & PAGE_AHEAD))
		return;
	s->counters.prefetch_wasted--;
	prefetch_used(s, 1);
}

/* The trend has come by behind these pages: they were of use, though no touch was seen. */
static void prefetch_proven(struct gmm_space *s, struct trend *trend)
{
	uint32_t n = trend_steps(trend, trend->proven, trend->last), n_used = 0;

	for (page_no p = trend->proven; n; n--, p = trend_step(trend, p)) {
		page_word w = space_word(s, p);

		if (page_state(w) != GMM_PAGE_RESIDENT || !(page_flags(w) & PAGE_AHEAD))
			continue;
		page_change(&s->pages, p, w,
			    page_with_flags(w, page_flags(w) & ~(unsigned)PAGE_AHEAD));
		n_used++;
	}
	trend->proven = trend->last;
	prefetch_used(s, n_used);
}

static bool prefetch_could_read(const struct gmm_space *s, page_no p)
{
	return page_state(space_word(s, p)) == GMM_PAGE_SWAPPED;
}

/* Those around p that touches in order would have passed by unseen. */
static struct place prefetch_place(const struct gmm_space *s, page_no p)
{
	const struct region *r = layout_find_page(&s->layout, p);
	uint64_t end = r->first + region_n_pages(r);
	struct place at = {p, p, p, huge_block(s, p)};

	while (at.from > r->first && p - at.from < PASSED_UNSEEN &&
	       !prefetch_could_read(s, at.from - 1))
		at.from--;
	while (at.to + UINT64_C(1) < end && at.to - p < PASSED_UNSEEN &&
	       !prefetch_could_read(s, at.to + 1))
		at.to++;
	return at;
}

void prefetch_fault(struct gmm_space *s, page_no p, int32_t tid)
{
	struct prefetch *pf = &s->prefetch;
	uint32_t who = threads_has(&pf->threads, tid) ? (uint32_t)tid : 0;
	struct trend *trend = trends_fault(&pf->trends, who, prefetch_place(s, p));

	prefetch_proven(s, trend);
	if (trend->wants)
		pf->wanted |= UINT64_C(1) << (trend - pf->trends.all);
}

/* ---- bringing in ---- */

static uint32_t min(uint64_t a, uint64_t b)
{
	return (uint32_t)(a < b ? a : b);
}

static struct gmm_store *prefetch_store(const struct gmm_space *s, const struct trend *trend)
{
	const struct region *r = layout_find_page(&s->layout, trend->last);

	return r->kind == REGION_WINDOW ? r->backing : s->store;
}

/* Does all that is submitted end at once, while everybody waits? */
static bool prefetch_blocks(const struct gmm_space *s, const struct trend *trend)
{
	struct gmm_store *store = prefetch_store(s, trend);

	return store->ops->fd(store) < 0;
}

/* How many pages may be brought in now. */
static uint32_t prefetch_max(const struct gmm_space *s, const struct trend *trend)
{
	const struct prefetch *pf = &s->prefetch;
	uint32_t max = min(space_free_frames(s) / 4, s->transfers.n_free / 2);

	if (s->n_waiting || pool_excess(s->pool))
		return 0;
	if (pf->n_wasted > pf->n_used + LATELY / 16)
		return min(max, MAX_POOR);
	if (4 * pf->n_wasted > pf->n_used + LATELY / 4)
		return min(max, MAX_DOUBTFUL);
	return min(max, prefetch_blocks(s, trend) ? MAX_BLOCKING : READ_BATCH_MAX);
}

/* The next n SWAPPED pages on the trend's path, in one region. Returns how many there are. */
static uint32_t prefetch_look(const struct gmm_space *s, const struct trend *trend, uint32_t n,
			      page_no *pages)
{
	const struct region *r = layout_find_page(&s->layout, trend->last);
	uint32_t have = 0, looks = n + PASSED_OVER;

	for (page_no p = trend->end; have < n && looks--; p = trend_step(trend, p)) {
		if (p < r->first || p - r->first >= region_n_pages(r))
			break;
		if (page_state(space_word(s, p)) == GMM_PAGE_SWAPPED)
			pages[have++] = p;
	}
	return have;
}

/* How many of these n pages of its path the trend reaches. */
static uint32_t prefetch_reached(const struct trend *trend, const page_no *pages, uint32_t n)
{
	uint32_t i = 0;

	while (i < n && trend_reaches(trend, pages[i]))
		i++;
	return i;
}

/* Reads n pages but for pages[but]. Returns how many pages of the n are dealt with. */
static uint32_t prefetch_read(struct gmm_space *s, const page_no *pages, uint32_t n, uint32_t but)
{
	struct transfer *xs[READ_BATCH_MAX];
	bay_slot slots[READ_BATCH_MAX];
	uint32_t n_slots = bay_get_several(&s->bay, n - (but < n), slots), have = 0, i;

	for (i = 0; i < n; i++) {
		if (i == but)
			continue;
		if (have == n_slots || !(xs[have] = read_prepare(s, pages[i], slots[have])))
			break;
		xs[have++]->prefetch = 1;
	}
	for (uint32_t k = have; k < n_slots; k++)
		bay_put_dirty(&s->bay, slots[k]);
	if (have == 0 || read_submit(s, xs, have))
		return 0;
	s->counters.read_ahead += have;
	return i;
}

/* A window, the mark, the lead; or behind a lead the mark and the next. Where the trend does not
 * reach further its mark is the first page beyond, where the path ends there is no mark, and where
 * frames or transfers do it is the first page that found none. True: all has ended already. */
static bool prefetch_window(struct gmm_space *s, struct trend *trend)
{
	uint32_t max = prefetch_max(s, trend), window = min(trend->window, max), n = window + 1;
	uint32_t at = trend->lead ? 0 : window, n_reached, done;
	page_no pages[READ_BATCH_MAX];

	if (!trend->wants || window == 0)
		return false;
	if (!trend->lead && window >= TREND_LEAD_MIN)
		n += min(window, max - window);
	n = prefetch_look(s, trend, n, pages);
	n_reached = prefetch_reached(trend, pages, n);
	if (n_reached < n) {
		at = min(at, n_reached);
		n = n_reached > at ? n_reached : at + 1;
	}
	done = prefetch_read(s, pages, n, at);
	if (done > at)
		trend_sent(trend, pages[at],
			   at + 1 == done ? pages[at] : trend_step(trend, pages[done - 1]));
	else if (done < n)
		trend_sent(trend, pages[done], pages[done]);
	else
		trend_sent(trend, PAGE_NONE, PAGE_NONE);
	return done && prefetch_blocks(s, trend);
}

bool prefetch_run(struct gmm_space *s)
{
	struct prefetch *pf = &s->prefetch;
	bool ended = false;

	for (; pf->wanted; pf->wanted &= pf->wanted - 1)
		ended |= prefetch_window(s, &pf->trends.all[__builtin_ctzll(pf->wanted)]);
	return ended;
}
