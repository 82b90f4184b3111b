/* What is made of watching: how much a guest uses, and what it would refault with less or more. */
#include <guestmm/space.h>

#include "sampling.h"
#include "space.h"

#define WS_SETTLED_NS                                                                              \
	UINT64_C(1000000000) /* watched for so long, a page is known not to be in use */
#define WS_EIGHTHS 16u

struct ws_sums {
	uint64_t n_used;    /* in the window */
	uint64_t n_idle;    /* not */
	uint64_t n_unknown; /* not watched long enough to tell */
	uint64_t n_blind;   /* never watched */
	double open_ns;	    /* page-nanoseconds that pages of the sample are watched for now */
};

/* On a slow host a page is looked at seldom: one that came back when it was last watched is in use
 * until it is watched again, for as long as the window is, in vain. */
static void ws_sum_page(const struct ws_page *e, uint64_t window_ns, uint64_t now, bool is_resident,
			struct ws_sums *sums)
{
	uint64_t since = e->touched_ns ? e->touched_ns : e->armed_ns;
	uint64_t watched = e->armed_ns ? now - e->armed_ns : 0;

	if (e->armed_ns)
		sums->open_ns += curve_faded(now - since);
	if (e->touched_ns && now - e->touched_ns <= window_ns)
		sums->n_used++;
	else if (!is_resident || watched >= (e->came_back ? window_ns : WS_SETTLED_NS))
		sums->n_idle++;
	else if (e->came_back)
		sums->n_used++;
	else
		sums->n_unknown++;
}

/* In a block that cannot be laid aside: whether it is touched is never seen. */
static bool ws_is_blind(const struct gmm_space *s, page_no p)
{
	return p < s->pages.n_pages && huge_mapped(s, p) != PAGE_NONE && !huge_may_lay_aside(s);
}

static void ws_sum(const struct gmm_space *s, uint64_t now, struct ws_sums *sums)
{
	const struct working_set *ws = &s->ws;

	*sums = (struct ws_sums){0};
	for (uint32_t i = 0; ws->pages && i < ws->n; i++) {
		page_no p = sampling_page(ws->level, i);

		if (ws_is_blind(s, p))
			sums->n_blind++;
		else if (ws->pages[i].used)
			ws_sum_page(&ws->pages[i], ws->pace.window_ns, now,
				    page_state(space_word(s, p)) == GMM_PAGE_RESIDENT, sums);
	}
}

static uint64_t ws_n_pages(const struct ws_sums *sums)
{
	return sums->n_used + sums->n_idle + sums->n_unknown + sums->n_blind;
}

/* Of those that nobody knows as many as of the others. Where all are such that will never be known,
 * each may be in use. */
static double ws_in_use(const struct ws_sums *sums)
{
	uint64_t known = sums->n_used + sums->n_idle;

	if (known == 0)
		return sums->n_unknown ? 0 : (double)sums->n_blind;
	return (double)ws_n_pages(sums) * (double)sums->n_used / (double)known;
}

static void ws_add_point(const struct curve_slopes *slopes, uint64_t limit_pages,
			 struct gmm_stats *out)
{
	struct gmm_curve_point *point = &out->working_set.curve[out->working_set.n_points++];
	uint64_t all = out->memory_bytes >> GMM_PAGE_SHIFT, usable = limit_pages;
	struct gmm_watermarks marks;

	gmm_space_watermarks(limit_pages, &marks);
	if (limit_pages < all) /* some are kept free */
		usable = limit_pages > marks.high ? limit_pages - marks.high : 0;
	point->limit_bytes = limit_pages << GMM_PAGE_SHIFT;
	if (limit_pages < all)
		point->refaults_per_s = (uint64_t)(curve_refaults(slopes, (double)usable) + 0.5);
}

static void ws_points(const struct curve_slopes *slopes, struct gmm_stats *out)
{
	uint64_t limit = out->limit_bytes >> GMM_PAGE_SHIFT;
	uint64_t all = out->memory_bytes >> GMM_PAGE_SHIFT;

	for (uint64_t i = 1; i <= WS_EIGHTHS && limit * i / 8 <= all; i++)
		ws_add_point(slopes, limit * i / 8, out);
	for (uint64_t to = limit * 4; to <= all && out->working_set.n_points < GMM_CURVE_POINTS;
	     to *= 2)
		ws_add_point(slopes, to, out);
}

void working_set_stats(struct gmm_space *s, struct gmm_stats *out)
{
	struct working_set *ws = &s->ws;
	double each = (double)(UINT64_C(1) << ws->level);
	struct curve_slopes slopes;
	struct ws_sums sums;
	uint64_t now = now_ns();

	out->working_set.on = ws->on;
	if (!ws->on)
		return;
	curve_advance(&ws->curve, now);
	ws_sum(s, now, &sums);
	curve_fit(&ws->curve, (double)ws_n_pages(&sums) * each, sums.open_ns * each, &slopes);
	out->working_set.bytes = (uint64_t)(ws_in_use(&sums) * each) << GMM_PAGE_SHIFT;
	out->working_set.pages_a_sample = UINT64_C(1) << ws->level;
	out->working_set.sampled = ws->n_used;
	out->working_set.touches = ws->n_touches;
	out->working_set.spent_ns = ws->spent_ns;
	ws_points(&slopes, out);
}
