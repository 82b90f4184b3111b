/* Bays: see bay.h. */
#include "bay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fatal.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

int bay_init(struct bay *b, struct pool_member *member)
{
	size_t frames_bytes = gmm_frames_bytes(BAY_SLOTS);
	void *base;

	*b = (struct bay){.member = member, .zero.head = BAY_NONE, .dirty.head = BAY_NONE};
	base = mmap(NULL, (size_t)BAY_SLOTS << GMM_PAGE_SHIFT, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return -ENOMEM;
	b->base = base;
	b->entries = calloc(BAY_SLOTS, sizeof(*b->entries));
	b->vacancy = aligned_alloc(64, (frames_bytes + 63) & ~(size_t)63);
	if (!b->entries || !b->vacancy || gmm_frames_init(b->vacancy, frames_bytes, BAY_SLOTS)) {
		bay_fini(b);
		return -ENOMEM;
	}
	b->metadata_bytes = frames_bytes + BAY_SLOTS * sizeof(*b->entries);
	/* A huge page would bring 512 frames for one charge. A child after fork() would share the
	 * frames, and shared frames cannot be moved. */
	madvise(base, (size_t)BAY_SLOTS << GMM_PAGE_SHIFT, MADV_NOHUGEPAGE);
	madvise(base, (size_t)BAY_SLOTS << GMM_PAGE_SHIFT, MADV_DONTFORK);
	return 0;
}

void bay_fini(struct bay *b)
{
	if (b->base) {
		b->floor = 0;
		if (b->entries && b->vacancy)
			bay_trim(b, UINT32_MAX);
		munmap(b->base, (size_t)BAY_SLOTS << GMM_PAGE_SHIFT);
	}
	free(b->entries);
	free(b->vacancy);
	*b = (struct bay){0};
}

static void bay_push(struct bay *b, struct bay_list *list, bay_slot slot)
{
	b->entries[slot].page = PAGE_NONE;
	b->entries[slot].stage = BAY_FREE;
	b->entries[slot].next = list->head;
	list->head = slot;
	list->n++;
	atomic_fetch_add(&b->member->pool->reserve_pages, 1);
}

static bay_slot bay_pop(struct bay *b, struct bay_list *list)
{
	bay_slot slot = list->head;

	if (slot == BAY_NONE)
		return slot;
	list->head = b->entries[slot].next;
	list->n--;
	atomic_fetch_sub(&b->member->pool->reserve_pages, 1);
	return slot;
}

int bay_get_vacant(struct bay *b, unsigned n, bay_slot *slots)
{
	uint64_t frames[GMM_HUGE_PAGES];

	if (n > GMM_HUGE_PAGES || gmm_frames_get(b->vacancy, 0, n, frames))
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		slots[i] = (bay_slot)frames[i];
	return 0;
}

void bay_put_vacant(struct bay *b, bay_slot slot)
{
	uint64_t frame = slot;
	int ret;

	b->entries[slot].page = PAGE_NONE;
	b->entries[slot].stage = BAY_FREE;
	ret = gmm_frames_put(b->vacancy, 0, 1, &frame);
	CHECK(ret == 0, "bay slot %u freed twice (%d)", slot, ret);
}

void bay_put_zero(struct bay *b, bay_slot slot)
{
	bay_push(b, &b->zero, slot);
}

void bay_put_dirty(struct bay *b, bay_slot slot)
{
	bay_push(b, &b->dirty, slot);
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
			bay_push(b, &b->zero, slots[k - 1]);
		n_made += i - end;
	}
	return n_made;
}

bay_slot bay_get_zero(struct bay *b)
{
	bay_slot slot;

	if (bay_n_free(b) <= b->floor)
		bay_populate(b, 16);
	if (bay_n_free(b) <= b->floor)
		return BAY_NONE;
	slot = bay_pop(b, &b->zero);
	if (slot == BAY_NONE) {
		slot = bay_pop(b, &b->dirty);
		memset(bay_hva(b, slot), 0, GMM_PAGE_BYTES);
	}
	return slot;
}

bay_slot bay_get_last(struct bay *b)
{
	bay_slot slot = bay_pop(b, &b->dirty);

	if (slot == BAY_NONE)
		slot = bay_pop(b, &b->zero);
	if (slot == BAY_NONE && bay_populate(b, 1))
		slot = bay_pop(b, &b->zero);
	return slot;
}

bay_slot bay_get_any(struct bay *b)
{
	if (bay_n_free(b) <= b->floor)
		bay_populate(b, 16);
	return bay_n_free(b) > b->floor ? bay_get_last(b) : BAY_NONE;
}

unsigned bay_scrub(struct bay *b, unsigned n)
{
	unsigned i;

	for (i = 0; i < n && b->dirty.n; i++) {
		bay_slot slot = bay_pop(b, &b->dirty);

		memset(bay_hva(b, slot), 0, GMM_PAGE_BYTES);
		bay_push(b, &b->zero, slot);
	}
	return i;
}

void bay_hand_over(struct bay *b, bay_slot slot)
{
	madvise(bay_hva(b, slot), GMM_PAGE_BYTES, MADV_DONTNEED);
	bay_put_vacant(b, slot);
}

unsigned bay_trim(struct bay *b, unsigned n)
{
	unsigned i;

	for (i = 0; i < n && bay_n_free(b) > b->floor; i++) {
		bay_slot slot = bay_pop(b, b->dirty.n ? &b->dirty : &b->zero);

		if (slot == BAY_NONE)
			break;
		madvise(bay_hva(b, slot), GMM_PAGE_BYTES, MADV_DONTNEED);
		bay_put_vacant(b, slot);
		pool_uncharge(b->member, 1);
	}
	return i;
}
