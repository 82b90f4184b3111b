/* Faults: see fault.h.
 *
 * By the page's state: EMPTY and BALLOONED get zeros, SWAPPED a read, EVICTING is rescued from
 * its bay slot without waiting for I/O, FILLING is already on its way. Neighbours come along
 * where a stream shows that faults run in order and frames are not short.
 */
#include "fault.h"

#include <errno.h>
#include <string.h>

#include "clean.h"
#include "fatal.h"
#include "trace.h"

#define FAULT_AROUND_MAX 64u /* zero pages for one fault */
#define FAULT_GOES_ON	 4u  /* zero pages for the first fault of a stream that was forgotten */
#define FAULT_AHEAD_MAX	 32u /* swapped pages read for one fault */
#define FAULT_TRIES	 2   /* more of a read that the device fails */

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

static void fault_resident(struct gmm_space *s, page_no p, uint64_t slot, unsigned flags,
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

/* A transfer that reads page p, not submitted yet; NULL: no frame or no transfer. */
static struct transfer *fault_prepare_read(struct gmm_space *s, page_no p)
{
	const struct region *r = layout_find_page(&s->layout, p);
	struct transfer *x = transfer_get(&s->transfers, TRANSFER_READ);

	if (!x)
		return NULL;
	x->slot = bay_get_any(&s->bay);
	if (x->slot == BAY_NONE) {
		transfer_put(&s->transfers, x);
		return NULL;
	}
	x->page = p;
	x->store = r->kind == REGION_WINDOW ? r->backing : s->store;
	x->io.verb = GMM_STORE_READ;
	x->io.slot = page_payload(space_word(s, p));
	x->io.page = bay_hva(&s->bay, x->slot);
	x->begun_ns = now_ns();
	s->bay.entries[x->slot].page = p;
	s->bay.entries[x->slot].stage = BAY_READING;
	s->bay.entries[x->slot].transfer = x->index;
	return x;
}

static void fault_drop_read(struct gmm_space *s, struct transfer *x)
{
	bay_put_dirty(&s->bay, x->slot);
	transfer_put(&s->transfers, x);
}

/* Submits n prepared reads; their pages become FILLING. */
static int fault_submit(struct gmm_space *s, struct transfer *const *xs, unsigned n)
{
	unsigned stamps[FAULT_AHEAD_MAX];
	int ret;

	for (unsigned i = 0; i < n; i++)
		stamps[i] = page_stamp(space_word(s, xs[i]->page));
	ret = transfer_submit(xs, n);
	if (ret) {
		for (unsigned i = 0; i < n; i++)
			fault_drop_read(s, xs[i]);
		return ret;
	}
	/* Even where the store ended it inside submit(), nobody looks before reap(). */
	for (unsigned i = 0; i < n; i++)
		page_change(&s->pages, xs[i]->page, space_word(s, xs[i]->page),
			    page_with_stamp(page_make(GMM_PAGE_FILLING, xs[i]->index), stamps[i]));
	return 0;
}

static enum fault_outcome fault_read(struct gmm_space *s, const struct fault *f)
{
	struct stream *st = streams_meet(&s->streams, f->page, fault_window(s, FAULT_AHEAD_MAX));
	uint32_t n = fault_run(s, f->page, st->window, GMM_PAGE_SWAPPED);
	struct transfer *xs[FAULT_AHEAD_MAX];
	unsigned have = 0;

	while (have < n && (xs[have] = fault_prepare_read(s, f->page + have)) != NULL) {
		xs[have]->prefetch = have > 0;
		have++;
	}
	streams_advance(st, f->page + (have ? have : 1));
	if (have == 0)
		return FAULT_WAIT;
	if (fault_submit(s, xs, have))
		return FAULT_WAIT;
	xs[0]->begun_ns = f->since_ns;
	xs[0]->n_waiters = f->tid ? 1 : 0;
	return FAULT_STARTED;
}

void fault_unstage(struct gmm_space *s, bay_slot slot)
{
	struct bay_entry *e = &s->bay.entries[slot];

	if (e->prev != BAY_NONE)
		s->bay.entries[e->prev].next = e->next;
	else
		s->staged_head = e->next;
	if (e->next != BAY_NONE)
		s->bay.entries[e->next].prev = e->prev;
	else
		s->staged_tail = e->prev;
	s->n_staged--;
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
		fault_unstage(s, slot);
		ret = s->engine.ops->install(&s->engine, space_hva(s, p), slot);
		if (ret) { /* back to the head of the queue: it is the next to be tried */
			struct bay_entry *e = &s->bay.entries[slot];

			e->prev = BAY_NONE;
			e->next = s->staged_head;
			if (s->staged_head != BAY_NONE)
				s->bay.entries[s->staged_head].prev = slot;
			else
				s->staged_tail = slot;
			s->staged_head = slot;
			s->n_staged++;
		}
	}
	CHECK(ret != -EEXIST, "page %u was mapped behind the library's back", p);
	if (ret)
		return FAULT_WAIT;
	fault_resident(s, p, GMM_SLOT_NONE, why == GMM_POLICY_RESCUE ? PAGE_HOT : 0, why);
	return FAULT_SERVED;
}

static enum fault_outcome fault_filling(struct gmm_space *s, const struct fault *f)
{
	struct transfer *x = &s->transfers.all[page_payload(space_word(s, f->page))];

	if (f->tid)
		x->n_waiters++;
	if (x->prefetch) {
		x->prefetch = 0;
		x->begun_ns = f->since_ns;
		s->counters.prefetch_used++;
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
		 * is there. */
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

/* Did the page leave so lately that it should not have? */
static bool fault_is_refault(const struct gmm_space *s, unsigned stamp)
{
	uint64_t n_evictions = space_evictions_since(s, stamp);

	return n_evictions && n_evictions < atomic_load(&s->pool->limit_pages);
}

static void fault_read_lost(struct gmm_space *s, struct transfer *x)
{
	page_no p = x->page;

	page_change(&s->pages, p, space_word(s, p), page_make(GMM_PAGE_POISONED, 0));
	if (x->store == s->store)
		s->store->ops->release(s->store, &x->io.slot, 1);
	space_event(s, GMM_EVENT_POISONED, p, x->io.result, 0);
	if (x->n_waiters) {
		s->counters.poison++;
		space_event(s, GMM_EVENT_POISON_TOUCHED, p, x->io.result, 0);
	}
	engine_poison(&s->engine, space_hva(s, p));
	bay_put_dirty(&s->bay, x->slot);
}

/* A host that is short of something for a while costs no page: such a read is tried again until
 * it ends in another way. A device's error is tried again a few times. */
static bool fault_is_worth_a_try(struct transfer *x)
{
	switch (-x->io.result) {
	case ENOMEM:
	case EAGAIN:
	case EINTR:
		return true;
	case EIO:
		return x->n_tries < FAULT_TRIES;
	default:
		return false;
	}
}

/* Waits for the next call first. True: the read is under way again. */
static bool fault_read_again(struct transfer *x)
{
	if (x->again && transfer_submit(&x, 1) == 0) {
		x->again = 0;
		x->n_tries++;
		return true;
	}
	x->again = 1;
	return false;
}

/* The content goes where the guest can see it. */
static int fault_install(struct gmm_space *s, struct transfer *x)
{
	unsigned stamp = page_stamp(space_word(s, x->page));
	bool refault = fault_is_refault(s, stamp);
	uint64_t slot = x->io.slot;
	int ret;

	if (x->discard)
		memset(x->io.page, 0, GMM_PAGE_BYTES);
	ret = s->engine.ops->install(&s->engine, space_hva(s, x->page), x->slot);
	CHECK(ret != -EEXIST, "page %u was mapped behind the library's back", x->page);
	if (ret)
		return ret;
	if (x->store == s->store && (x->discard || !clean_may_keep(s))) {
		s->store->ops->release(s->store, &slot, 1);
		slot = GMM_SLOT_NONE;
	}
	fault_resident(s, x->page, slot,
		       (refault ? PAGE_HOT : 0) | (x->prefetch ? PAGE_PREFETCHED : 0),
		       x->prefetch ? GMM_POLICY_PREFETCH
		       : refault   ? GMM_POLICY_REFAULT
				   : GMM_POLICY_SWAP_IN);
	return 0;
}

bool fault_read_ended(struct gmm_space *s, struct transfer *x)
{
	if (x->io.result && !x->discard) {
		if (fault_is_worth_a_try(x))
			return fault_read_again(x);
		fault_read_lost(s, x);
	} else if (fault_install(s, x)) {
		return false; /* still pinned by the read that has just ended */
	} else if (x->prefetch) {
		s->counters.prefetched++;
	} else {
		s->counters.swap_in++;
		latency_add(&s->counters.latency, now_ns() - x->begun_ns);
	}
	if (x->n_waiters)
		stall_change(&s->stall, now_ns(), -(int32_t)x->n_waiters);
	transfer_put(&s->transfers, x);
	space_changed(s);
	return true;
}
