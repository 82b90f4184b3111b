/* Shared frames: see shared_frames.h.
 *
 * The guest's allocator is a gmm_frames block that both sides change by compare-and-swap.
 * Taking: free frames become used in the block, by whom the notes in space->taken say; then
 * their host memory is dropped. Giving back: struck out of the notes, then free in the block; no
 * page's word is touched, for a taken page is EMPTY: its first touch gets a fresh zeroed frame.
 *
 * The block is the guest's to write. It is only used through the functions that check what they
 * read (gmm_fr_), with the size that the notes have; a frame that comes out of it counts once,
 * and only if it is RAM. What is wrong with it can make frames useless for the guest, no more.
 * Every loop here ends after as many steps as there are areas or frames.
 *
 * Locks: `lock` (who takes and gives back), then space->lock. Nothing here touches guest memory
 * beside the block, which never faults; so relieve() may run in a dispatch.
 */
#include "shared_frames.h"

#include <guestmm/frames.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "access.h"

#define CALLER		GMM_FRAMES_ANYONE
#define HUGE		GMM_FRAMES_HUGE
#define HOST		GMM_FRAMES_HOST
#define STEP_AREAS	128u
#define HOLD_AREAS	128u  /* 256 MiB of huge pages under one hold of the space's lock; */
#define HOLD_SHARE	8u    /* this much less where pages are single: that takes longer */
#define STEP_BATCHES	16u   /* of 512 small frames */
#define RETURN_AREAS	4096u /* for one step */
#define VAIN_MAX	16u   /* frames from the block that are not to be had, in one step */
#define RELIEF_AREAS	1024u /* looked at in one dispatch: 2 GiB */
#define RELIEF_PAGES	2048u /* dropped in one dispatch */
#define RELIEF_AGAIN_NS UINT64_C(100000000)

struct shared_frames {
	struct gmm_space *space;
	struct gmm_fr block;
	pthread_mutex_t lock;
	atomic_uint n_urgent; /* threads that wait to give back: steps stand aside */

	/* The sweep for memory that is free in the guest but not here; space->lock. */
	uint64_t area, n_left, n_found;
	uint64_t again_ns, again_evicted;
};

static uint64_t n_areas(const struct shared_frames *sh)
{
	return (sh->block.n_frames + HUGE - 1) / HUGE;
}

/* The page of a guest frame, if n frames from it on are RAM of one region. */
static bool find_pages(const struct gmm_space *s, uint64_t frame, uint64_t n, page_no *p)
{
	const struct region *r = layout_find_gpa(&s->layout, frame << GMM_PAGE_SHIFT);
	uint64_t first;

	if (!r || r->kind != REGION_RAM)
		return false;
	first = frame - (r->gpa >> GMM_PAGE_SHIFT);
	if (n > region_n_pages(r) - first)
		return false;
	*p = r->first + (page_no)first;
	return true;
}

/* ---- Taking ---- */

/* How much of one hold of the space's lock it takes to drop the unit at p. */
static unsigned drop_cost(const struct gmm_space *s, page_no p, uint64_t unit)
{
	return unit == HUGE && huge_mapped(s, p) == PAGE_NONE ? HOLD_SHARE : 1;
}

/* Drops the content of the first of n runs of `unit` frames each, and of those that follow on it.
 * Returns how many. */
static unsigned drop_some(struct gmm_space *s, const uint64_t *frames, unsigned n, uint64_t unit)
{
	unsigned len = 1, cost;
	page_no p = 0, q;

	find_pages(s, frames[0], unit, &p);
	for (cost = drop_cost(s, p, unit); len < n && (unit == 1 || cost < HOLD_AREAS); len++) {
		if (frames[len] != frames[0] + len * unit ||
		    !find_pages(s, frames[len], unit, &q) || q != p + len * unit)
			break;
		cost += drop_cost(s, q, unit);
	}
	access_discard_run(s, p, len * unit, GMM_PAGE_EMPTY);
	return len;
}

/* Ascending, all RAM. */
static void drop(struct gmm_space *s, const uint64_t *frames, unsigned n, uint64_t unit)
{
	for (unsigned i = 0; i < n;) {
		pthread_mutex_lock(&s->lock);
		i += drop_some(s, &frames[i], n - i, unit);
		pthread_mutex_unlock(&s->lock);
	}
}

static uint64_t take_huge(struct shared_frames *sh, uint64_t want)
{
	struct gmm_space *s = sh->space;
	uint64_t firsts[STEP_AREAS], first;
	unsigned n = 0, n_vain = 0;
	page_no p;

	while (n < STEP_AREAS && (n + 1) * HUGE <= want && n_vain < VAIN_MAX) {
		if (gmm_fr_get_huge_as(sh->block, CALLER, HOST, &first))
			break;
		if (find_pages(s, first, HUGE, &p) && taken_add_area(&s->taken, first / HUGE))
			firsts[n++] = first;
		else
			n_vain++;
	}
	drop(s, firsts, n, HUGE);
	return n * HUGE;
}

static unsigned get_small(struct shared_frames *sh, uint64_t want, uint64_t *frames)
{
	uint64_t n_free = shared_frames_n_free(sh);
	unsigned n;

	want = want < n_free ? want : n_free;
	n = want < HUGE ? (unsigned)want : HUGE;
	while (n && gmm_fr_get_as(sh->block, CALLER, HOST, n, frames))
		n /= 2;
	return n;
}

static uint64_t take_small(struct shared_frames *sh, uint64_t want)
{
	struct gmm_space *s = sh->space;
	uint64_t frames[HUGE], taken = 0;
	page_no p;

	for (unsigned i = 0; i < STEP_BATCHES && taken < want; i++) {
		unsigned n = get_small(sh, want - taken, frames), kept = 0;

		for (unsigned k = 0; k < n; k++)
			if (find_pages(s, frames[k], 1, &p) && taken_add(&s->taken, frames[k]))
				frames[kept++] = frames[k];
		drop(s, frames, kept, 1);
		taken += kept;
		if (!kept)
			break;
	}
	return taken;
}

/* ---- Giving back ---- */

/* Whether the block takes a frame back is the guest's own affair: here it is not taken any more. */
static uint64_t give_back(struct shared_frames *sh, uint64_t n)
{
	struct taken *t = &sh->space->taken;
	uint64_t done = 0, area = 0, frames[64];

	while (n - done >= HUGE && taken_pop_area(t, area, &area)) {
		gmm_fr_put_huge_as(sh->block, CALLER, HOST, area * HUGE);
		done += HUGE;
	}
	while (done < n) {
		uint64_t left = n - done;
		unsigned got = taken_pop(t, left < 64 ? (unsigned)left : 64, frames);

		if (!got)
			break;
		gmm_fr_put_as(sh->block, CALLER, HOST, got, frames);
		done += got;
	}
	return done;
}

bool shared_frames_step(struct shared_frames *sh, uint64_t goal)
{
	uint64_t now, done = 0;

	if (atomic_load(&sh->n_urgent))
		return false;
	pthread_mutex_lock(&sh->lock);
	now = taken_n(&sh->space->taken);
	if (now > goal)
		done = give_back(sh, now - goal < RETURN_AREAS * HUGE ? now - goal
								      : RETURN_AREAS * HUGE);
	if (now < goal)
		done = take_huge(sh, goal - now);
	if (now < goal && !done)
		done = take_small(sh, goal - now);
	pthread_mutex_unlock(&sh->lock);
	return done > 0;
}

uint64_t shared_frames_return(struct shared_frames *sh, uint64_t n)
{
	uint64_t done;

	atomic_fetch_add(&sh->n_urgent, 1);
	pthread_mutex_lock(&sh->lock);
	done = give_back(sh, n);
	pthread_mutex_unlock(&sh->lock);
	atomic_fetch_sub(&sh->n_urgent, 1);
	return done;
}

uint64_t shared_frames_n_free(const struct shared_frames *sh)
{
	return gmm_fr_n_free(sh->block);
}

/* ---- Relief: what is free in the guest, but takes memory or a slot here ---- */

static bool is_held_here(const struct gmm_space *s, page_no p)
{
	page_word w = space_word(s, p);

	switch (page_state(w)) {
	case GMM_PAGE_RESIDENT:
		return page_holds(w) == 0;
	case GMM_PAGE_EVICTING:
	case GMM_PAGE_SWAPPED:
		return true;
	case GMM_PAGE_EMPTY:
	case GMM_PAGE_FILLING:
	case GMM_PAGE_BALLOONED:
	case GMM_PAGE_POISONED:
	case GMM_PAGE_N_STATES:
		break;
	}
	return false;
}

/* Drops the frames [first, first + n), free a moment ago, which are the pages from p on. The guest
 * cannot get them meanwhile. Returns how many host frames are free by that. */
static uint64_t relieve_run(struct shared_frames *sh, uint64_t first, page_no p, unsigned n)
{
	struct gmm_space *s = sh->space;
	uint64_t frames[HUGE], n_frames = 0;

	if (gmm_fr_claim_as(sh->block, HOST, first, n))
		return 0; /* the guest was faster */
	for (unsigned i = 0; i < n; i++) {
		frames[i] = first + i;
		n_frames += page_state(space_word(s, p + i)) != GMM_PAGE_SWAPPED;
	}
	s->counters.free_taken += access_discard_run(s, p, n, GMM_PAGE_EMPTY);
	gmm_fr_put_as(sh->block, CALLER, HOST, n, frames);
	return n_frames;
}

/* Of the n frames from word w of the bitmap on, pages from p on, those that are worth it. */
static uint64_t relief_mask(const struct shared_frames *sh, uint64_t w, page_no p, uint64_t n)
{
	uint64_t free = ~gmm_fr_load(gmm_fr_words(sh->block) + w), mask = 0;

	if (n < 64)
		free &= (UINT64_C(1) << n) - 1;
	for (; free; free &= free - 1) {
		unsigned i = (unsigned)__builtin_ctzll(free);

		if (is_held_here(sh->space, p + i))
			mask |= UINT64_C(1) << i;
	}
	return mask;
}

static uint64_t relieve_area(struct shared_frames *sh, uint64_t area)
{
	uint64_t first = area * HUGE, mask[HUGE / 64], any = 0, done = 0;
	uint64_t n = sh->block.n_frames - first < HUGE ? sh->block.n_frames - first : HUGE;
	page_no p;

	if (gmm_fr_kind(sh->block, area) == GMM_FR_FULL || !find_pages(sh->space, first, n, &p))
		return 0;
	for (unsigned i = 0; i < HUGE / 64; i++) {
		mask[i] = i * 64 < n ? relief_mask(sh, first / 64 + i, p + i * 64, n - i * 64) : 0;
		any |= mask[i];
	}
	for (unsigned i = 0, len; any && i < n; i += len ? len : 1) {
		for (len = 0; i + len < n && mask[(i + len) / 64] >> (i + len) % 64 & 1; len++)
			;
		if (len)
			done += relieve_run(sh, first + i, p + i, len);
	}
	return done;
}

/* A new sweep is due: the last one was worth its while, or long ago, or somebody asks. */
static bool relief_begins(struct shared_frames *sh)
{
	struct gmm_space *s = sh->space;

	if (!s->relief.asked && s->counters.evicted < sh->again_evicted && now_ns() < sh->again_ns)
		return false;
	s->relief.asked = false;
	sh->n_left = n_areas(sh);
	sh->n_found = 0;
	return true;
}

/* A sweep that found less than a page an area costs more than it brings, for a while. */
static void relief_ends(struct shared_frames *sh)
{
	uint64_t limit = atomic_load(&sh->space->pool->limit_pages);

	if (sh->n_found >= n_areas(sh))
		return;
	sh->again_evicted = sh->space->counters.evicted + limit / 8 + 1;
	sh->again_ns = now_ns() + RELIEF_AGAIN_NS;
}

/* See struct gmm_space's relief. */
static uint64_t relieve(void *user, uint64_t want)
{
	struct shared_frames *sh = user;
	uint64_t done = 0;

	if ((!sh->n_left || sh->space->relief.asked) && !relief_begins(sh))
		return 0;
	want = want < RELIEF_PAGES ? want : RELIEF_PAGES;
	for (unsigned i = 0; i < RELIEF_AREAS && sh->n_left && done < want; i++) {
		uint64_t now = relieve_area(sh, sh->area);

		sh->area = sh->area + 1 < n_areas(sh) ? sh->area + 1 : 0;
		sh->n_found += now;
		done += now;
		if (--sh->n_left == 0)
			relief_ends(sh);
	}
	return done;
}

/* ---- Beginning and end ---- */

int shared_frames_new(struct gmm_space *space, const struct gmm_balloon_share *share,
		      struct shared_frames **out)
{
	struct shared_frames *sh;
	int ret = -EEXIST;

	if (share->size < sizeof(*share) || !share->block || (uintptr_t)share->block % 8 ||
	    !share->n_frames || share->n_frames > GMM_FRAMES_MAX ||
	    share->block_bytes < gmm_frames_bytes(share->n_frames))
		return -EINVAL;
	sh = calloc(1, sizeof(*sh));
	if (!sh)
		return -ENOMEM;
	sh->space = space;
	sh->block = (struct gmm_fr){share->block, share->n_frames};
	pthread_mutex_init(&sh->lock, NULL);
	pthread_mutex_lock(&space->lock);
	if (!space->taken.n_frames)
		ret = taken_init(&space->taken, share->n_frames);
	if (ret == 0) {
		space->shared_bytes = gmm_frames_bytes(share->n_frames);
		space->relief.take = relieve;
		space->relief.user = sh;
	}
	pthread_mutex_unlock(&space->lock);
	if (ret) {
		shared_frames_free(sh);
		return ret;
	}
	*out = sh;
	return 0;
}

void shared_frames_free(struct shared_frames *sh)
{
	if (!sh)
		return;
	pthread_mutex_lock(&sh->space->lock);
	if (sh->space->relief.user == sh) {
		sh->space->shared_bytes = 0;
		sh->space->relief.take = NULL;
	}
	pthread_mutex_unlock(&sh->space->lock);
	pthread_mutex_destroy(&sh->lock);
	free(sh);
}
