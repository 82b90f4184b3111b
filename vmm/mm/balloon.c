/* Balloons: see <guestmm/balloon.h>.
 *
 * What the guest gave is BALLOONED in its pages' state words, nowhere else; the balloon keeps the
 * target and talks to the driver. `auto` grows the balloon while nobody stalls, and lets go when
 * vCPUs wait for memory: the more, the faster.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <guestmm/balloon.h>

#include "access.h"

#define BALLOON_STEPS	   32u /* `auto` moves by 1/32 of memory */
#define BALLOON_STALL_LOW  0.5 /* percent of the last 10 s: below it the balloon grows */
#define BALLOON_STALL_HIGH 5.0 /* above it, it shrinks */

struct gmm_balloon {
	struct gmm_space *space;
	void (*notify)(void *user, uint64_t target_pages);
	void *user;
	uint64_t memory_pages, floor_pages;
	_Atomic uint64_t target_pages;
	atomic_bool is_auto;
};

int gmm_balloon_new(const struct gmm_balloon_config *config, struct gmm_balloon **out)
{
	struct gmm_balloon *b;
	struct gmm_stats stats = {.size = sizeof(stats)};

	if (config->size < sizeof(*config) || !config->space)
		return -EINVAL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	gmm_space_stats(config->space, &stats);
	b->space = config->space;
	b->notify = config->notify;
	b->user = config->user;
	b->memory_pages = stats.memory_bytes >> GMM_PAGE_SHIFT;
	b->floor_pages =
		config->floor_bytes ? config->floor_bytes >> GMM_PAGE_SHIFT : b->memory_pages / 8;
	if (b->floor_pages > b->memory_pages) {
		free(b);
		return -EINVAL;
	}
	*out = b;
	return 0;
}

struct gmm_balloon *gmm_balloon_free(struct gmm_balloon *b)
{
	free(b);
	return NULL;
}

static void balloon_set(struct gmm_balloon *b, uint64_t pages)
{
	if (atomic_exchange(&b->target_pages, pages) != pages && b->notify)
		b->notify(b->user, pages);
}

int gmm_balloon_set_target(struct gmm_balloon *b, uint64_t bytes)
{
	uint64_t pages = bytes >> GMM_PAGE_SHIFT;

	if (pages >= b->memory_pages)
		return -EINVAL;
	balloon_set(b, pages);
	return 0;
}

uint64_t gmm_balloon_target(const struct gmm_balloon *b)
{
	return atomic_load(&b->target_pages) << GMM_PAGE_SHIFT;
}

uint64_t gmm_balloon_bytes(const struct gmm_balloon *b)
{
	return atomic_load_explicit(&b->space->pages.n_in[GMM_PAGE_BALLOONED], memory_order_relaxed)
	       << GMM_PAGE_SHIFT;
}

void gmm_balloon_set_auto(struct gmm_balloon *b, bool on)
{
	atomic_store(&b->is_auto, on);
}

/* Only memory that the guest does not use should go: a balloon that makes it wait has gone too
 * far. */
void gmm_balloon_tick(struct gmm_balloon *b)
{
	uint64_t target = atomic_load(&b->target_pages), step = b->memory_pages / BALLOON_STEPS;
	uint64_t max = b->memory_pages - b->floor_pages;
	uint64_t given = gmm_balloon_bytes(b) >> GMM_PAGE_SHIFT;
	struct gmm_stats stats = {.size = sizeof(stats)};

	if (!atomic_load(&b->is_auto))
		return;
	gmm_space_stats(b->space, &stats);
	if (stats.stall_some_avg[0] > BALLOON_STALL_HIGH)
		target = target > 2 * step ? target - 2 * step : 0;
	else if (stats.stall_some_avg[0] < BALLOON_STALL_LOW && given >= target)
		target = target + step < max ? target + step : max;
	balloon_set(b, target);
}

/* The guest's word for a page: only RAM has a page number to give. */
static bool balloon_page(const struct gmm_space *s, gmm_gfn gfn, page_no *p)
{
	const struct region *r = gfn.v > UINT64_MAX >> GMM_PAGE_SHIFT
					 ? NULL
					 : layout_find_gpa(&s->layout, gfn.v << GMM_PAGE_SHIFT);

	if (!r || r->kind != REGION_RAM)
		return false;
	*p = r->first + (page_no)(gfn.v - (r->gpa >> GMM_PAGE_SHIFT));
	return true;
}

unsigned gmm_balloon_give(struct gmm_balloon *b, const gmm_gfn *gfns, unsigned n)
{
	struct gmm_space *s = b->space;
	unsigned taken = 0;
	uint64_t len;
	page_no p, q;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < n; i += (unsigned)len) {
		len = 1;
		if (!balloon_page(s, gfns[i], &p))
			continue;
		/* Neighbours are given up by one system call. */
		while (i + len < n && gfns[i + len].v == gfns[i].v + len &&
		       balloon_page(s, gfns[i + len], &q) && q == p + len)
			len++;
		taken += (unsigned)access_discard_run(s, p, len, GMM_PAGE_BALLOONED);
	}
	pthread_mutex_unlock(&s->lock);
	return taken;
}

unsigned gmm_balloon_take(struct gmm_balloon *b, const gmm_gfn *gfns, unsigned n)
{
	struct gmm_space *s = b->space;
	unsigned taken = 0;
	page_no p;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < n; i++) {
		page_word w;

		if (!balloon_page(s, gfns[i], &p))
			continue;
		w = page_get(&s->pages, p);
		if (page_state(w) != GMM_PAGE_BALLOONED)
			continue;
		page_change(&s->pages, p, w, page_make(GMM_PAGE_EMPTY, 0));
		taken++;
	}
	pthread_mutex_unlock(&s->lock);
	return taken;
}

uint64_t gmm_balloon_deflate_on_oom(struct gmm_balloon *b, uint64_t pages)
{
	uint64_t target = atomic_load(&b->target_pages), less;

	do {
		less = pages < target ? pages : target;
	} while (!atomic_compare_exchange_weak(&b->target_pages, &target, target - less));
	if (less && b->notify)
		b->notify(b->user, target - less);
	return less;
}
