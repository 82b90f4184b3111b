/* Reads: see read.h. */
#include "read.h"

#include <errno.h>
#include <stdlib.h>
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
		space_release_slot(s, x->io.slot);
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

/* The content is where the guest can see it. */
static void read_installed(struct gmm_space *s, struct transfer *x)
{
	bool refault = fault_is_refault(s, page_stamp(space_word(s, x->page)));
	uint64_t slot = x->io.slot;

	if (x->store == s->store && (x->discard || !clean_may_keep(s))) {
		space_release_slot(s, slot);
		slot = GMM_SLOT_NONE;
	}
	fault_resident(s, x->page, slot,
		       (refault ? PAGE_HOT : 0) | (x->prefetch ? PAGE_PREFETCHED | PAGE_AHEAD : 0),
		       x->prefetch ? GMM_POLICY_PREFETCH
		       : refault   ? GMM_POLICY_REFAULT
				   : GMM_POLICY_SWAP_IN);
	if (x->prefetch) {
		s->counters.prefetched++;
		return;
	}
	s->counters.swap_in++;
	space_note_latency(s, x->begun_ns);
}

/* At ended_ns whoever waited for it had no longer to. */
static void read_end(struct gmm_space *s, struct transfer *x, uint64_t ended_ns)
{
	if (x->n_waiters) {
		stall_change(&s->stall, ended_ns, -(int32_t)x->n_waiters);
		s->has_served = true;
	}
	transfer_put(&s->transfers, x);
	space_changed(s);
}

static void read_put_off(struct gmm_space *s, struct transfer *x)
{
	x->next = s->transfers.ready;
	s->transfers.ready = x->index;
}

/* It failed, and the content is wanted. */
static void read_failed(struct gmm_space *s, struct transfer *x)
{
	if (!read_is_worth_a_try(x)) {
		read_lost(s, x);
		read_end(s, x, now_ns());
	} else if (!read_again(x)) {
		read_put_off(s, x);
	}
}

/* Pages side by side in one region. One that is pinned still by the read that has just ended is put
 * off; the others do not wait for it. */
static void read_install(struct gmm_space *s, struct transfer *const *xs, unsigned n)
{
	bay_slot slots[READ_BATCH_MAX];
	bool is_wanted = false;
	unsigned done;
	int ret;

	for (unsigned i = 0; i < n; i++) {
		is_wanted |= !xs[i]->prefetch;
		slots[i] = xs[i]->slot;
		if (xs[i]->discard)
			memset(xs[i]->io.page, 0, GMM_PAGE_BYTES);
	}
	if (is_wanted)
		space_time_next(s);
	for (unsigned i = 0; i < n; i++) {
		ret = s->engine.ops->install_run(&s->engine, space_hva(s, xs[i]->page), &slots[i],
						 n - i, &done);
		CHECK(ret != -EEXIST, "page %u was mapped behind the library's back",
		      xs[i]->page + done);
		for (; done; done--, i++) {
			read_installed(s, xs[i]);
			read_end(s, xs[i], s->engine.placed_ns);
		}
		if (i < n)
			read_put_off(s, xs[i]);
	}
	s->engine.is_timed = false;
}

static int by_page(const void *a, const void *b)
{
	page_no x = (*(struct transfer *const *)a)->page, y = (*(struct transfer *const *)b)->page;

	return x < y ? -1 : x > y;
}

/* How many of xs[0..n) have pages side by side, in one region, from the first on. */
static unsigned read_run(const struct gmm_space *s, struct transfer *const *xs, unsigned n)
{
	const struct region *r = layout_find_page(&s->layout, xs[0]->page);
	unsigned len = 1;

	while (len < n && xs[len]->page == xs[len - 1]->page + 1 &&
	       xs[len]->page - r->first < region_n_pages(r))
		len++;
	return len;
}

void read_ended(struct gmm_space *s, struct transfer **xs, unsigned n)
{
	unsigned n_good = 0;

	for (unsigned i = 0; i < n; i++)
		if (xs[i]->io.result && !xs[i]->discard)
			read_failed(s, xs[i]);
		else
			xs[n_good++] = xs[i];
	qsort(xs, n_good, sizeof(*xs), by_page);
	for (unsigned i = 0, len; i < n_good; i += len) {
		len = read_run(s, &xs[i], n_good - i);
		read_install(s, &xs[i], len);
	}
}
