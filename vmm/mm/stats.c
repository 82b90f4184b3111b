/* Statistics: what a space tells of itself. The public face is gmm_space_stats(). */
#include <string.h>

#include "clean.h"
#include "space.h"

static uint64_t pages_in(const struct gmm_space *s, enum gmm_page_state state)
{
	return atomic_load_explicit(&s->pages.n_in[state], memory_order_relaxed);
}

static void stats_io_add(struct gmm_store_stats *sum, struct gmm_store *st)
{
	struct gmm_store_stats one = {0};

	st->ops->stats(st, &one);
	sum->reads += one.reads;
	sum->read_bytes += one.read_bytes;
	sum->errors += one.errors;
	sum->metadata_bytes += one.metadata_bytes;
	sum->fixed_bytes += one.fixed_bytes;
}

static void stats_windows(struct gmm_space *s, struct gmm_stats *out)
{
	for (unsigned i = 0; i < s->layout.n_regions; i++) {
		const struct region *r = &s->layout.regions[i];

		if (r->kind == REGION_RAM) {
			out->memory_bytes += r->bytes;
			continue;
		}
		stats_io_add(&out->io, r->backing);
		/* A window's absent pages are in its file, not in the store. */
		for (page_no p = r->first; p < r->first + region_n_pages(r); p++)
			if (page_state(space_word(s, p)) == GMM_PAGE_SWAPPED)
				out->swapped_bytes -= GMM_PAGE_BYTES;
	}
}

static void stats_counters(const struct counters *c, struct gmm_stats *out)
{
	out->faults.demand_zero = c->demand_zero;
	out->faults.swap_in = c->swap_in;
	out->faults.rescue = c->rescue;
	out->faults.prefetched = c->prefetched;
	out->faults.read_ahead = c->read_ahead;
	out->faults.prefetch_used = c->prefetch_used;
	out->faults.prefetch_wasted = c->prefetch_wasted;
	out->faults.poison = c->poison;
	out->faults.p50_ns = latency_at(&c->latency, 500);
	out->faults.p99_ns = latency_at(&c->latency, 990);
	out->faults.max_ns = c->latency.max_ns;
	out->reclaim.evicted = c->evicted;
	out->reclaim.zero = c->zero;
	out->reclaim.clean = c->clean;
	out->reclaim.written = c->written;
	out->reclaim.dropped = c->dropped;
	out->reclaim.busy = c->busy;
	out->reclaim.failed = c->failed;
	out->free_taken = c->free_taken;
}

static void stats_thrash(struct gmm_space *s, struct gmm_stats *out)
{
	const struct thrash *t = &s->thrash;

	thrash_update(&s->thrash, s->stall.since_ns, s->stall.some_ns);
	out->thrash.on = t->is_on;
	out->thrash.stalled_permille = t->stalled_permille;
	out->thrash.window_ns = t->window_ns;
	out->thrash.refaults = t->window_refaults;
	out->thrash.more_bytes = t->more_pages << GMM_PAGE_SHIFT;
	out->thrash.most_more_bytes = t->most_more_pages << GMM_PAGE_SHIFT;
	out->thrash.total_ns = t->total_ns;
}

static void stats_all(struct gmm_space *s, struct gmm_stats *out)
{
	pthread_mutex_lock(&s->lock);
	*out = (struct gmm_stats){.engine = s->engine.ops->name, .policy = s->policy_ops->name};
	if (s->store) {
		out->store = s->store->ops->name;
		s->store->ops->stats(s->store, &out->io);
	}
	out->limit_bytes = atomic_load(&s->pool->limit_pages) << GMM_PAGE_SHIFT;
	out->resident_bytes = atomic_load(&s->member.used_pages) << GMM_PAGE_SHIFT;
	out->resident_peak_bytes = atomic_load(&s->pool->peak_pages) << GMM_PAGE_SHIFT;
	out->swapped_bytes = pages_in(s, GMM_PAGE_SWAPPED) << GMM_PAGE_SHIFT;
	out->ballooned_bytes = (pages_in(s, GMM_PAGE_BALLOONED) + taken_n(&s->taken))
			       << GMM_PAGE_SHIFT;
	out->evicting_bytes = pages_in(s, GMM_PAGE_EVICTING) << GMM_PAGE_SHIFT;
	out->poisoned_pages = pages_in(s, GMM_PAGE_POISONED);
	stats_windows(s, out);
	stats_counters(&s->counters, out);
	stall_update(&s->stall, now_ns());
	stats_thrash(s, out);
	out->stall_some_ns = s->stall.some_ns;
	out->stall_full_ns = s->stall.full_ns;
	memcpy(out->stall_some_avg, s->stall.some_avg, sizeof(out->stall_some_avg));
	memcpy(out->stall_full_avg, s->stall.full_avg, sizeof(out->stall_full_avg));
	out->metadata_bytes = clean_metadata_bytes(s, &out->io);
	out->fixed_bytes =
		sizeof(*s) + s->bay.metadata_bytes + out->io.fixed_bytes + working_set_bytes(s);
	out->huge_bytes = s->huge.n_mapped << GMM_HUGE_SHIFT;
	out->huge.filled = s->huge.n_filled;
	out->huge.taken = s->huge.n_taken;
	out->huge.split = s->huge.n_split;
	out->huge.gathered = s->huge.n_gathered;
	working_set_stats(s, out);
	out->prezeroed_bytes = (uint64_t)s->bay.n_zero << GMM_PAGE_SHIFT;
	pthread_mutex_unlock(&s->lock);
}

void gmm_space_stats(struct gmm_space *s, struct gmm_stats *out)
{
	uint32_t bytes = out->size;
	struct gmm_stats all;

	stats_all(s, &all);
	all.size = bytes;
	memcpy(out, &all, bytes < sizeof(all) ? bytes : sizeof(all));
}
