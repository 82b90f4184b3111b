/* Bays: see bay.h. */
#include "bay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fatal.h"
#include "reserve.h"

int bay_init(struct bay *b, struct pool_member *member)
{
	size_t frames_bytes = gmm_frames_bytes(BAY_SLOTS);

	*b = (struct bay){.member = member, .zero.head = BAY_NONE, .dirty.head = BAY_NONE};
	b->base = reserve_aligned((size_t)BAY_ALL << GMM_PAGE_SHIFT, GMM_HUGE_BYTES);
	if (!b->base)
		return -ENOMEM;
	b->entries = calloc(BAY_ALL, sizeof(*b->entries));
	b->vacancy = aligned_alloc(64, (frames_bytes + 63) & ~(size_t)63);
	if (!b->entries || !b->vacancy || gmm_frames_init(b->vacancy, frames_bytes, BAY_SLOTS)) {
		bay_fini(b);
		return -ENOMEM;
	}
	b->metadata_bytes = frames_bytes + BAY_ALL * sizeof(*b->entries);
	/* A huge page would bring 512 frames for one charge. A child after fork() would share the
	 * frames, and shared frames cannot be moved. */
	madvise(b->base, (size_t)BAY_ALL << GMM_PAGE_SHIFT, MADV_NOHUGEPAGE);
	madvise(b->base, (size_t)BAY_ALL << GMM_PAGE_SHIFT, MADV_DONTFORK);
	return 0;
}

void bay_fini(struct bay *b)
{
	if (b->base) {
		atomic_fetch_sub(&b->member->pool->reserve_pages, bay_n_free(b));
		pool_uncharge(b->member, bay_n_free(b));
		munmap(b->base, (size_t)BAY_ALL << GMM_PAGE_SHIFT);
	}
	free(b->entries);
	free(b->vacancy);
	*b = (struct bay){0};
}

static void bay_push(struct bay *b, bay_slot slot, bool zero)
{
	struct bay_list *list = zero ? &b->zero : &b->dirty;

	b->entries[slot].page = PAGE_NONE;
	b->entries[slot].stage = BAY_FREE;
	*(zero ? &b->n_zero : &b->n_dirty) += 1;
	atomic_fetch_add(&b->member->pool->reserve_pages, 1);
	if (slot >= BAY_SLOTS)
		bay_huge_push(b, slot, zero);
	else
		bay_list_push(b, list, slot);
}

/* Whole huge frames are taken apart only where there is nothing else. */
static bay_slot bay_pop(struct bay *b, bool zero, bool break_up)
{
	bay_slot slot = bay_list_pop(b, zero ? &b->zero : &b->dirty);

	if (slot == BAY_NONE)
		slot = bay_huge_pop(b, zero, break_up);
	if (slot == BAY_NONE)
		return slot;
	*(zero ? &b->n_zero : &b->n_dirty) -= 1;
	atomic_fetch_sub(&b->member->pool->reserve_pages, 1);
	return slot;
}

static int by_slot(const void *a, const void *b)
{
	bay_slot x = *(const bay_slot *)a, y = *(const bay_slot *)b;

	return x < y ? -1 : x > y;
}

/* Up to n vacant slots side by side. Returns how many, 0: there are none. */
static unsigned bay_get_vacant_run(struct bay *b, unsigned n, bay_slot *slots)
{
	unsigned order = 31u - (unsigned)__builtin_clz(n);
	uint64_t first;

	while (gmm_frames_get_order(b->vacancy, 0, order, &first))
		if (order-- == 0)
			return 0;
	for (unsigned i = 0; i < 1u << order; i++)
		slots[i] = (bay_slot)first + i;
	return 1u << order;
}

int bay_get_vacant(struct bay *b, unsigned n, bay_slot *slots)
{
	unsigned have = 0, now;

	if (n > GMM_HUGE_PAGES)
		return -ENOMEM;
	for (; have < n; have += now) {
		now = bay_get_vacant_run(b, n - have, &slots[have]);
		if (now)
			continue;
		while (have)
			bay_put_vacant(b, slots[--have]);
		return -ENOMEM;
	}
	qsort(slots, n, sizeof(slots[0]), by_slot);
	return 0;
}

void bay_put_vacant(struct bay *b, bay_slot slot)
{
	uint64_t frame = slot;
	int ret;

	b->entries[slot].page = PAGE_NONE;
	b->entries[slot].stage = BAY_FREE;
	if (slot >= BAY_SLOTS) {
		bay_huge_vacate(b, slot);
		return;
	}
	ret = gmm_frames_put(b->vacancy, 0, 1, &frame);
	CHECK(ret == 0, "bay slot %u freed twice (%d)", slot, ret);
}

void bay_put_vacant_run(struct bay *b, bay_slot first, unsigned n)
{
	int ret;

	if (first + n > BAY_SLOTS) {
		for (unsigned i = 0; i < n; i++)
			bay_put_vacant(b, first + i);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		b->entries[first + i].page = PAGE_NONE;
		b->entries[first + i].stage = BAY_FREE;
	}
	ret = n ? gmm_frames_put_run(b->vacancy, 0, first, n) : 0;
	CHECK(ret == 0, "bay slots from %u on freed twice (%d)", first, ret);
}

void bay_put_zero(struct bay *b, bay_slot slot)
{
	bay_push(b, slot, true);
}

void bay_put_dirty(struct bay *b, bay_slot slot)
{
	bay_push(b, slot, false);
}

/* Gives frames to the slots [first, first + n): charged already. */
static int bay_populate_run(struct bay *b, bay_slot first, unsigned n)
{
	char *at = bay_hva(b, first);

	if (madvise(at, (size_t)n << GMM_PAGE_SHIFT, MADV_POPULATE_WRITE) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	for (unsigned i = 0; i < n; i++) /* before Linux 5.14 */
		*(volatile char *)(at + ((size_t)i << GMM_PAGE_SHIFT)) = 0;
	return 0;
}

unsigned bay_populate(struct bay *b, unsigned n)
{
	bay_slot slots[BAY_POPULATE_MAX];
	unsigned n_made = 0, end;

	if (n > BAY_POPULATE_MAX)
		n = BAY_POPULATE_MAX;
	while (n && !pool_charge(b->member, n))
		n /= 2;
	if (n == 0)
		return 0;
	if (bay_get_vacant(b, n, slots)) {
		pool_uncharge(b->member, n);
		return 0;
	}
	/* From the end, so that the list hands them out in ascending order. */
	for (unsigned i = n; i > 0; i = end) {
		end = i - 1;
		while (end > 0 && slots[end - 1] + 1 == slots[end])
			end--;
		if (bay_populate_run(b, slots[end], i - end)) {
			madvise(bay_hva(b, slots[end]), (size_t)(i - end) << GMM_PAGE_SHIFT,
				MADV_DONTNEED);
			for (unsigned k = end; k < i; k++)
				bay_put_vacant(b, slots[k]);
			pool_uncharge(b->member, i - end);
			continue;
		}
		for (unsigned k = i; k > end; k--)
			bay_push(b, slots[k - 1], true);
		n_made += i - end;
	}
	return n_made;
}

/* A free frame in whatever state, zeroed or not; *zero tells. Frames that are there already come
 * first, then new ones, then those of a whole huge frame. */
static bay_slot bay_pop_any(struct bay *b, bool want_zero, bool *zero)
{
	const struct {
		bool other, break_up;
	} order[] = {{false, false}, {true, false}, {false, true}, {true, true}};

	for (unsigned i = 0; i < 4; i++) {
		bay_slot slot = BAY_NONE;

		*zero = true;
		if (i == 2 && bay_populate(b, want_zero ? 16 : 1))
			slot = bay_pop(b, true, false);
		if (slot != BAY_NONE)
			return slot;
		*zero = want_zero != order[i].other;
		slot = bay_pop(b, *zero, order[i].break_up);
		if (slot != BAY_NONE)
			return slot;
	}
	return BAY_NONE;
}

/* Frames above the floor, of which one may be taken. */
static bool bay_may_take(struct bay *b)
{
	if (bay_n_free(b) <= b->floor)
		bay_populate(b, 16);
	return bay_n_free(b) > b->floor;
}

bay_slot bay_get_zero(struct bay *b)
{
	bay_slot slot;
	bool zero;

	if (!bay_may_take(b))
		return BAY_NONE;
	slot = bay_pop_any(b, true, &zero);
	if (slot != BAY_NONE && !zero)
		memset(bay_hva(b, slot), 0, GMM_PAGE_BYTES);
	return slot;
}

bay_slot bay_get_last(struct bay *b)
{
	bool zero;

	return bay_pop_any(b, false, &zero);
}

bay_slot bay_get_any(struct bay *b)
{
	return bay_may_take(b) ? bay_get_last(b) : BAY_NONE;
}

unsigned bay_get_several(struct bay *b, unsigned n, bay_slot *slots)
{
	unsigned have = b->zero.n + b->dirty.n; /* those that no huge frame is broken up for */

	while (have < n + b->floor) {
		unsigned now = bay_populate(b, n + b->floor - have);

		have += now;
		if (now == 0)
			break;
	}
	for (have = 0; have < n; have++) {
		slots[have] = bay_get_any(b);
		if (slots[have] == BAY_NONE)
			break;
	}
	qsort(slots, have, sizeof(slots[0]), by_slot);
	return have;
}

unsigned bay_scrub(struct bay *b, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		bay_slot slot = bay_pop(b, false, false);

		if (slot == BAY_NONE)
			break;
		memset(bay_hva(b, slot), 0, GMM_PAGE_BYTES);
		bay_push(b, slot, true);
	}
	return i;
}

void bay_hand_over(struct bay *b, bay_slot slot)
{
	madvise(bay_hva(b, slot), GMM_PAGE_BYTES, MADV_DONTNEED);
	bay_put_vacant(b, slot);
}

/* A frame that the host gets back when it is discarded. */
static bay_slot bay_pop_single(struct bay *b, bool split)
{
	bool zero = !b->dirty.n;
	bay_slot slot = bay_list_pop(b, zero ? &b->zero : &b->dirty);

	if (slot == BAY_NONE)
		return bay_huge_pop_single(b, split);
	*(zero ? &b->n_zero : &b->n_dirty) -= 1;
	atomic_fetch_sub(&b->member->pool->reserve_pages, 1);
	return slot;
}

/* Discards n frames, neighbours by one call. */
static void bay_discard(struct bay *b, bay_slot *slots, unsigned n)
{
	unsigned len;

	qsort(slots, n, sizeof(slots[0]), by_slot);
	for (unsigned i = 0; i < n; i += len) {
		for (len = 1; i + len < n && slots[i + len] == slots[i] + len; len++)
			;
		madvise(bay_hva(b, slots[i]), (size_t)len << GMM_PAGE_SHIFT, MADV_DONTNEED);
	}
	for (unsigned i = 0; i < n; i++)
		bay_put_vacant(b, slots[i]);
	pool_uncharge(b->member, n);
}

/* Single frames, at most n of them. */
static unsigned bay_trim_single(struct bay *b, unsigned n, bool split)
{
	bay_slot slots[BAY_POPULATE_MAX] = {0};
	unsigned given = 0, have;

	do {
		for (have = 0; have < BAY_POPULATE_MAX && given + have < n; have++) {
			slots[have] =
				bay_n_free(b) > b->floor ? bay_pop_single(b, split) : BAY_NONE;
			if (slots[have] == BAY_NONE)
				break;
		}
		bay_discard(b, slots, have);
		given += have;
	} while (have == BAY_POPULATE_MAX);
	return given;
}

unsigned bay_trim(struct bay *b, unsigned n, bool split)
{
	unsigned given = 0;

	if (bay_n_free(b) > b->floor + GMM_HUGE_PAGES)
		given = bay_huge_trim(b, n);
	return given < n ? given + bay_trim_single(b, n - given, split) : given;
}

unsigned bay_trim_above(struct bay *b, unsigned keep, unsigned most)
{
	unsigned given = 0, n;

	if (bay_n_free(b) >= keep + GMM_HUGE_PAGES) {
		n = bay_n_free(b) - keep - (GMM_HUGE_PAGES - 1);
		given = bay_huge_trim(b, n < most ? n : most);
	}
	n = b->zero.n + b->dirty.n + bay_huge_n_single(b);
	n = n > keep ? n - keep : 0;
	most = given < most ? most - given : 0;
	return given + bay_trim_single(b, n < most ? n : most, false);
}
