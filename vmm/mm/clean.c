/* Clean copies: see clean.h. */
#include "clean.h"

#define CLEAN_SWEEP 4096u /* pages looked at in one dispatch */

uint64_t clean_metadata_bytes(const struct gmm_space *s, const struct gmm_store_stats *io)
{
	return s->pages.n_pages * sizeof(uint64_t) + io->metadata_bytes +
	       (s->policy ? s->policy_ops->metadata_bytes(s->policy) : 0);
}

/* A 32nd of the bound is left for what the next batch adds. */
static bool clean_has_room(const struct gmm_space *s)
{
	uint64_t max = s->pages.n_pages * METADATA_BYTES_MAX;
	struct gmm_store_stats io = {0};

	s->store->ops->stats(s->store, &io);
	if (io.n_slots && io.n_slots_used > io.n_slots - io.n_slots / 16)
		return false;
	return clean_metadata_bytes(s, &io) <= max - max / 32;
}

static void clean_give_up(struct gmm_space *s)
{
	uint64_t n = s->clean.n_left < CLEAN_SWEEP ? s->clean.n_left : CLEAN_SWEEP;

	s->clean.n_left -= n;
	while (n--) {
		page_no p = s->clean.hand;
		page_word w = space_word(s, p);
		uint64_t slot = page_payload(w);

		s->clean.hand = p + 1 < s->pages.n_pages ? p + 1 : 0;
		if (page_state(w) != GMM_PAGE_RESIDENT || slot == GMM_SLOT_NONE ||
		    layout_find_page(&s->layout, p)->kind != REGION_RAM)
			continue;
		s->store->ops->release(s->store, &slot, 1);
		page_change(&s->pages, p, w, page_with_payload(w, GMM_SLOT_NONE));
	}
}

/* The policy's rings may have room that they do not need any more. Looking at them costs as much
 * as they have entries: once for half a limit's worth of evictions. */
static void clean_trim_policy(struct gmm_space *s)
{
	uint64_t limit = atomic_load(&s->pool->limit_pages);

	if (!s->policy || s->counters.evicted - s->clean.trimmed_at < limit / 2)
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
	if (!s->store || !s->pages.n_pages)
		return;
	s->clean.has_room = s->store->ops->holds && clean_has_room(s);
	if (s->clean.has_room) {
		s->clean.n_left =
			s->pages.n_pages; /* copies may come now: one sweep if they must go */
		return;
	}
	clean_trim_policy(s);
	clean_give_up(s);
}
