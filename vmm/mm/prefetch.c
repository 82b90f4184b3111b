/* Prefetch: see prefetch.h. */
#include "prefetch.h"

#include "huge.h"
#include "read.h"

#define PASSED_UNSEEN 32u /* pages that nothing was read for, between two reads in order */
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

_Static_assert(TREND_BLOCK == GMM_HUGE_PAGES, "a trend's block is a huge page");
_Static_assert(2 * TREND_WINDOW_MAX + 1 <= READ_BATCH_MAX, "all that a trend wants is one batch");

/* A trend's path stays within one region. */
struct path {
	const struct gmm_space *s;
	const struct region *r;
};

static enum trend_page prefetch_look(const void *user, page_no p)
{
	const struct path *path = user;

	if (p < path->r->first || p - path->r->first >= region_n_pages(path->r))
		return TREND_ENDS;
	return prefetch_could_read(path->s, p) ? TREND_READS : TREND_PASSES_BY;
}

/* Reads n pages but for pages[but]. Returns how many pages of the n are dealt with. */
static uint32_t prefetch_read(struct gmm_space *s, const page_no *pages, uint32_t n, uint32_t but)
{
	struct transfer *xs[READ_BATCH_MAX];
	bay_slot slots[READ_BATCH_MAX];
	uint32_t n_reads = n - (but < n), have = 0, i;
	uint32_t n_slots = n_reads ? bay_get_several(&s->bay, n_reads, slots) : 0;

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

/* Where frames or transfers end the mark is the first page that found none. True: all has ended
 * already. */
static bool prefetch_window(struct gmm_space *s, struct trend *trend)
{
	struct path path = {s, layout_find_page(&s->layout, trend->last)};
	struct trend_ahead ahead;
	page_no mark = PAGE_NONE, end = PAGE_NONE;
	uint32_t done;

	if (!trend->wants)
		return false;
	trend_ahead(trend, prefetch_max(s, trend), prefetch_look, &path, &ahead);
	done = prefetch_read(s, ahead.pages, ahead.n, ahead.mark);
	if (done > ahead.mark)
		mark = ahead.pages[ahead.mark];
	else if (done < ahead.n)
		mark = ahead.pages[done];
	if (done > ahead.mark + 1)
		end = trend_step(trend, ahead.pages[done - 1]);
	else
		end = mark;
	trend_sent(trend, mark, end);
	return done > (ahead.mark < done) && prefetch_blocks(s, trend);
}

bool prefetch_run(struct gmm_space *s)
{
	struct prefetch *pf = &s->prefetch;
	bool ended = false;

	for (; pf->wanted; pf->wanted &= pf->wanted - 1)
		ended |= prefetch_window(s, &pf->trends.all[__builtin_ctzll(pf->wanted)]);
	return ended;
}
