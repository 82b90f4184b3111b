/* Trends: see trends.h. */
#include "trends.h"

#define NEAR_PAGES  128u /* a fault so close to a trend's last one is its own */
#define STRIDE_MAX  1024 /* what steps further has few pages on its way: no direction */
#define VOTES_FIRST 4u
#define PASSED_BY   256u	   /* pages of a path that are there already, for one window */
#define MET_MORE    (4 * TRENDS_N) /* a trend with a stride outlives so many without one */

void trends_init(struct trends *t)
{
	*t = (struct trends){0};
	for (unsigned i = 0; i < TRENDS_N; i++)
		t->all[i] = (struct trend){.last = PAGE_NONE, .mark = PAGE_NONE};
}

uint32_t trend_steps(const struct trend *trend, page_no a, page_no b)
{
	int64_t distance = (int64_t)b - a;

	if (trend->stride == 0 || distance % trend->stride || distance / trend->stride < 0)
		return 0;
	return (uint32_t)(distance / trend->stride);
}

page_no trend_step(const struct trend *trend, page_no p)
{
	int64_t q = (int64_t)p + trend->stride;

	return q >= 0 && q < PAGE_NONE ? (page_no)q : PAGE_NONE;
}

/* ---- the stride ---- */

/* What more than half of the last n were, of deltas or of orders; 0: none. Boyer and Moore's vote,
 * and a count. */
static int32_t trend_vote(const struct trend *trend, bool of_orders, unsigned n)
{
	int32_t all[TREND_HISTORY], candidate = 0;
	unsigned lead = 0, n_for = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned at = (trend->at + TREND_HISTORY - 1 - i) % TREND_HISTORY;

		all[i] = of_orders ? trend->orders[at] : trend->deltas[at];
		if (lead == 0)
			candidate = all[i];
		if (all[i] == candidate)
			lead++;
		else
			lead--;
	}
	for (unsigned i = 0; i < n; i++)
		n_for += all[i] == candidate;
	return n_for > n / 2 ? candidate : 0;
}

/* What the history shows, looked for in the latest past first; 0: nothing. */
static int32_t trend_look_back(const struct trend *trend, bool at_orders)
{
	int32_t d = 0;

	if (trend->n_deltas < VOTES_FIRST)
		return trend_vote(trend, at_orders, trend->n_deltas);
	for (unsigned n = VOTES_FIRST; n <= trend->n_deltas && d == 0; n *= 2)
		d = trend_vote(trend, at_orders, n);
	return d;
}

/* The next page is a good guess at once; other distances, and what only passed by what is there,
 * must have been seen twice. */
static int32_t trend_find(const struct trend *trend)
{
	int32_t d = trend_look_back(trend, false);

	if (trend->n_deltas < 2)
		return d == 1 || d == -1 ? d : 0;
	return d ? d : trend_look_back(trend, true);
}

static void trend_note(struct trend *trend, int64_t d, int order)
{
	if (d == 0)
		return;
	trend->deltas[trend->at] = d > STRIDE_MAX || d < -STRIDE_MAX ? 0 : (int16_t)d;
	trend->orders[trend->at] = (int8_t)order;
	trend->at = (uint8_t)((trend->at + 1) % TREND_HISTORY);
	if (trend->n_deltas < TREND_HISTORY)
		trend->n_deltas++;
}

/* Was the fault before this one at the page that could be read before this one, or behind it? */
static int trend_order(const struct trend *trend, const struct place *at)
{
	if (trend->last < at->p)
		return trend->last + 1 >= at->from;
	return trend->last <= at->to + UINT64_C(1) ? -1 : 0;
}

/* ---- the path ---- */

/* Is p on the path: the mark, or among what was brought in behind the last fault? */
static bool trend_has(const struct trend *trend, page_no p)
{
	bool is_between = trend->stride > 0 ? p > trend->last && p < trend->end
					    : p < trend->last && p > trend->end;

	if (trend->mark == PAGE_NONE)
		return false;
	return p == trend->mark || (is_between && trend_steps(trend, trend->last, p));
}

/* A fault on the path. At the mark the next window is due. Before it a page had left again, or was
 * not to be had; behind it somebody else brought the mark in. */
static void trend_follow(struct trend *trend, const struct place *at)
{
	page_no p = at->p;

	if (p == trend->mark) {
		trend->crossed |= at->block != trend->block;
		trend_note(trend, trend->stride, trend->stride > 0 ? 1 : -1);
		trend->window = trend->window * 2 + 1;
		if (trend->window > TREND_WINDOW_MAX)
			trend->window = TREND_WINDOW_MAX;
	}
	trend->wants = p == trend->mark || trend_steps(trend, trend->mark, p);
	trend->last = p;
	trend->block = at->block;
	if (!trend->wants)
		return;
	trend->lead = trend_steps(trend, p, trend->end) > 1;
	if (!trend->lead)
		trend->end = trend_step(trend, p);
	trend->mark = trend->end;
}

/* A fault beside the path, or where there is none yet. */
static void trend_turn(struct trend *trend, const struct place *at)
{
	int64_t d = (int64_t)at->p - trend->last;
	int order = trend_order(trend, at);
	int32_t stride;
	bool is_step, goes_on;

	trend_note(trend, d, order);
	stride = trend_find(trend);
	is_step = stride && (d == stride || order == stride);
	goes_on = stride == trend->stride;
	trend->window = goes_on ? trend->window / 2 : stride != 0;
	trend->crossed = (is_step && at->block != trend->block) || (goes_on && trend->crossed);
	trend->stride = stride;
	trend->last = trend->proven = at->p;
	trend->block = at->block;
	trend->lead = false;
	trend->end = trend->mark = stride ? trend_step(trend, at->p) : PAGE_NONE;
	trend->wants = trend->window != 0;
}

static bool trend_reaches(const struct trend *trend, page_no p)
{
	return trend->crossed || trend->block == PAGE_NONE || p - trend->block < TREND_BLOCK;
}

/* The mark is the first page that the trend does not reach, if not one before; where there was
 * nothing but pages to pass by, the last that was found. */
void trend_ahead(const struct trend *trend, uint32_t max, trend_look_fn *look, const void *user,
		 struct trend_ahead *ahead)
{
	uint32_t window = trend->window < max ? trend->window : max, n = window + 1, looks;

	if (!trend->lead && window >= TREND_LEAD_MIN)
		n += window < max - window ? window : max - window;
	ahead->mark = trend->lead ? 0 : window;
	ahead->n = 0;
	looks = n + PASSED_BY;
	for (page_no p = trend->end; ahead->n < n && looks--; p = trend_step(trend, p)) {
		enum trend_page found = p == PAGE_NONE ? TREND_ENDS : look(user, p);

		if (found == TREND_ENDS) {
			ahead->mark = ahead->mark < ahead->n ? ahead->mark : ahead->n;
			return;
		}
		if (found == TREND_PASSES_BY)
			continue;
		if (!trend_reaches(trend, p) && ahead->n > ahead->mark)
			return;
		ahead->pages[ahead->n++] = p;
		if (!trend_reaches(trend, p))
			break;
	}
	if (ahead->n && ahead->mark >= ahead->n)
		ahead->mark = ahead->n - 1;
}

void trend_sent(struct trend *trend, page_no mark, page_no end)
{
	trend->mark = mark;
	trend->end = end;
	trend->wants = false;
}

/* ---- which trend ---- */

static struct trend *trends_on_path(struct trends *t, page_no p)
{
	struct trend *best = NULL;

	for (unsigned i = 0; i < TRENDS_N; i++) {
		struct trend *trend = &t->all[i];

		if (!trend_has(trend, p))
			continue;
		if (p == trend->mark)
			return trend;
		best = trend;
	}
	return best;
}

/* Whose faults are whose is known of this process's own threads only. */
static bool trend_may_be_of(const struct trend *trend, uint32_t who)
{
	return trend->who == who || trend->who == 0 || who == 0;
}

static struct trend *trends_near(struct trends *t, uint32_t who, page_no p)
{
	struct trend *best = NULL;
	uint32_t least = NEAR_PAGES + 1;

	for (unsigned i = 0; i < TRENDS_N; i++) {
		struct trend *trend = &t->all[i];
		uint32_t away = p > trend->last ? p - trend->last : trend->last - p;

		if (trend->met && !trend->wide && trend_may_be_of(trend, who) && away < least) {
			best = trend;
			least = away;
		}
	}
	return best;
}

static struct trend *trends_wide(struct trends *t, uint32_t who)
{
	for (unsigned i = 0; i < TRENDS_N; i++)
		if (t->all[i].met && t->all[i].wide && t->all[i].who == who)
			return &t->all[i];
	return NULL;
}

static uint64_t trend_worth(const struct trend *trend)
{
	return trend->met + (trend->stride || trend->wide ? MET_MORE : 0);
}

/* A new trend, in the place of the one that is worth least. */
static struct trend *trends_begin(struct trends *t, uint32_t who, const struct place *at, bool wide)
{
	struct trend *least = &t->all[0];

	for (unsigned i = 1; i < TRENDS_N; i++)
		if (trend_worth(&t->all[i]) < trend_worth(least))
			least = &t->all[i];
	*least = (struct trend){.last = at->p,
				.block = at->block,
				.mark = PAGE_NONE,
				.proven = at->p,
				.who = who,
				.wide = wide,
				.met = t->clock};
	return least;
}

struct trend *trends_fault(struct trends *t, uint32_t who, struct place at)
{
	page_no p = at.p;
	struct trend *trend = trends_on_path(t, p);

	t->clock++;
	if (trend) {
		trend_follow(trend, &at);
	} else if ((trend = trends_near(t, who, p)) != NULL) {
		trend_turn(trend, &at);
	} else {
		trend = trends_wide(t, who);
		if (trend)
			trend_turn(trend, &at);
		else
			trend = trends_begin(t, who, &at, true);
		trend->met = t->clock; /* not to be displaced by the next line */
		trends_begin(t, who, &at, false);
	}
	trend->met = t->clock;
	return trend;
}
