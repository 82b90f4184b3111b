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

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fatal.h"
#include "staging.h"
#include "writeback.h"

#define RECLAIM_BATCH	   32u	/* victims asked for at once */
#define RECLAIM_ROUND	   256u /* victims for one call: faults are looked at in between */
#define RECLAIM_STEP	   16u	/* pages for one call at a gentle pace: some 30 us */
#define RECLAIM_QUIET_NS   UINT64_C(10000000) /* nobody faulted for so long */
#define RECLAIM_STAGED_MAX 1024u
#define RECLAIM_TRIES	   2048u /* pages looked at for one call: those held go back */
#define RECLAIM_PROBE	   8u	 /* victims to try while the store is blocked */

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

/* Does the store's old copy still have this content? */
static bool reclaim_is_clean(struct gmm_space *s, uint64_t slot, const char *page)
{
	return slot != GMM_SLOT_NONE && s->store && s->store->ops->holds &&
	       s->store->ops->holds(s->store, slot, page);
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
	working_set_left(s, p, 1);
	s->counters.evicted++;
	if (page_is_zero(page)) {
		space_release_slot(s, old);
		page_change(&s->pages, p, space_word(s, p), page_make(GMM_PAGE_EMPTY, 0));
		bay_put_zero(&s->bay, slot);
		s->counters.zero++;
	} else if (reclaim_is_clean(s, old, page)) {
		writeback_swapped(s, p, old);
		bay_put_dirty(&s->bay, slot);
		s->counters.clean++;
	} else {
		space_release_slot(s, old);
		staging_push(s, p, slot);
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
		writeback_swapped(s, p + i, p + i - r->first);
	}
	working_set_left(s, p, n);
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
		space_release_slot(s, page_payload(space_word(s, p)));
		s->policy_ops->remove(s->policy, p);
	}
	page_change_run(&s->pages, block, GMM_HUGE_PAGES, page_make(GMM_PAGE_EVICTING, first));
	page_change_run(&s->pages, block, GMM_HUGE_PAGES, page_make(GMM_PAGE_EMPTY, 0));
	working_set_left(s, block, GMM_HUGE_PAGES);
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

	return s->policy && (reclaim_need(s, &m) || reclaim_to_write(s, &m)) &&
	       reclaim_pace(s, &m) != PACE_URGENT;
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
		bay_trim_above(&s->bay, m->high > SPACE_RESERVE ? (unsigned)m->high : SPACE_RESERVE,
			       UINT_MAX);
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

bool reclaim_is_due(struct gmm_space *s)
{
	return s->n_staged || s->reclaim_flush || s->block.blocked || pool_excess(s->pool) ||
	       reclaim_must_give(s) || reclaim_wants(s);
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
		if (s->n_staged)
			writeback_refuse(s);
		return false;
	}
	if (pace == PACE_GENTLE && left)
		return true;
	if (!s->reclaim_asked && !s->n_staged)
		s->reclaim_flush = false; /* all that was asked for is on its way */
	s->transfers.max_writes = reclaim_max_writes(pace);
	n_write = s->block.blocked ? 1 : reclaim_to_write(s, &m);
	if (pace == PACE_GENTLE && n_write > RECLAIM_STEP)
		n_write = RECLAIM_STEP;
	while (n_write > written) {
		unsigned now = writeback_submit(s, n_write - written);

		written += now;
		if (now == 0 || s->block.blocked)
			break;
	}
	reclaim_meet_limit(s);
	reclaim_hand_over(s, &m);
	return (left > 0 && reclaim_need(s, &m) > 0) ||
	       (pace == PACE_GENTLE && written == RECLAIM_STEP);
}
