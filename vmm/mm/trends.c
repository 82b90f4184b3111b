/* Trends: see trends.h. */
#include "trends.h"

#define NEAR_PAGES  128u /* a fault so close to a trend's last one is its own */
#define STRIDE_MAX  1024 /* what steps further has few pages on its way: no direction */
#define VOTES_FIRST 4u
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

static int32_t trend_delta(const struct trend *trend, unsigned n_ago)
{
	return trend->deltas[(trend->at + TREND_HISTORY - n_ago) % TREND_HISTORY];
}

/* The delta that more than half of the last n have; 0: none. Boyer and Moore's vote, and a count.
 */
static int32_t trend_vote(const struct trend *trend, unsigned n)
{
	int32_t candidate = 0;
	unsigned lead = 0, n_for = 0;

	for (unsigned i = 1; i <= n; i++) {
		if (lead == 0)
			candidate = trend_delta(trend, i);
		if (trend_delta(trend, i) == candidate)
			lead++;
		else
			lead--;
	}
	for (unsigned i = 1; i <= n; i++)
		n_for += trend_delta(trend, i) == candidate;
	return n_for > n / 2 ? candidate : 0;
}

/* What the history shows, looked for in the latest past first; 0: nothing. The next page is a good
 * guess at once; other distances must have been seen twice. */
static int32_t trend_find(const struct trend *trend)
{
	int32_t d = 0;

	if (trend->n_deltas < VOTES_FIRST) {
		d = trend_vote(trend, trend->n_deltas);
		return trend->n_deltas > 1 || d == 1 || d == -1 ? d : 0;
	}
	for (unsigned n = VOTES_FIRST; n <= trend->n_deltas && d == 0; n *= 2)
		d = trend_vote(trend, n);
	return d;
}

static void trend_note(struct trend *trend, int64_t d)
{
	if (d == 0)
		return;
	trend->deltas[trend->at] = d > STRIDE_MAX || d < -STRIDE_MAX ? 0 : (int32_t)d;
	trend->at = (uint8_t)((trend->at + 1) % TREND_HISTORY);
	if (trend->n_deltas < TREND_HISTORY)
		trend->n_deltas++;
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
static void trend_follow(struct trend *trend, page_no p)
{
	if (p == trend->mark) {
		trend_note(trend, trend->stride);
		trend->window = trend->window * 2 + 1;
		if (trend->window > TREND_WINDOW_MAX)
			trend->window = TREND_WINDOW_MAX;
	}
	trend->wants = p == trend->mark || trend_steps(trend, trend->mark, p);
	trend->last = p;
	if (!trend->wants)
		return;
	trend->lead = trend_steps(trend, p, trend->end) > 1;
	if (!trend->lead)
		trend->end = trend_step(trend, p);
	trend->mark = trend->end;
}

/* A fault beside the path, or where there is none yet. */
static void trend_turn(struct trend *trend, page_no p)
{
	int32_t stride;

	trend_note(trend, (int64_t)p - trend->last);
	stride = trend_find(trend);
	trend->window = stride == trend->stride ? trend->window / 2 : stride != 0;
	trend->stride = stride;
	trend->last = trend->proven = p;
	trend->lead = false;
	trend->end = trend->mark = stride ? trend_step(trend, p) : PAGE_NONE;
	trend->wants = trend->window != 0;
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
static struct trend *trends_begin(struct trends *t, uint32_t who, page_no p, bool wide)
{
	struct trend *least = &t->all[0];

	for (unsigned i = 1; i < TRENDS_N; i++)
		if (trend_worth(&t->all[i]) < trend_worth(least))
			least = &t->all[i];
	*least = (struct trend){.last = p,
				.mark = PAGE_NONE,
				.proven = p,
				.who = who,
				.wide = wide,
				.met = t->clock};
	return least;
}

struct trend *trends_fault(struct trends *t, uint32_t who, page_no p)
{
	struct trend *trend = trends_on_path(t, p);

	t->clock++;
	if (trend) {
		trend_follow(trend, p);
	} else if ((trend = trends_near(t, who, p)) != NULL) {
		trend_turn(trend, p);
	} else {
		trend = trends_wide(t, who);
		if (trend)
			trend_turn(trend, p);
		else
			trend = trends_begin(t, who, p, true);
		trend->met = t->clock; /* not to be displaced by the next line */
		trends_begin(t, who, p, false);
	}
	trend->met = t->clock;
	return trend;
}
