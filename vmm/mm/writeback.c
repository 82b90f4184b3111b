/* Writeback: see writeback.h.
 *
 * A page that is rescued or discarded while it is written goes on without the write's end. A page
 * that the store does not take goes back to the guest; a store that takes none is left alone for a
 * while, longer each time.
 */
#include "writeback.h"

#include <errno.h>

#include "clean.h"
#include "staging.h"

#define WRITEBACK_BATCH		 128u /* pages for one submission */
#define WRITEBACK_BACKOFF_MIN_NS UINT64_C(20000000)
#define WRITEBACK_BACKOFF_MAX_NS UINT64_C(1000000000)
#define WRITEBACK_TOO_BIG_MAX	 512u /* refused in a row: the store is as good as full */

void writeback_swapped(struct gmm_space *s, page_no p, uint64_t slot)
{
	page_word w = page_make(GMM_PAGE_SWAPPED, slot);

	page_change(&s->pages, p, space_word(s, p), page_with_stamp(w, space_stamp(s)));
}

/* Back into the guest: it could not be kept anywhere else. */
static void writeback_return(struct gmm_space *s, page_no p, bay_slot slot)
{
	s->counters.failed++;
	if (s->engine.ops->install(&s->engine, space_hva(s, p), slot)) {
		staging_push(s, p, slot); /* pinned for a moment more: it waits its turn again */
		return;
	}
	page_change(&s->pages, p, space_word(s, p), page_make(GMM_PAGE_RESIDENT, GMM_SLOT_NONE));
	huge_used(s, p);
	s->policy->ops->insert(s->policy, p, GMM_POLICY_PUT_BACK);
	space_changed(s);
}

static void writeback_blocked(struct gmm_space *s, int error)
{
	bool was = s->block.backoff_ns != 0;

	s->block.backoff_ns = was ? s->block.backoff_ns * 2 : WRITEBACK_BACKOFF_MIN_NS;
	if (s->block.backoff_ns > WRITEBACK_BACKOFF_MAX_NS)
		s->block.backoff_ns = WRITEBACK_BACKOFF_MAX_NS;
	s->block.blocked = true;
	s->block.until_ns = now_ns() + s->block.backoff_ns;
	if (!was || s->block.error != error)
		space_event(s, GMM_EVENT_STORE_FULL, PAGE_NONE, error, 0);
	s->block.error = error;
}

static void writeback_unblocked(struct gmm_space *s)
{
	if (s->block.backoff_ns)
		space_event(s, GMM_EVENT_STORE_USABLE, PAGE_NONE, 0, 0);
	s->block.backoff_ns = 0;
	s->block.blocked = false;
	s->block.n_too_big = 0;
}

uint64_t writeback_blocked_until(const struct gmm_space *s)
{
	return s->block.blocked ? s->block.until_ns : 0;
}

/* The page was rescued or dropped while it was written. Where it was rescued the copy may
 * still serve: whether the content is the same is found out when it is evicted again. */
static void writeback_orphan_written(struct gmm_space *s, struct transfer *x)
{
	page_word w = space_word(s, x->page);

	bay_put_dirty(&s->bay, x->slot);
	if (x->io.result)
		return;
	if (clean_may_keep(s) && page_state(w) == GMM_PAGE_RESIDENT &&
	    page_payload(w) == GMM_SLOT_NONE &&
	    layout_find_page(&s->layout, x->page)->kind == REGION_RAM)
		page_change(&s->pages, x->page, w, page_with_payload(w, x->io.slot));
	else
		space_release_slot(s, x->io.slot);
}

void writeback_ended(struct gmm_space *s, struct transfer *x)
{
	s->bay.entries[x->slot].stage = BAY_FREE;
	/* A page that the store does not take says nothing of the others, unless there are many. */
	if (x->io.result == 0)
		writeback_unblocked(s);
	else if (x->io.result != -E2BIG || ++s->block.n_too_big >= WRITEBACK_TOO_BIG_MAX)
		writeback_blocked(s, x->io.result);
	if (x->discard) {
		writeback_orphan_written(s, x);
	} else if (x->io.result) {
		writeback_return(s, x->page, x->slot);
	} else {
		s->counters.written++;
		writeback_swapped(s, x->page, x->io.slot);
		bay_put_dirty(&s->bay, x->slot);
	}
	transfer_put(&s->transfers, x);
}

/* The oldest staged page, which there is, becomes a write. NULL: no transfer is to be had. */
static struct transfer *writeback_prepare(struct gmm_space *s)
{
	struct transfer *x = transfer_get(&s->transfers, TRANSFER_WRITE);

	if (!x)
		return NULL;
	x->slot = staging_pop(s);
	x->page = s->bay.entries[x->slot].page;
	x->store = s->store;
	x->io.verb = GMM_STORE_WRITE;
	x->io.slot = GMM_SLOT_NONE;
	x->io.page = bay_hva(&s->bay, x->slot);
	x->begun_ns = now_ns();
	s->bay.entries[x->slot].stage = BAY_WRITING;
	s->bay.entries[x->slot].transfer = x->index;
	return x;
}

unsigned writeback_submit(struct gmm_space *s, uint64_t n)
{
	struct transfer *xs[WRITEBACK_BATCH];
	unsigned have = 0;

	if (s->block.blocked) /* one page tells whether the store is well again */
		n = 1;
	while (have < n && have < WRITEBACK_BATCH && s->staged_head != BAY_NONE) {
		xs[have] = writeback_prepare(s);
		if (!xs[have])
			break;
		have++;
	}
	if (have == 0)
		return 0;
	if (transfer_submit(xs, have) == 0)
		return have;
	for (unsigned i = 0; i < have; i++) {
		staging_push(s, xs[i]->page, xs[i]->slot);
		transfer_put(&s->transfers, xs[i]);
	}
	return 0;
}

void writeback_refuse(struct gmm_space *s)
{
	for (uint32_t n = s->n_staged; n; n--) { /* what cannot go back is staged again */
		bay_slot slot = staging_pop(s);

		writeback_return(s, s->bay.entries[slot].page, slot);
	}
	writeback_blocked(s, -ENOSPC);
}
