/* Faults: see fault.h.
 *
 * By the page's state: EMPTY and BALLOONED get zeros, SWAPPED a read, EVICTING is rescued from
 * its bay slot without waiting for I/O, FILLING is already on its way.
 */
#include "fault.h"

#include <errno.h>

#include "fatal.h"
#include "first_touch.h"
#include "read.h"
#include "staging.h"

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

static enum fault_outcome fault_read(struct gmm_space *s, const struct fault *f)
{
	struct transfer *x = read_begin(s, f->page);

	if (!x)
		return FAULT_WAIT;
	x->begun_ns = f->since_ns;
	x->n_waiters = f->tid ? 1 : 0;
	x->tid = f->tid;
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

	if (f->tid && f->tid == x->tid && f->tid != FAULT_TID_UNKNOWN)
		return FAULT_AGAIN;
	if (f->tid) {
		x->n_waiters++;
		x->tid = f->tid;
	}
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

static enum fault_outcome fault_by_state(struct gmm_space *s, const struct fault *f)
{
	char *hva = space_hva(s, f->page);
	enum fault_outcome outcome;

	switch (page_state(space_word(s, f->page))) {
	case GMM_PAGE_EMPTY:
	case GMM_PAGE_BALLOONED:
		return first_touch(s, f);
	case GMM_PAGE_SWAPPED:
		return fault_read(s, f);
	case GMM_PAGE_FILLING:
		return fault_filling(s, f);
	case GMM_PAGE_EVICTING:
		outcome = fault_rescue(s, f->page, GMM_POLICY_RESCUE);
		if (outcome == FAULT_SERVED) {
			s->counters.rescue++;
			space_note_latency(s, f->since_ns);
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

enum fault_outcome fault_serve(struct gmm_space *s, const struct fault *f)
{
	enum fault_outcome outcome;

	if (!space_policy(s))
		return FAULT_WAIT; /* no memory for it: later, perhaps */
	page_table_populate(&s->pages, f->page);
	space_time_next(s);
	outcome = fault_by_state(s, f);
	s->engine.is_timed = false;
	return outcome;
}

bool fault_is_refault(const struct gmm_space *s, unsigned stamp)
{
	uint64_t n_evictions = space_evictions_since(s, stamp);

	return n_evictions && n_evictions < atomic_load(&s->pool->limit_pages);
}
