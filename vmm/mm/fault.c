/* Faults: see fault.h.
 *
 * By the page's state: EMPTY and BALLOONED get zeros, SWAPPED a read, EVICTING is rescued from
 * its bay slot without waiting for I/O, FILLING is already on its way. Where first touches run in
 * order and frames are not short neighbours get zeros at once.
 */
#include "fault.h"

#include <errno.h>

#include "fatal.h"
#include "read.h"
#include "staging.h"
#include "trace.h"

#define FAULT_AROUND_MAX 64u /* zero pages for one fault */
#define FAULT_GOES_ON	 4u  /* zero pages for the first fault of a stream that was forgotten */

/* How many pages may come along without making frames short: never more than a quarter of
 * what is free. */
static uint32_t fault_window(const struct gmm_space *s, uint32_t max)
{
	uint64_t spare = space_free_frames(s) / 4;

	return spare < max ? (uint32_t)(spare ? spare : 1) : max;
}

/* The pages from p on, at most n, in p's region and in the given state. */
static uint32_t fault_run(const struct gmm_space *s, page_no p, uint32_t n,
			  enum gmm_page_state state)
{
	const struct region *r = layout_find_page(&s->layout, p);
	uint64_t end = r->first + region_n_pages(r);
	uint32_t len = 1;

	while (len < n && p + len < end && page_state(space_word(s, p + len)) == state &&
	       !(state == GMM_PAGE_EMPTY && space_is_taken(s, r, p + len)))
		len++;
	return len;
}

void fault_resident(struct gmm_space *s, page_no p, uint64_t slot, unsigned flags,
		    enum gmm_policy_why why)
{
	struct gmm_policy *policy = space_policy(s);
	page_word old = space_word(s, p), w = page_make(GMM_PAGE_RESIDENT, slot);
	uint64_t n_evictions = space_evictions_since(s, page_stamp(old));

	page_change(&s->pages, p, old, page_with_flags(w, flags));
	if (why == GMM_POLICY_REFAULT || why == GMM_POLICY_SWAP_IN)
		thrash_came_back(&s->thrash, n_evictions ? n_evictions : UINT64_MAX,
				 atomic_load(&s->pool->limit_pages));
	if (n_evictions &&
	    (why == GMM_POLICY_RESCUE || why == GMM_POLICY_REFAULT || why == GMM_POLICY_SWAP_IN))
		gmm_policy_insert_back(policy, p, why, n_evictions);
	else
		policy->ops->insert(policy, p, why);
	huge_used(s, p);
}

static void fault_set_filling(struct gmm_space *s, page_no p, uint64_t payload)
{
	page_change(&s->pages, p, space_word(s, p), page_make(GMM_PAGE_FILLING, payload));
}

/* Zeros for p and for up to n - 1 EMPTY pages behind it. *done: how many are in place. */
static int fault_zero_run(struct gmm_space *s, page_no p, uint32_t n, unsigned *done)
{
	int ret;

	for (uint32_t i = 0; i < n; i++)
		fault_set_filling(s, p + i, GMM_SLOT_NONE);
	ret = s->engine.ops->fill_zero(&s->engine, space_hva(s, p), n, done);
	CHECK(ret != -EEXIST, "page %u was mapped behind the library's back", p + *done);
	for (uint32_t i = 0; i < n; i++) {
		if (i < *done)
			fault_resident(s, p + i, GMM_SLOT_NONE, i ? PAGE_PREFETCHED : 0,
				       i ? GMM_POLICY_PREFETCH : GMM_POLICY_FIRST_TOUCH);
		else
			page_change(&s->pages, p + i, space_word(s, p + i),
				    page_make(GMM_PAGE_EMPTY, 0));
	}
	return ret;
}

/* A first touch right behind a page that is in use: memory is being filled in order, even where
 * no stream remembers it. */
static bool fault_goes_on(const struct gmm_space *s, page_no p)
{
	enum gmm_page_state before;

	if (p == 0)
		return false;
	before = page_state(space_word(s, p - 1));
	return before == GMM_PAGE_RESIDENT || before == GMM_PAGE_EVICTING ||
	       before == GMM_PAGE_SWAPPED;
}

static enum fault_outcome fault_zero_done(struct gmm_space *s, const struct fault *f, uint32_t n)
{
	s->counters.demand_zero++;
	s->counters.prefetched += n - 1;
	latency_add(&s->counters.latency, now_ns() - f->since_ns);
	return FAULT_SERVED;
}

static enum fault_outcome fault_zero(struct gmm_space *s, const struct fault *f)
{
	uint32_t max = fault_window(s, FAULT_AROUND_MAX);
	struct stream *st = streams_meet(&s->streams, f->page, max);
	bool goes_on = fault_goes_on(s, f->page);
	uint32_t n = huge_fill(s, f->page, st->window >= FAULT_GOES_ON || goes_on);
	unsigned done = 0;

	if (n) {
		if (s->pages.trace)
			trace_first_touch(s->pages.trace, f->page);
		streams_advance(st, s->huge.next);
		return fault_zero_done(s, f, n);
	}
	if (st->window < FAULT_GOES_ON && goes_on)
		st->window = FAULT_GOES_ON < max ? FAULT_GOES_ON : max;
	n = fault_run(s, f->page, huge_clip(s, f->page, st->window), GMM_PAGE_EMPTY);
	fault_zero_run(s, f->page, n, &done);
	streams_advance(st, f->page + (done ? done : 1));
	return done ? fault_zero_done(s, f, done) : FAULT_WAIT;
}

static enum fault_outcome fault_read(struct gmm_space *s, const struct fault *f)
{
	struct transfer *x = read_begin(s, f->page);

	if (!x)
		return FAULT_WAIT;
	x->begun_ns = f->since_ns;
	x->n_waiters = f->tid ? 1 : 0;
	prefetch_fault(s, f->page, f->tid);
	return FAULT_STARTED;
}

/* The content of a slot that a write still reads: the page goes on with a copy. */
static int fault_rescue_writing(struct gmm_space *s, page_no p, bay_slot slot)
{
	int ret = s->engine.ops->install_copy(&s->engine, space_hva(s, p), slot);

	if (ret == 0)
		s->transfers.all[s->bay.entries[slot].transfer].discard = 1;
	return ret;
}

enum fault_outcome fault_rescue(struct gmm_space *s, page_no p, enum gmm_policy_why why)
{
	bay_slot slot = (bay_slot)page_payload(space_word(s, p));
	int ret;

	if (s->bay.entries[slot].stage == BAY_WRITING) {
		ret = fault_rescue_writing(s, p, slot);
	} else {
		staging_remove(s, slot);
		ret = s->engine.ops->install(&s->engine, space_hva(s, p), slot);
		if (ret)
			staging_push_first(s, p, slot);
	}
	CHECK(ret != -EEXIST, "page %u was mapped behind the library's back", p);
	if (ret)
		return FAULT_WAIT;
	prefetch_rescued(s, page_flags(space_word(s, p)));
	fault_resident(s, p, GMM_SLOT_NONE, why == GMM_POLICY_RESCUE ? PAGE_HOT : 0, why);
	return FAULT_SERVED;
}

static enum fault_outcome fault_filling(struct gmm_space *s, const struct fault *f)
{
	struct transfer *x = &s->transfers.all[page_payload(space_word(s, f->page))];

	if (f->tid)
		x->n_waiters++;
	if (x->prefetch) {
		x->begun_ns = f->since_ns;
		prefetch_touched(s, x);
	}
	return FAULT_STARTED;
}

static enum fault_outcome fault_poisoned(struct gmm_space *s, const struct fault *f)
{
	s->counters.poison++;
	space_event(s, GMM_EVENT_POISON_TOUCHED, f->page, -EIO, f->tid);
	engine_poison(&s->engine, space_hva(s, f->page));
	return FAULT_SERVED;
}

enum fault_outcome fault_serve(struct gmm_space *s, const struct fault *f)
{
	char *hva = space_hva(s, f->page);
	enum fault_outcome outcome;

	if (!space_policy(s))
		return FAULT_WAIT; /* no memory for it: later, perhaps */
	switch (page_state(space_word(s, f->page))) {
	case GMM_PAGE_EMPTY:
	case GMM_PAGE_BALLOONED:
		return fault_zero(s, f);
	case GMM_PAGE_SWAPPED:
		return fault_read(s, f);
	case GMM_PAGE_FILLING:
		return fault_filling(s, f);
	case GMM_PAGE_EVICTING:
		outcome = fault_rescue(s, f->page, GMM_POLICY_RESCUE);
		if (outcome == FAULT_SERVED) {
			s->counters.rescue++;
			latency_add(&s->counters.latency, now_ns() - f->since_ns);
		}
		return outcome;
	case GMM_PAGE_RESIDENT:
		/* Two threads met, or the copy engine's write protection was met and undone.
		 * Nobody but the library may discard guest memory: a page that is resident here
		 * is there, but for what is laid aside. */
		if (!working_set_return(s, f->page))
			return FAULT_WAIT;
		uffd_wake(&s->uffd, hva, GMM_PAGE_BYTES);
		return FAULT_SERVED;
	case GMM_PAGE_POISONED:
		return fault_poisoned(s, f);
	case GMM_PAGE_N_STATES:
		break;
	}
	CHECK(false, "page %u has no state", f->page);
	return FAULT_SERVED;
}

bool fault_is_refault(const struct gmm_space *s, unsigned stamp)
{
	uint64_t n_evictions = space_evictions_since(s, stamp);

	return n_evictions && n_evictions < atomic_load(&s->pool->limit_pages);
}
