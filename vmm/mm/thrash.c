/* Thrashing: see thrash.h. */
#include "thrash.h"

#include <string.h>

void thrash_init(struct thrash *t, uint64_t now_ns, uint64_t limit_pages)
{
	memset(t, 0, sizeof(*t));
	t->ends[0].at_ns = now_ns;
	t->step_pages = (uint32_t)(limit_pages / 64 + 1);
}

void thrash_came_back(struct thrash *t, uint64_t n_evictions, uint64_t limit_pages)
{
	uint64_t step = n_evictions / t->step_pages;

	t->n_back++;
	t->n_refaults += n_evictions / THRASH_REACH < limit_pages;
	t->distances[step < THRASH_STEPS ? step : THRASH_STEPS - 1]++;
}

/* So many frames more that of what came back at most keep_permille still would. */
static uint64_t thrash_more(const struct thrash *t, uint64_t keep_permille)
{
	uint64_t n = 0, gone = 0;

	for (unsigned i = 0; i < THRASH_STEPS; i++)
		n += t->distances[i];
	for (unsigned i = 0; i < THRASH_STEPS; i++) {
		gone += t->distances[i];
		if ((n - gone) * 1000 <= n * keep_permille)
			return (uint64_t)(i + 1) * t->step_pages;
	}
	return (uint64_t)THRASH_STEPS * t->step_pages;
}

static void thrash_judge(struct thrash *t, const struct thrash_totals *from,
			 const struct thrash_totals *to)
{
	uint64_t n_back = to->n_back - from->n_back;
	uint64_t stalled = (to->some_ns - from->some_ns) * 1000;

	t->window_ns = to->at_ns - from->at_ns;
	t->window_refaults = to->n_refaults - from->n_refaults;
	t->stalled_permille = t->window_ns ? (uint32_t)(stalled / t->window_ns) : 0;
	if (t->is_on)
		t->is_on = t->stalled_permille >= THRASH_OFF && t->window_refaults * 4 >= n_back &&
			   n_back;
	else
		t->is_on = t->stalled_permille >= THRASH_ON && t->window_refaults * 2 >= n_back &&
			   n_back;
	t->more_pages = 0;
	if (!t->is_on)
		return;
	/* Waiting shrinks with what is waited for. */
	t->more_pages = thrash_more(t, t->stalled_permille > THRASH_OFF
					       ? 1000 * THRASH_OFF / t->stalled_permille
					       : 1000);
	if (t->more_pages > t->most_more_pages)
		t->most_more_pages = t->more_pages;
}

static void thrash_fade(struct thrash *t)
{
	for (unsigned i = 0; i < THRASH_STEPS; i++)
		t->distances[i] -= (t->distances[i] + THRASH_PERIODS - 1) / THRASH_PERIODS;
}

void thrash_update(struct thrash *t, uint64_t now_ns, uint64_t some_ns)
{
	const struct thrash_totals now = {now_ns, some_ns, t->n_back, t->n_refaults};
	const struct thrash_totals *last = &t->ends[t->n_periods % THRASH_PERIODS];
	uint64_t passed = now_ns - last->at_ns, first;

	if (passed < THRASH_PERIOD_NS)
		return;
	if (t->is_on)
		t->total_ns += passed;
	/* The window begins so many ends of periods ago, and never before the last ten seconds
	 * where nobody asked in between. */
	first = t->n_periods + 1 > THRASH_PERIODS ? t->n_periods + 1 - THRASH_PERIODS : 0;
	while (first < t->n_periods && now_ns - t->ends[first % THRASH_PERIODS].at_ns >
					       THRASH_PERIODS * THRASH_PERIOD_NS * 3 / 2)
		first++;
	thrash_judge(t, &t->ends[first % THRASH_PERIODS], &now);
	thrash_fade(t);
	t->n_periods++;
	t->ends[t->n_periods % THRASH_PERIODS] = now;
}
