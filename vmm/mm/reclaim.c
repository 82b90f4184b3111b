/* Reclaim: see reclaim.h.
 *
 * Pages leave in two steps. A victim is first unmapped and staged: its content waits in the bay,
 * and a touch brings it back at once (a rescue), which is cheap proof that it is hot. The oldest
 * staged pages are then dropped (all zero, or a valid copy is in the store) or written, and
 * their frames become free. The order of cost is kept: zero, clean, file windows, then writes.
 *
 * Watermarks on free frames: below `low` reclaim begins, at `high` it ends. With the limit
 * lowered below what is in use, free frames go back to the host at once and eviction goes on
 * until the limit is met.
 */
#include "reclaim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clean.h"
#include "fatal.h"

#define RECLAIM_BATCH	       32u  /* victims asked for at once */
#define RECLAIM_ROUND	       256u /* victims for one call: faults are looked at in between */
#define RECLAIM_WRITE_BATCH    128u /* pages for one submission */
#define RECLAIM_STEP	       16u  /* pages for one call at a gentle pace: some 30 us */
#define RECLAIM_QUIET_NS       UINT64_C(10000000) /* nobody faulted for so long */
#define RECLAIM_STAGED_MAX     1024u
#define RECLAIM_BACKOFF_MIN_NS UINT64_C(20000000)
#define RECLAIM_BACKOFF_MAX_NS UINT64_C(1000000000)
#define RECLAIM_TOO_BIG_MAX    512u  /* refused in a row: the store is as good as full */
#define RECLAIM_TRIES	       2048u /* pages looked at for one call: those held go back */
#define RECLAIM_PROBE	       8u    /* victims to try while the store is blocked */

static uint64_t clamp(uint64_t v, uint64_t min, uint64_t max)
{
	return v < min ? min : v > max ? max : v;
}

/* 1/64 of the limit: 2 MiB of 128 MiB; the kernel's min_free_kbytes is of that order. The
 * staging queue, 1/16, is what a page has as its second chance. */
void gmm_space_watermarks(uint64_t limit_pages, struct gmm_watermarks *out)
{
	out->low = clamp(limit_pages / 64, 16, 1024);
	out->high = out->low + out->low / 2;
	out->staged = clamp(limit_pages / 16, 16, RECLAIM_STAGED_MAX);
}

static struct gmm_watermarks reclaim_marks(const struct gmm_space *s)
{
	struct gmm_watermarks m = {0};

	if (space_has_all(s)) /* nobody will ever be short of one */
		return m;
	gmm_space_watermarks(atomic_load(&s->pool->limit_pages), &m);
	if (!s->store)
		m.staged = 0;
	return m;
}

/* A page holds all zeros: compared with itself, shifted by one word. */
static bool page_is_zero(const char *page)
{
	uint64_t first;

	memcpy(&first, page, sizeof(first));
	return first == 0 &&
	       memcmp(page, page + sizeof(first), GMM_PAGE_BYTES - sizeof(first)) == 0;
}

static void reclaim_release(struct gmm_space *s, uint64_t slot)
{
	if (slot != GMM_SLOT_NONE && s->store)
		s->store->ops->release(s->store, &slot, 1);
}

/* Does the store's old copy still have this content? */
static bool reclaim_is_clean(struct gmm_space *s, uint64_t slot, const char *page)
{
	return slot != GMM_SLOT_NONE && s->store && s->store->ops->holds &&
	       s->store->ops->holds(s->store, slot, page);
}

static void reclaim_swapped(struct gmm_space *s, page_no p, uint64_t slot)
{
	page_word w = page_make(GMM_PAGE_SWAPPED, slot);

	page_change(&s->pages, p, space_word(s, p), page_with_stamp(w, space_stamp(s)));
}

static void reclaim_stage(struct gmm_space *s, page_no p, bay_slot slot)
{
	struct bay_entry *e = &s->bay.entries[slot];

	e->page = p;
	e->stage = BAY_STAGED;
	e->next = BAY_NONE;
	e->prev = s->staged_tail;
	if (s->staged_tail != BAY_NONE)
		s->bay.entries[s->staged_tail].next = slot;
	else
		s->staged_head = slot;
	s->staged_tail = slot;
	s->n_staged++;
}

/* The page is out of the guest, its content in `slot`: what becomes of it? */
static void reclaim_extracted(struct gmm_space *s, page_no p, bay_slot slot)
{
	page_word w = space_word(s, p);
	uint64_t old = page_payload(w);
	char *page = bay_hva(&s->bay, slot);

	page_change(&s->pages, p, w,
		    page_with_stamp(page_with_flags(page_make(GMM_PAGE_EVICTING, slot),
						    page_flags(w) & PAGE_AHEAD),
				    space_stamp(s)));
	prefetch_evicted(s, page_flags(w));
	working_set_left(s, p);
	s->counters.evicted++;
	if (page_is_zero(page)) {
		reclaim_release(s, old);
		page_change(&s->pages, p, space_word(s, p), page_make(GMM_PAGE_EMPTY, 0));
		bay_put_zero(&s->bay, slot);
		s->counters.zero++;
	} else if (reclaim_is_clean(s, old, page)) {
		reclaim_swapped(s, p, old);
		bay_put_dirty(&s->bay, slot);
		s->counters.clean++;
	} else {
		reclaim_release(s, old);
		reclaim_stage(s, p, slot);
	}
}

static void reclaim_put_back(struct gmm_space *s, page_no p)
{
	s->policy->ops->insert(s->policy, p, GMM_POLICY_PUT_BACK);
}

/* Windows' pages are never dirty: their frames just go. */
static void reclaim_drop(struct gmm_space *s, const struct region *r, page_no p, unsigned n)
{
	if (engine_discard(&s->engine, region_hva(r, p), n)) {
		for (unsigned i = 0; i < n; i++)
			reclaim_put_back(s, p + i);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		prefetch_evicted(s, page_flags(space_word(s, p + i)));
		s->counters.evicted++;
		s->counters.dropped++;
		reclaim_swapped(s, p + i, p + i - r->first);
		working_set_left(s, p + i);
	}
}

/* Takes the n RESIDENT pages from p on, all in one region. Returns how many left. */
static unsigned reclaim_take(struct gmm_space *s, page_no p, unsigned n)
{
	const struct region *r = layout_find_page(&s->layout, p);
	page_no block = huge_mapped(s, p);
	bay_slot slots[RECLAIM_BATCH];
	unsigned done = 0;

	if (r->kind == REGION_WINDOW) {
		reclaim_drop(s, r, p, n);
		return n;
	}
	if (block == PAGE_NONE || !huge_is_held(s, block)) {
		if (block != PAGE_NONE)
			huge_used(s, p); /* the kernel splits it */
		s->engine.ops->extract(&s->engine, region_hva(r, p), n, slots, &done);
	}
	for (unsigned i = 0; i < done; i++)
		reclaim_extracted(s, p + i, slots[i]);
	for (unsigned i = done; i < n; i++)
		reclaim_put_back(s, p + i);
	s->counters.busy += n - done;
	return done;
}

/* A block that has left as one, and is all zero: a huge frame again, and nothing is done page by
 * page. */
static bool reclaim_block_is_zero(struct gmm_space *s, page_no block, bay_slot first)
{
	for (unsigned i = 0; i < GMM_HUGE_PAGES; i++)
		if (!page_is_zero(bay_hva(&s->bay, first + i)))
			return false;
	for (page_no p = block; p < block + GMM_HUGE_PAGES; p++) {
		reclaim_release(s, page_payload(space_word(s, p)));
		s->policy_ops->remove(s->policy, p);
	}
	page_change_run(&s->pages, block, GMM_HUGE_PAGES, page_make(GMM_PAGE_EVICTING, first));
	page_change_run(&s->pages, block, GMM_HUGE_PAGES, page_make(GMM_PAGE_EMPTY, 0));
	bay_put_zero_huge(&s->bay, first);
	s->counters.evicted += GMM_HUGE_PAGES;
	s->counters.zero += GMM_HUGE_PAGES;
	return true;
}

/* A block that is one page to the kernel leaves as one. Returns how many pages left. */
static unsigned reclaim_take_block(struct gmm_space *s, page_no block)
{
	bay_slot first;
	unsigned done = huge_take(s, block, &first);

	if (done == GMM_HUGE_PAGES && reclaim_block_is_zero(s, block, first))
		return done;
	for (unsigned i = 0; done && i < GMM_HUGE_PAGES; i++) {
		if (i < done) {
			s->policy_ops->remove(s->policy, block + i);
			reclaim_extracted(s, block + i, first + i);
		} else {
			reclaim_put_back(s, block + i);
		}
	}
	return done;
}

static int by_page(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool reclaim_may_take(struct gmm_space *s, uint64_t p)
{
	page_word w = space_word(s, (page_no)p);

	if (page_state(w) != GMM_PAGE_RESIDENT)
		return false; /* the policy's entry is stale: forgotten */
	if (page_holds(w) == 0 && working_set_return(s, (page_no)p))
		return true;
	reclaim_put_back(s, (page_no)p);
	return false;
}

/* How many of victims[0..n) lie side by side, in one region, from the first on; all in one block,
 * or none in a block that is mapped as one. */
static unsigned reclaim_run(const struct gmm_space *s, const uint64_t *victims, unsigned n)
{
	const struct region *r = layout_find_page(&s->layout, (page_no)victims[0]);
	page_no block = huge_mapped(s, (page_no)victims[0]);
	unsigned len = 1;

	while (len < n && victims[len] == victims[len - 1] + 1 &&
	       victims[len] - r->first < region_n_pages(r) &&
	       huge_mapped(s, (page_no)victims[len]) == block)
		len++;
	return len;
}

/* Takes victims[0] and those of the n that can go with it. *len: how many of them that are. Returns
 * how many pages left. */
static unsigned reclaim_take_next(struct gmm_space *s, const uint64_t *victims, unsigned n,
				  unsigned *len)
{
	page_no block = huge_mapped(s, (page_no)victims[0]);
	unsigned left = block == PAGE_NONE ? 0 : reclaim_take_block(s, block);

	if (left) {
		for (*len = 1; *len < n && victims[*len] < block + GMM_HUGE_PAGES;)
			++*len;
		return left;
	}
	*len = reclaim_run(s, victims, n);
	return reclaim_take(s, (page_no)victims[0], *len);
}

/* Asks the policy for up to n victims and takes them. Returns how many left. */
static unsigned reclaim_evict(struct gmm_space *s, unsigned n, unsigned *n_tried)
{
	uint64_t victims[RECLAIM_BATCH];
	unsigned picked, kept = 0, left = 0, len;

	picked = s->policy->ops->pick(s->policy, victims, n < RECLAIM_BATCH ? n : RECLAIM_BATCH);
	qsort(victims, picked, sizeof(victims[0]), by_page);
	for (unsigned i = 0; i < picked; i++)
		if (reclaim_may_take(s, victims[i]))
			victims[kept++] = victims[i];
	/* No more to be had, or pages that may leave but cannot: that is all for now. */
	*n_tried += picked ? picked : RECLAIM_TRIES;
	for (unsigned i = 0; i < kept; i += len)
		left += reclaim_take_next(s, &victims[i], kept - i, &len);
	if (kept && !left)
		*n_tried += RECLAIM_TRIES;
	return left;
}

/* Back into the guest: it could not be kept anywhere else. */
static void reclaim_return(struct gmm_space *s, page_no p, bay_slot slot)
{
	s->counters.failed++;
	if (s->engine.ops->install(&s->engine, space_hva(s, p), slot)) {
		reclaim_stage(s, p, slot); /* pinned for a moment more: it waits its turn again */
		return;
	}
	page_change(&s->pages, p, space_word(s, p), page_make(GMM_PAGE_RESIDENT, GMM_SLOT_NONE));
	huge_used(s, p);
	reclaim_put_back(s, p);
	space_changed(s);
}

static void reclaim_blocked(struct gmm_space *s, int error)
{
	bool was = s->block.backoff_ns != 0;

	s->block.backoff_ns = was ? s->block.backoff_ns * 2 : RECLAIM_BACKOFF_MIN_NS;
	if (s->block.backoff_ns > RECLAIM_BACKOFF_MAX_NS)
		s->block.backoff_ns = RECLAIM_BACKOFF_MAX_NS;
	s->block.blocked = true;
	s->block.until_ns = now_ns() + s->block.backoff_ns;
	if (!was || s->block.error != error)
		space_event(s, GMM_EVENT_STORE_FULL, PAGE_NONE, error, 0);
	s->block.error = error;
}

static void reclaim_unblocked(struct gmm_space *s)
{
	if (s->block.backoff_ns)
		space_event(s, GMM_EVENT_STORE_USABLE, PAGE_NONE, 0, 0);
	s->block.backoff_ns = 0;
	s->block.blocked = false;
	s->block.n_too_big = 0;
}

uint64_t reclaim_blocked_until(const struct gmm_space *s)
{
	return s->block.blocked ? s->block.until_ns : 0;
}

/* The page was rescued or dropped while it was written. Where it was rescued the copy may
 * still serve: whether the content is the same is found out when it is evicted again. */
static void reclaim_orphan_written(struct gmm_space *s, struct transfer *x)
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
		reclaim_release(s, x->io.slot);
}

void reclaim_write_ended(struct gmm_space *s, struct transfer *x)
{
	s->bay.entries[x->slot].stage = BAY_FREE;
	/* A page that the store does not take says nothing of the others, unless there are many. */
	if (x->io.result == 0)
		reclaim_unblocked(s);
	else if (x->io.result != -E2BIG || ++s->block.n_too_big >= RECLAIM_TOO_BIG_MAX)
		reclaim_blocked(s, x->io.result);
	if (x->discard) {
		reclaim_orphan_written(s, x);
	} else if (x->io.result) {
		reclaim_return(s, x->page, x->slot);
	} else {
		s->counters.written++;
		reclaim_swapped(s, x->page, x->io.slot);
		bay_put_dirty(&s->bay, x->slot);
	}
	transfer_put(&s->transfers, x);
}

static struct transfer *reclaim_prepare_write(struct gmm_space *s)
{
	struct transfer *x = transfer_get(&s->transfers, TRANSFER_WRITE);

	if (!x)
		return NULL;
	x->slot = s->staged_head;
	x->page = s->bay.entries[x->slot].page;
	x->store = s->store;
	x->io.verb = GMM_STORE_WRITE;
	x->io.slot = GMM_SLOT_NONE;
	x->io.page = bay_hva(&s->bay, x->slot);
	x->begun_ns = now_ns();
	return x;
}

/* Takes the head of the staging queue out of it. */
static void reclaim_unstage_head(struct gmm_space *s)
{
	bay_slot slot = s->staged_head;

	s->staged_head = s->bay.entries[slot].next;
	if (s->staged_head != BAY_NONE)
		s->bay.entries[s->staged_head].prev = BAY_NONE;
	else
		s->staged_tail = BAY_NONE;
	s->n_staged--;
}

static void reclaim_unprepare(struct gmm_space *s, struct transfer *x)
{
	reclaim_stage(s, x->page, x->slot);
	transfer_put(&s->transfers, x);
}

/* Submits up to n of the oldest staged pages. Returns how many. */
static unsigned reclaim_write(struct gmm_space *s, uint64_t n)
{
	struct transfer *xs[RECLAIM_WRITE_BATCH];
	unsigned have = 0;

	if (s->block.blocked) /* one page tells whether the store is well again */
		n = 1;
	while (have < n && have < RECLAIM_WRITE_BATCH && s->staged_head != BAY_NONE) {
		struct transfer *x = reclaim_prepare_write(s);

		if (!x)
			break;
		reclaim_unstage_head(s);
		s->bay.entries[x->slot].stage = BAY_WRITING;
		s->bay.entries[x->slot].transfer = x->index;
		xs[have++] = x;
	}
	if (have == 0)
		return 0;
	if (transfer_submit(xs, have) == 0)
		return have;
	for (unsigned i = 0; i < have; i++)
		reclaim_unprepare(s, xs[i]);
	return 0;
}

/* With no store, or a blocked one, what was staged goes back to the guest. */
static void reclaim_return_staged(struct gmm_space *s)
{
	uint32_t n = s->n_staged;

	while (n-- && s->staged_head != BAY_NONE) {
		bay_slot slot = s->staged_head;

		reclaim_unstage_head(s);
		reclaim_return(s, s->bay.entries[slot].page, slot);
	}
}

/* Another space on the pool waits for a frame, and this one has more than its share. */
static bool reclaim_must_give(const struct gmm_space *s)
{
	return atomic_load(&s->pool->n_starving) > (unsigned)atomic_load(&s->member.starving) &&
	       atomic_load(&s->member.used_pages) > pool_share(s->pool);
}

/* Pages to take so that `high` frames are free and the staging queue is as long as it should
 * be, counting what is on its way. */
static uint64_t reclaim_need(struct gmm_space *s, const struct gmm_watermarks *m)
{
	uint64_t excess = pool_excess(s->pool);
	uint64_t free = reclaim_must_give(s) ? pool_available(s->pool) : space_free_frames(s);
	uint64_t have = free + s->transfers.n_writes + s->n_staged;
	bool is_mine = atomic_load(&s->member.used_pages) > pool_share(s->pool) ||
		       atomic_load(&s->pool->n_members) == 1 || s->n_waiting;
	uint64_t want = excess + m->high + m->staged + s->n_waiting;

	if (s->reclaim_asked && s->n_staged < RECLAIM_STAGED_MAX)
		return s->reclaim_asked;
	if (!is_mine || (have >= m->low + m->staged && !excess && !s->n_waiting))
		return 0;
	return want > have ? want - have : 0;
}

uint64_t reclaim_wants(struct gmm_space *s)
{
	struct gmm_watermarks m = reclaim_marks(s);

	return s->policy ? reclaim_need(s, &m) : 0;
}

void reclaim_had(struct gmm_space *s, uint64_t n)
{
	s->reclaim_asked -= clamp(n, 0, s->reclaim_asked);
}

/* Pages to write now: frames are short, or the queue is longer than a second chance needs. */
static uint64_t reclaim_to_write(struct gmm_space *s, const struct gmm_watermarks *m)
{
	uint64_t free = space_free_frames(s), excess = pool_excess(s->pool);
	uint64_t coming = free + s->transfers.n_writes;
	uint64_t want = excess + m->high + s->n_waiting, n = 0;

	if (coming < want && (coming < m->low || excess || s->n_waiting))
		n = want - coming;
	if (s->n_staged > m->staged && s->n_staged - m->staged > n)
		n = s->n_staged - m->staged;
	if (s->reclaim_flush || reclaim_must_give(s))
		n = s->n_staged;
	if (s->reclaim_flush && !s->reclaim_asked && !s->n_staged)
		s->reclaim_flush = false;
	return n;
}

/* How much at a time. */
enum reclaim_pace {
	PACE_IDLE,   /* nobody faults: whatever the disk takes */
	PACE_GENTLE, /* a fault may wait for a step, or a vCPU for this thread's CPU */
	PACE_URGENT, /* frames are short, or the limit is not met */
};

static enum reclaim_pace reclaim_pace(const struct gmm_space *s, const struct gmm_watermarks *m)
{
	if (now_ns() - s->fault_ns > RECLAIM_QUIET_NS)
		return PACE_IDLE;
	if (s->n_waiting || pool_excess(s->pool) || space_free_frames(s) < m->high)
		return PACE_URGENT;
	return PACE_GENTLE;
}

bool reclaim_may_wait(struct gmm_space *s)
{
	struct gmm_watermarks m = reclaim_marks(s);

	return s->policy && reclaim_pace(s, &m) != PACE_URGENT &&
	       (reclaim_need(s, &m) || reclaim_to_write(s, &m));
}

static void reclaim_meet_limit(struct gmm_space *s)
{
	uint64_t excess = pool_excess(s->pool);

	if (excess)
		bay_trim(&s->bay, (unsigned)clamp(excess, 0, UINT32_MAX),
			 s->transfers.n_writes == 0);
	if (reclaim_must_give(s))
		bay_trim(&s->bay, RECLAIM_BATCH, true);
}

/* What was asked for is meant for the host; the bay has no room for all of it, either. What the
 * next faults need is kept: it would be asked of the host again at once. */
static void reclaim_hand_over(struct gmm_space *s, const struct gmm_watermarks *m)
{
	if (s->reclaim_flush)
		bay_trim_above(&s->bay,
			       m->high > SPACE_RESERVE ? (unsigned)m->high : SPACE_RESERVE);
}

static unsigned reclaim_evict_round(struct gmm_space *s, uint64_t need, unsigned max)
{
	unsigned left = 0, n_tried = 0;

	if (need > max)
		need = max;
	while (left < need && n_tried < RECLAIM_TRIES)
		left += reclaim_evict(s, (unsigned)(need - left), &n_tried);
	/* None left: those that remain cannot, or the bay has no room until writes have ended. */
	if (left || !(s->n_staged || s->transfers.n_writes))
		s->reclaim_asked -= left ? clamp(left, 0, s->reclaim_asked) : s->reclaim_asked;
	return left;
}

static uint32_t reclaim_max_writes(enum reclaim_pace pace)
{
	switch (pace) {
	case PACE_IDLE:
		return SPACE_WRITES_IDLE;
	case PACE_GENTLE:
		return SPACE_WRITES_FEW;
	case PACE_URGENT:
		break;
	}
	return SPACE_WRITES_SHORT;
}

bool reclaim_balance(struct gmm_space *s)
{
	struct gmm_watermarks m = reclaim_marks(s);
	uint64_t need, n_write;
	enum reclaim_pace pace = reclaim_pace(s, &m);
	unsigned left = 0, written = 0;

	if (!s->policy)
		return false;
	reclaim_meet_limit(s);
	need = reclaim_need(s, &m);
	if (s->block.blocked) {
		if (now_ns() < s->block.until_ns)
			return false;
		s->block.until_ns = now_ns() + s->block.backoff_ns;
		if (need == 0 &&
		    s->n_staged == 0) { /* nothing to try with: the next eviction tells */
			s->block.blocked = false;
			return false;
		}
		need = clamp(need, 0, RECLAIM_PROBE);
	}
	if (need)
		left = reclaim_evict_round(s, need,
					   pace == PACE_GENTLE ? RECLAIM_STEP : RECLAIM_ROUND);
	if (!s->store) {
		if (s->n_staged) {
			reclaim_return_staged(s);
			reclaim_blocked(s, -ENOSPC);
		}
		return false;
	}
	if (pace == PACE_GENTLE && left)
		return true;
	s->transfers.max_writes = reclaim_max_writes(pace);
	n_write = s->block.blocked ? 1 : reclaim_to_write(s, &m);
	if (pace == PACE_GENTLE && n_write > RECLAIM_STEP)
		n_write = RECLAIM_STEP;
	while (n_write > written) {
		unsigned now = reclaim_write(s, n_write - written);

		written += now;
		if (now == 0 || s->block.blocked)
			break;
	}
	reclaim_meet_limit(s);
	reclaim_hand_over(s, &m);
	return (left > 0 && reclaim_need(s, &m) > 0) ||
	       (pace == PACE_GENTLE && written == RECLAIM_STEP);
}
