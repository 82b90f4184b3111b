/* First touches: see first_touch.h. */
#include "first_touch.h"

#include <errno.h>

#include "fatal.h"
#include "trace.h"

#define TOUCH_RUN_MAX 64u /* zero pages for one fault */
#define TOUCH_GOES_ON                                                                              \
	4u /* zero pages for the first fault of a stream that was forgotten, where                 \
	    * the limit has a frame for every page */
#define TOUCH_AROUND_MIN 16u /* the least neighbourhood that is looked at */
#define TOUCH_PASSES_BY	 32u /* pages that are there already, between two touches in order */

/* Pages that get zeros at once, the touched one among them. */
struct span {
	page_no first;
	uint32_t n;
};

/* How many pages may come along without making frames short: never more than a quarter of
 * what is free. */
static uint32_t touch_window(const struct gmm_space *s, uint32_t max)
{
	uint64_t spare = space_free_frames(s) / 4;

	return spare < max ? (uint32_t)(spare ? spare : 1) : max;
}

static bool touch_may_come_along(const struct gmm_space *s, const struct region *r, page_no p)
{
	return page_state(space_word(s, p)) == GMM_PAGE_EMPTY && !space_is_taken(s, r, p);
}

static bool touch_is_in_use(const struct gmm_space *s, page_no p)
{
	enum gmm_page_state state = page_state(space_word(s, p));

	return state == GMM_PAGE_RESIDENT || state == GMM_PAGE_EVICTING ||
	       state == GMM_PAGE_SWAPPED;
}

/* Nothing would be seen of a touch of this page. */
static bool touch_is_there(const struct gmm_space *s, page_no p)
{
	enum gmm_page_state state = page_state(space_word(s, p));

	return state == GMM_PAGE_RESIDENT || state == GMM_PAGE_FILLING;
}

/* From which page to p nothing would have been seen of touches in order. */
static page_no touch_unseen(const struct gmm_space *s, page_no p)
{
	page_no first = layout_find_page(&s->layout, p)->first, from = p;

	while (from > first && p - from < TOUCH_PASSES_BY && touch_is_there(s, from - 1))
		from--;
	return from;
}

/* How many pages from p on, n at most, may come along without a gap. */
static uint32_t touch_run(const struct gmm_space *s, const struct region *r, page_no p, uint32_t n)
{
	uint64_t left = r->first + region_n_pages(r) - p;
	uint32_t len = 0;

	n = n < left ? n : (uint32_t)left;
	while (len < n && touch_may_come_along(s, r, p + len))
		len++;
	return len;
}

/* p and those of at most n - 1 pages behind it that may come along. */
static struct span touch_ahead(const struct gmm_space *s, page_no p, uint32_t n)
{
	const struct region *r = layout_find_page(&s->layout, p);

	return (struct span){p, 1 + touch_run(s, r, p + 1, n - 1)};
}

/* The neighbourhood of this many pages, aligned in guest-physical memory, that p is in, as far as
 * its region goes. It never reaches into another block of 2 MiB. */
static struct span touch_group(const struct gmm_space *s, page_no p, uint32_t size)
{
	const struct region *r = layout_find_page(&s->layout, p);
	uint64_t end = r->first + region_n_pages(r);
	page_no skip = (page_no)((region_gpa(r, p) >> GMM_PAGE_SHIFT) % size);
	page_no first = p - r->first < skip ? r->first : p - skip;
	uint64_t behind = (uint64_t)p - skip + size;

	return (struct span){first, (page_no)((behind < end ? behind : end) - first)};
}

static uint32_t touch_n_in_use(const struct gmm_space *s, struct span group)
{
	uint32_t n = 0;

	for (page_no p = group.first; p < group.first + group.n; p++)
		n += touch_is_in_use(s, p);
	return n;
}

/* p and those around it, without a gap, that may come along; p alone where less than a quarter of
 * the neighbourhood is in use. */
static struct span touch_around(const struct gmm_space *s, page_no p, uint32_t size)
{
	const struct region *r = layout_find_page(&s->layout, p);
	struct span group = touch_group(s, p, size);
	page_no from = p, to = p;

	if (touch_n_in_use(s, group) < size / 4)
		return (struct span){p, 1};
	while (from > group.first && touch_may_come_along(s, r, from - 1))
		from--;
	while (to + 1 < group.first + group.n && touch_may_come_along(s, r, to + 1))
		to++;
	return (struct span){from, to - from + 1};
}

/* What is dense becomes denser still (Kwon et al., "Ingens", OSDI 2016, put huge pages together by
 * how much of them is in use). Zeros that are never wanted are at most three times those that
 * were; only a limit that will never be short has room for them. In sparse memory nothing is in
 * use nearby, and the words of the wider neighbourhood are left in peace: they would be cache
 * misses. */
static struct span touch_neighbourhood(const struct gmm_space *s, page_no p)
{
	struct span span = {p, 1};

	if (!space_has_all(s) || touch_n_in_use(s, touch_group(s, p, TOUCH_AROUND_MIN)) == 0)
		return span;
	for (uint32_t size = TOUCH_RUN_MAX; size >= TOUCH_AROUND_MIN && span.n == 1; size /= 2)
		span = touch_around(s, p, size);
	return span;
}

static void touch_set_filling(struct gmm_space *s, page_no p)
{
	page_change(&s->pages, p, space_word(s, p), page_make(GMM_PAGE_FILLING, GMM_SLOT_NONE));
}

/* How many of the span are in place. */
static unsigned touch_fill(struct gmm_space *s, struct span span, page_no touched)
{
	unsigned done = 0;
	int ret;

	for (uint32_t i = 0; i < span.n; i++)
		touch_set_filling(s, span.first + i);
	ret = s->engine.ops->fill_zero(&s->engine, space_hva(s, span.first), span.n, &done);
	CHECK(ret != -EEXIST, "page %u was mapped behind the library's back", span.first + done);
	for (page_no p = span.first; p < span.first + span.n; p++) {
		if (p >= span.first + done)
			page_change(&s->pages, p, space_word(s, p), page_make(GMM_PAGE_EMPTY, 0));
		else if (p == touched)
			fault_resident(s, p, GMM_SLOT_NONE, 0, GMM_POLICY_FIRST_TOUCH);
		else
			fault_resident(s, p, GMM_SLOT_NONE, PAGE_PREFETCHED, GMM_POLICY_PREFETCH);
	}
	return done;
}

/* A first touch right behind a page that is in use: memory is being filled in order, even where
 * no stream remembers it. */
static bool touch_goes_on(const struct gmm_space *s, page_no p)
{
	return p > layout_find_page(&s->layout, p)->first && touch_is_in_use(s, p - 1);
}

static void touch_served(struct gmm_space *s, const struct fault *f, uint32_t n)
{
	s->counters.demand_zero++;
	s->counters.prefetched += n - 1;
	space_note_latency(s, f->since_ns);
}

/* Zeros for n pages more behind `last`, up to `end`; those in use are passed by. Returns how many
 * are in place, and where to go on in *next. */
static uint32_t touch_go_on(struct gmm_space *s, page_no last, uint64_t end, uint32_t n,
			    page_no *next)
{
	const struct region *r = layout_find_page(&s->layout, last);
	uint64_t behind = r->first + region_n_pages(r);
	page_no p = last + 1;
	uint32_t have = 0;

	end = end < behind ? end : behind;
	while (p < end && have < n) {
		uint32_t left = n - have < end - p ? n - have : (uint32_t)(end - p);
		struct span span = {p, touch_run(s, r, p, left)};
		uint32_t done = span.n ? touch_fill(s, span, PAGE_NONE) : touch_is_in_use(s, p);

		have += span.n ? done : 0;
		p += done;
		if (done == 0 || done < span.n)
			break;
	}
	*next = p;
	return have;
}

/* What gets zeros at once with p: those behind it where touches run in order, or those around it.
 */
static struct span touch_span(const struct gmm_space *s, page_no p, uint32_t window)
{
	struct span ahead = touch_ahead(s, p, huge_clip(s, p, window));
	struct span around = ahead.n < TOUCH_AROUND_MIN ? touch_neighbourhood(s, p) : ahead;

	return around.n > ahead.n ? around : ahead;
}

/* Zeros for p, and for its neighbours at once. */
static enum fault_outcome touch_small(struct gmm_space *s, const struct fault *f, struct stream *st)
{
	uint64_t end = (uint64_t)f->page + huge_clip(s, f->page, st->window + TOUCH_PASSES_BY);
	struct span span = touch_span(s, f->page, st->window);
	uint32_t n = touch_fill(s, span, f->page);
	page_no next = span.first + n;

	if (f->page >= next) {
		st->window = (st->window + 1) / 2; /* it will be asked again */
		return FAULT_WAIT;
	}
	touch_served(s, f, n);
	if (n == span.n && n < st->window)
		s->counters.prefetched += touch_go_on(s, next - 1, end, st->window - n, &next);
	streams_advance(st, next);
	return FAULT_SERVED;
}

enum fault_outcome first_touch(struct gmm_space *s, const struct fault *f)
{
	uint32_t max = touch_window(s, TOUCH_RUN_MAX);
	struct stream *st = streams_meet(&s->streams, touch_unseen(s, f->page), f->page, max);
	bool goes_on = touch_goes_on(s, f->page);
	uint32_t n = huge_fill(s, f->page, st->window >= TOUCH_GOES_ON || goes_on);

	if (n == 0 && page_state(space_word(s, f->page)) == GMM_PAGE_RESIDENT)
		n = 1; /* of its block a part came */
	if (n) {
		if (s->pages.trace)
			trace_first_touch(s->pages.trace, f->page);
		streams_advance(st, s->huge.next);
		touch_served(s, f, n);
		return FAULT_SERVED;
	}
	if (st->window < TOUCH_GOES_ON && goes_on && space_has_all(s))
		st->window = TOUCH_GOES_ON < max ? TOUCH_GOES_ON : max;
	return touch_small(s, f, st);
}
