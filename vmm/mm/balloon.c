/* Balloons: see <guestmm/balloon.h>.
 *
 * What the guest gave by page list is BALLOONED in its pages' state words, nowhere else; what was
 * taken out of an allocator that it shares is noted in space->taken (shared_frames.c). The balloon
 * keeps the target, talks to the driver or takes by itself.
 * `auto` by page list grows the balloon while nobody stalls, and lets go when vCPUs wait for
 * memory: the more, the faster. `auto` by sharing sees what is free in the guest and leaves it
 * some.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <guestmm/balloon.h>

#include "access.h"
#include "shared_frames.h"

#define BALLOON_STEPS	   32u	 /* `auto` moves by 1/32 of memory */
#define BALLOON_STEP_PAGES 8192u /* the most that one step takes; see balloon_follow() */
#define BALLOON_STALL_LOW  0.5	 /* percent of the last 10 s: below it the balloon grows */
#define BALLOON_STALL_HIGH 5.0	 /* above it, it shrinks */

struct gmm_balloon {
	struct gmm_space *space;
	void (*notify)(void *user, uint64_t target_pages);
	void (*missing)(void *user, uint64_t pages);
	void *user;
	pthread_mutex_t telling; /* missing() is called in order; before the space's lock */
	uint64_t n_missing;	 /* as it was told last; UINT64_MAX: never. telling */
	uint64_t memory_pages, floor_pages;
	_Atomic uint64_t target_pages;
	atomic_bool is_auto;
	struct shared_frames *_Atomic shared; /* NULL: by page list */
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
	b->missing = config->missing;
	b->user = config->user;
	b->n_missing = UINT64_MAX;
	pthread_mutex_init(&b->telling, NULL);
	b->memory_pages = stats.memory_bytes >> GMM_PAGE_SHIFT;
	b->floor_pages =
		config->floor_bytes ? config->floor_bytes >> GMM_PAGE_SHIFT : b->memory_pages / 8;
	if (b->floor_pages > b->memory_pages) {
		gmm_balloon_free(b);
		return -EINVAL;
	}
	*out = b;
	return 0;
}

struct gmm_balloon *gmm_balloon_free(struct gmm_balloon *b)
{
	if (!b)
		return NULL;
	shared_frames_free(atomic_load(&b->shared));
	pthread_mutex_destroy(&b->telling);
	free(b);
	return NULL;
}

/* What was given by page list. */
static uint64_t balloon_listed(const struct gmm_balloon *b)
{
	return atomic_load_explicit(&b->space->pages.n_in[GMM_PAGE_BALLOONED],
				    memory_order_relaxed);
}

/* The guest may have frames that it could free. */
static void balloon_tell_missing(struct gmm_balloon *b)
{
	uint64_t target, have, missing;

	pthread_mutex_lock(&b->telling);
	target = atomic_load(&b->target_pages);
	have = gmm_balloon_bytes(b) >> GMM_PAGE_SHIFT;
	missing = target > have ? target - have : 0;
	if (b->n_missing != missing && b->missing)
		b->missing(b->user, missing);
	b->n_missing = missing;
	pthread_mutex_unlock(&b->telling);
}

/* Takes or gives back until the target is met or no more is free. The target may change
 * meanwhile, and the guest may play with what it gave by list: there is an end to the steps. */
static void balloon_follow(struct gmm_balloon *b)
{
	struct shared_frames *sh = atomic_load(&b->shared);
	uint64_t n = sh ? b->memory_pages / BALLOON_STEP_PAGES + BALLOON_STEPS : 0;

	while (n--) {
		uint64_t target = atomic_load(&b->target_pages), listed = balloon_listed(b);

		if (!shared_frames_step(sh, target > listed ? target - listed : 0))
			break;
	}
	if (sh)
		balloon_tell_missing(b);
}

static void balloon_set(struct gmm_balloon *b, uint64_t pages)
{
	bool is_new = atomic_exchange(&b->target_pages, pages) != pages;

	if (atomic_load(&b->shared))
		balloon_follow(b);
	else if (is_new && b->notify)
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
	return (balloon_listed(b) + taken_n(&b->space->taken)) << GMM_PAGE_SHIFT;
}

void gmm_balloon_set_auto(struct gmm_balloon *b, bool on)
{
	atomic_store(&b->is_auto, on);
}

/* Only memory that the guest does not use should go: a balloon that makes it wait has gone too
 * far. */
static uint64_t auto_by_stall(struct gmm_balloon *b, uint64_t step, uint64_t max)
{
	uint64_t target = atomic_load(&b->target_pages);
	uint64_t given = gmm_balloon_bytes(b) >> GMM_PAGE_SHIFT;
	struct gmm_stats stats = {.size = sizeof(stats)};

	gmm_space_stats(b->space, &stats);
	if (stats.stall_some_avg[0] > BALLOON_STALL_HIGH)
		return target > 2 * step ? target - 2 * step : 0;
	if (stats.stall_some_avg[0] < BALLOON_STALL_LOW && given >= target)
		return target + step < max ? target + step : max;
	return target;
}

/* The guest keeps between one step and two free: enough for what it may need until the next
 * tick. If that was too little it says so (gmm_balloon_deflate_on_oom). */
static uint64_t auto_by_free(struct gmm_balloon *b, uint64_t step, uint64_t max)
{
	uint64_t free = gmm_balloon_guest_free(b) >> GMM_PAGE_SHIFT;
	uint64_t target = gmm_balloon_bytes(b) >> GMM_PAGE_SHIFT;

	if (free > 2 * step)
		target += free - 2 * step;
	else if (free < step)
		target -= target < step - free ? target : step - free;
	return target < max ? target : max;
}

void gmm_balloon_tick(struct gmm_balloon *b)
{
	uint64_t step = b->memory_pages / BALLOON_STEPS, max = b->memory_pages - b->floor_pages;

	if (!atomic_load(&b->is_auto))
		balloon_follow(b);
	else if (atomic_load(&b->shared))
		balloon_set(b, auto_by_free(b, step, max));
	else
		balloon_set(b, auto_by_stall(b, step, max));
}

/* The guest's word for pages: gfns[0] and those of the n that follow it side by side. Returns how
 * many are its to give or to take, 0: that the first is not. Only RAM has a page number; what was
 * taken by sharing is not the guest's. */
static unsigned balloon_run(const struct gmm_space *s, const gmm_gfn *gfns, unsigned n, page_no *p)
{
	const struct region *r = gfns[0].v > UINT64_MAX >> GMM_PAGE_SHIFT
					 ? NULL
					 : layout_find_gpa(&s->layout, gfns[0].v << GMM_PAGE_SHIFT);
	uint64_t first, here;
	unsigned len = 0;

	if (!r || r->kind != REGION_RAM)
		return 0;
	first = gfns[0].v - (r->gpa >> GMM_PAGE_SHIFT);
	here = region_n_pages(r) - first;
	*p = r->first + (page_no)first;
	while (len < n && len < here && gfns[len].v == gfns[0].v + len &&
	       !taken_has(&s->taken, gfns[len].v))
		len++;
	return len;
}

unsigned gmm_balloon_give(struct gmm_balloon *b, const gmm_gfn *gfns, unsigned n)
{
	struct gmm_space *s = b->space;
	unsigned taken = 0, len;
	page_no p;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < n; i += len ? len : 1) {
		len = balloon_run(s, &gfns[i], n - i, &p); /* given up by one system call */
		if (len)
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

		if (!balloon_run(s, &gfns[i], 1, &p))
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

/* What the guest wants back and what the balloon holds: `auto` lets a step go at once, so that
 * a guest that needs much does not ask for each bit of it. */
static uint64_t oom_by_sharing(struct gmm_balloon *b, struct shared_frames *sh, uint64_t pages)
{
	uint64_t step = b->memory_pages / BALLOON_STEPS, taken = taken_n(&b->space->taken);
	uint64_t less = atomic_load(&b->is_auto) && pages < step ? step : pages, keep;

	keep = balloon_listed(b) + (taken > less ? taken - less : 0);
	/* Lowered first: nobody takes meanwhile what is given back. */
	if (atomic_load(&b->target_pages) > keep)
		atomic_store(&b->target_pages, keep);
	less = shared_frames_return(sh, less);
	balloon_tell_missing(b);
	return less;
}

uint64_t gmm_balloon_deflate_on_oom(struct gmm_balloon *b, uint64_t pages)
{
	uint64_t target = atomic_load(&b->target_pages), less;
	struct shared_frames *sh = atomic_load(&b->shared);

	if (sh)
		return oom_by_sharing(b, sh, pages);
	do {
		less = pages < target ? pages : target;
	} while (!atomic_compare_exchange_weak(&b->target_pages, &target, target - less));
	if (less && b->notify)
		b->notify(b->user, target - less);
	return less;
}

int gmm_balloon_share(struct gmm_balloon *b, const struct gmm_balloon_share *share)
{
	struct shared_frames *sh;
	int ret = shared_frames_new(b->space, share, &sh);

	if (ret)
		return ret;
	atomic_store(&b->shared, sh);
	balloon_follow(b);
	return 0;
}

bool gmm_balloon_is_shared(const struct gmm_balloon *b)
{
	return atomic_load(&b->shared) != NULL;
}

uint64_t gmm_balloon_guest_free(const struct gmm_balloon *b)
{
	const struct shared_frames *sh = atomic_load(&b->shared);

	return sh ? shared_frames_n_free(sh) << GMM_PAGE_SHIFT : 0;
}
