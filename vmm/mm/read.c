/* Reads: see read.h. */
#include "read.h"

#include <errno.h>
#include <string.h>

#include "clean.h"
#include "fatal.h"
#include "fault.h"

#define READ_TRIES 2 /* more of a read that the device fails */

struct transfer *read_prepare(struct gmm_space *s, page_no p, bay_slot slot)
{
	const struct region *r = layout_find_page(&s->layout, p);
	struct transfer *x = transfer_get(&s->transfers, TRANSFER_READ);

	if (!x)
		return NULL;
	x->slot = slot;
	x->page = p;
	x->store = r->kind == REGION_WINDOW ? r->backing : s->store;
	x->io.verb = GMM_STORE_READ;
	x->io.slot = page_payload(space_word(s, p));
	x->io.page = bay_hva(&s->bay, slot);
	x->begun_ns = now_ns();
	s->bay.entries[slot].page = p;
	s->bay.entries[slot].stage = BAY_READING;
	s->bay.entries[slot].transfer = x->index;
	return x;
}

static void read_drop(struct gmm_space *s, struct transfer *x)
{
	bay_put_dirty(&s->bay, x->slot);
	transfer_put(&s->transfers, x);
}

int read_submit(struct gmm_space *s, struct transfer *const *xs, unsigned n)
{
	unsigned stamps[READ_BATCH_MAX];
	int ret;

	for (unsigned i = 0; i < n; i++)
		stamps[i] = page_stamp(space_word(s, xs[i]->page));
	ret = transfer_submit(xs, n);
	if (ret) {
		for (unsigned i = 0; i < n; i++)
			read_drop(s, xs[i]);
		return ret;
	}
	/* Even where the store ended it inside submit(), nobody looks before reap(). */
	for (unsigned i = 0; i < n; i++)
		page_change(&s->pages, xs[i]->page, space_word(s, xs[i]->page),
			    page_with_stamp(page_make(GMM_PAGE_FILLING, xs[i]->index), stamps[i]));
	return 0;
}

struct transfer *read_begin(struct gmm_space *s, page_no p)
{
	bay_slot slot = bay_get_any(&s->bay);
	struct transfer *x = slot == BAY_NONE ? NULL : read_prepare(s, p, slot);

	if (!x && slot != BAY_NONE)
		bay_put_dirty(&s->bay, slot);
	return x && read_submit(s, &x, 1) == 0 ? x : NULL;
}

static void read_lost(struct gmm_space *s, struct transfer *x)
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
static bool read_is_worth_a_try(struct transfer *x)
{
	switch (-x->io.result) {
	case ENOMEM:
	case EAGAIN:
	case EINTR:
		return true;
	case EIO:
		return x->n_tries < READ_TRIES;
	default:
		return false;
	}
}

/* Waits for the next call first. True: the read is under way again. */
static bool read_again(struct transfer *x)
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
static int read_install(struct gmm_space *s, struct transfer *x)
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
		       (refault ? PAGE_HOT : 0) | (x->prefetch ? PAGE_PREFETCHED | PAGE_AHEAD : 0),
		       x->prefetch ? GMM_POLICY_PREFETCH
		       : refault   ? GMM_POLICY_REFAULT
				   : GMM_POLICY_SWAP_IN);
	return 0;
}

bool read_ended(struct gmm_space *s, struct transfer *x)
{
	if (x->io.result && !x->discard) {
		if (read_is_worth_a_try(x))
			return read_again(x);
		read_lost(s, x);
	} else if (read_install(s, x)) {
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
