/* Clean copies: see clean.h. */
#include "clean.h"

#define CLEAN_SWEEP 4096u /* pages looked at in one dispatch */
/* Slots that one dispatch may take. */
#define CLEAN_AHEAD (SPACE_WRITES_IDLE + SPACE_WRITES_SHORT)

/* Of pages, whatever the store and the policy have. */
static uint64_t clean_page_bytes(const struct gmm_space *s)
{
	return s->pages.n_pages * sizeof(uint64_t) + taken_bytes(&s->taken) + s->shared_bytes;
}

uint64_t clean_metadata_bytes(const struct gmm_space *s, const struct gmm_store_stats *io)
{
	return clean_page_bytes(s) + io->metadata_bytes +
	       (s->policy ? s->policy_ops->metadata_bytes(s->policy) : 0);
}

/* What the policy has, or may yet come to: four and a half bytes for a resident page while it moves
 * them through its queues, and one and a half for each page. Slots that have been given out by then
 * do not go again. Where more than a quarter of memory is resident there is less to swap. */
static uint64_t clean_policy_bytes(const struct gmm_space *s)
{
	uint64_t now = s->policy ? s->policy_ops->metadata_bytes(s->policy) : 0;
	uint64_t n = s->pages.n_pages, limit = atomic_load(&s->pool->limit_pages);
	uint64_t most = n * 3 / 2 + (limit < n / 4 ? limit : n / 4) * 9 / 2;

	return now > most ? now : most;
}

/* How many slots the store may use; a 64th of the bound is left. Slots that are there already cost
 * nothing more, unless more than may be are there: as free ones lie scattered, writes that want to
 * lie side by side would go on beyond, a few each time. */
static uint64_t clean_max_slots(const struct gmm_space *s, const struct gmm_store_stats *io)
{
	uint64_t bound = s->pages.n_pages * METADATA_BYTES_MAX, max = UINT64_MAX;
	uint64_t others = clean_page_bytes(s) + clean_policy_bytes(s) + bound / 64;

	if (io->n_slots_high)
		max = (bound > others ? bound - others : 0) * io->n_slots_high / io->metadata_bytes;
	if (io->n_slots && max > io->n_slots - io->n_slots / 16)
		max = io->n_slots - io->n_slots / 16;
	return max;
}

/* Slots by which the store is short, with what may be written before the next look. */
static uint64_t clean_missing(const struct gmm_space *s, const struct gmm_store_stats *io)
{
	uint64_t max = clean_max_slots(s, io);
	uint64_t want = io->n_slots_used + (max / 16 < CLEAN_AHEAD ? max / 16 : CLEAN_AHEAD);

	return want > max ? want - max : 0;
}

/* Gives up n copies, or as many as the next CLEAN_SWEEP pages have. */
static void clean_give_up(struct gmm_space *s, uint64_t n)
{
	unsigned n_looks = CLEAN_SWEEP;

	for (; n && n_looks-- && s->clean.n_left; s->clean.n_left--) {
		page_no p = s->clean.hand;
		page_word w = space_word(s, p);
		uint64_t slot = page_payload(w);

		s->clean.hand = p + 1 < s->pages.n_pages ? p + 1 : 0;
		if (page_state(w) != GMM_PAGE_RESIDENT || slot == GMM_SLOT_NONE ||
		    layout_find_page(&s->layout, p)->kind != REGION_RAM)
			continue;
		space_release_slot(s, slot);
		page_change(&s->pages, p, w, page_with_payload(w, GMM_SLOT_NONE));
		n--;
	}
}

/* The policy's rings may have room that they do not need any more. Looking at them costs as much
 * as they have entries: once for an eighth of a limit's worth of evictions. */
static void clean_trim_policy(struct gmm_space *s)
{
	uint64_t limit = atomic_load(&s->pool->limit_pages);

	if (!s->policy || s->counters.evicted - s->clean.trimmed_at < limit / 8)
		return;
	s->clean.trimmed_at = s->counters.evicted;
	s->policy_ops->resize(s->policy, limit < s->pages.n_pages ? limit : s->pages.n_pages);
}

bool clean_may_keep(const struct gmm_space *s)
{
	return s->clean.has_room;
}

void clean_balance(struct gmm_space *s)
{
	uint64_t bound = s->pages.n_pages * METADATA_BYTES_MAX, n_missing;
	struct gmm_store_stats io = {0};

	if (!s->store || !s->store->ops->holds || !s->pages.n_pages)
		return;
	s->store->ops->stats(s->store, &io);
	n_missing = clean_missing(s, &io);
	s->clean.has_room = n_missing == 0;
	if (n_missing || clean_metadata_bytes(s, &io) > bound - bound / 32)
		clean_trim_policy(s);
	if (s->clean.has_room) /* copies may come now: one sweep if they must go */
		s->clean.n_left = s->pages.n_pages;
	else
		clean_give_up(s, n_missing);
}
