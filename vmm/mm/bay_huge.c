/* Huge slots of a bay: see bay.h.
 *
 * A huge slot is VACANT, or it holds 512 frames that are charged to the pool. It is filled by one
 * populating call or by one huge page that is moved in, and while `whole` is true its frames are
 * one page to the kernel: they can leave again by one move. Its free frames are in lists of its
 * own, so that they can all be counted on to be here: when all 512 are free and it is still whole,
 * it is a huge frame again without any work. The first frame that leaves alone ends that: the
 * kernel splits the page (UFFDIO_MOVE does, and costs as much as moving some hundred pages), and
 * what is left is used up frame by frame until the slot is vacant.
 *
 * A discard within a huge page would free nothing until the kernel splits the page some time later:
 * so frames go back to the host from split pages only, or 512 at once.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "bay.h"
#include "fatal.h"
#include "reserve.h"

static bay_slot huge_first(const struct bay *b, const struct bay_huge *h)
{
	return BAY_SLOTS + (bay_slot)(h - b->huge) * GMM_HUGE_PAGES;
}

static struct bay_huge *huge_find(struct bay *b, enum bay_huge_state state)
{
	for (struct bay_huge *h = b->huge; b->has_huge && h < b->huge + BAY_HUGE; h++)
		if (h->state == state)
			return h;
	return NULL;
}

static void huge_begin(struct bay_huge *h)
{
	*h = (struct bay_huge){.state = BAY_HUGE_PARTS,
			       .zero.head = BAY_NONE,
			       .dirty.head = BAY_NONE,
			       .whole = true};
}

/* 512 free frames more or fewer; those of a slot in one of the states for that. */
static void huge_count(struct bay *b, enum bay_huge_state state, int sign)
{
	uint32_t *n = state == BAY_HUGE_ZERO ? &b->n_zero : &b->n_dirty;

	*n += (uint32_t)sign * GMM_HUGE_PAGES;
	atomic_fetch_add(&b->member->pool->reserve_pages,
			 (uint64_t)((int64_t)sign * (int64_t)GMM_HUGE_PAGES));
}

void bay_enable_huge(struct bay *b)
{
	char *at = bay_hva(b, BAY_SLOTS);

	b->has_huge = madvise(at, (size_t)BAY_HUGE << GMM_HUGE_SHIFT, MADV_HUGEPAGE) == 0;
}

/* Frames for a vacant slot, from the kernel, which zeroes them. */
static bool huge_populate(struct bay *b, struct bay_huge *h)
{
	char *at = bay_hva(b, huge_first(b, h));

	if (!pool_charge(b->member, GMM_HUGE_PAGES))
		return false;
	if (madvise(at, GMM_HUGE_BYTES, MADV_POPULATE_WRITE) == 0) {
		huge_begin(h);
		return true;
	}
	madvise(at, GMM_HUGE_BYTES, MADV_DONTNEED);
	pool_uncharge(b->member, GMM_HUGE_PAGES);
	return false;
}

bay_slot bay_get_zero_huge(struct bay *b)
{
	struct bay_huge *h = huge_find(b, BAY_HUGE_ZERO);

	if (h) {
		huge_count(b, BAY_HUGE_ZERO, -1);
	} else if ((h = huge_find(b, BAY_HUGE_DIRTY)) != NULL) {
		huge_count(b, BAY_HUGE_DIRTY, -1);
		memset(bay_hva(b, huge_first(b, h)), 0, GMM_HUGE_BYTES);
	} else if ((h = huge_find(b, BAY_HUGE_VACANT)) == NULL || !huge_populate(b, h)) {
		return BAY_NONE;
	}
	huge_begin(h);
	return huge_first(b, h);
}

void bay_put_zero_huge(struct bay *b, bay_slot first)
{
	struct bay_huge *h = bay_huge_of(b, first);

	h->state = BAY_HUGE_ZERO;
	huge_count(b, BAY_HUGE_ZERO, 1);
}

bay_slot bay_get_vacant_huge(struct bay *b)
{
	struct bay_huge *h = huge_find(b, BAY_HUGE_VACANT);

	if (!h)
		return BAY_NONE;
	huge_begin(h);
	return huge_first(b, h);
}

void bay_put_vacant_huge(struct bay *b, bay_slot first)
{
	bay_huge_of(b, first)->state = BAY_HUGE_VACANT;
}

/* All slots of h are vacant, but single pages have left a page table behind, and no huge page can
 * be made where one is: the range is mapped anew. */
static bool huge_renew(struct bay *b, struct bay_huge *h)
{
	char *at = bay_hva(b, huge_first(b, h));

	if (mmap(at, GMM_HUGE_BYTES, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != at)
		return false;
	madvise(at, GMM_HUGE_BYTES, MADV_HUGEPAGE);
	madvise(at, GMM_HUGE_BYTES, MADV_DONTFORK);
	return !b->renewed || b->renewed(b->user, at, GMM_HUGE_BYTES) == 0;
}

void bay_huge_vacate(struct bay *b, bay_slot slot)
{
	struct bay_huge *h = bay_huge_of(b, slot);

	CHECK(h->state == BAY_HUGE_PARTS && h->n_vacant < GMM_HUGE_PAGES, "bay slot %u freed twice",
	      slot);
	h->whole = false;
	if (++h->n_vacant == GMM_HUGE_PAGES && huge_renew(b, h))
		h->state = BAY_HUGE_VACANT;
}

/* ---- single frames ---- */

void bay_huge_push(struct bay *b, bay_slot slot, bool zero)
{
	struct bay_huge *h = bay_huge_of(b, slot);

	bay_list_push(b, zero ? &h->zero : &h->dirty, slot);
	if (h->whole && h->zero.n + h->dirty.n == GMM_HUGE_PAGES) {
		/* One kind for all: what was zero among dirty ones counts as dirty. */
		b->n_dirty += h->dirty.n ? h->zero.n : 0;
		b->n_zero -= h->dirty.n ? h->zero.n : 0;
		h->state = h->dirty.n ? BAY_HUGE_DIRTY : BAY_HUGE_ZERO;
	}
}

/* The frames of a free huge slot go into its lists. */
static void huge_list(struct bay *b, struct bay_huge *h, bool zero)
{
	bay_slot first = huge_first(b, h);

	huge_begin(h);
	for (unsigned i = GMM_HUGE_PAGES; i > 0; i--)
		bay_list_push(b, zero ? &h->zero : &h->dirty, first + i - 1);
}

/* Frames that are given out one by one are single pages to the kernel, too: one that is pinned by
 * I/O would keep all others of its huge page from being moved. */
static bool huge_split(struct bay *b, struct bay_huge *h)
{
	if (h->whole && b->split && b->split(b->user, bay_hva(b, huge_first(b, h))))
		return false;
	h->whole = false;
	return true;
}

bay_slot bay_huge_pop(struct bay *b, bool zero, bool break_up)
{
	struct bay_huge *h, *whole = NULL;

	for (h = b->huge; b->has_huge && h < b->huge + BAY_HUGE; h++) {
		if (h->state != BAY_HUGE_PARTS || !(zero ? h->zero.n : h->dirty.n))
			continue;
		if (!h->whole)
			return bay_list_pop(b, zero ? &h->zero : &h->dirty);
		whole = h;
	}
	if (!break_up)
		return BAY_NONE;
	h = whole ? whole : huge_find(b, zero ? BAY_HUGE_ZERO : BAY_HUGE_DIRTY);
	if (!h)
		return BAY_NONE;
	if (h->state != BAY_HUGE_PARTS)
		huge_list(b, h, zero);
	if (huge_split(b, h))
		return bay_list_pop(b, zero ? &h->zero : &h->dirty);
	if (whole != h) /* back: it is free as a whole still */
		h->state = zero ? BAY_HUGE_ZERO : BAY_HUGE_DIRTY;
	return BAY_NONE;
}

unsigned bay_huge_n_single(const struct bay *b)
{
	unsigned n = 0;

	for (const struct bay_huge *h = b->huge; b->has_huge && h < b->huge + BAY_HUGE; h++)
		if (h->state == BAY_HUGE_PARTS && !h->whole)
			n += h->zero.n + h->dirty.n;
	return n;
}

bay_slot bay_huge_pop_single(struct bay *b, bool split)
{
	for (struct bay_huge *h = b->huge; b->has_huge && h < b->huge + BAY_HUGE; h++) {
		bool zero = h->dirty.n == 0;

		if (h->state != BAY_HUGE_PARTS || h->zero.n + h->dirty.n == 0 ||
		    (h->whole && !split) || !huge_split(b, h))
			continue;
		*(zero ? &b->n_zero : &b->n_dirty) -= 1;
		atomic_fetch_sub(&b->member->pool->reserve_pages, 1);
		return bay_list_pop(b, zero ? &h->zero : &h->dirty);
	}
	return BAY_NONE;
}

unsigned bay_huge_trim(struct bay *b, unsigned n)
{
	unsigned given = 0;

	for (struct bay_huge *h = b->huge; h < b->huge + BAY_HUGE && given < n; h++) {
		if (h->state != BAY_HUGE_ZERO && h->state != BAY_HUGE_DIRTY)
			continue;
		if (madvise(bay_hva(b, huge_first(b, h)), GMM_HUGE_BYTES, MADV_DONTNEED))
			continue;
		huge_count(b, h->state, -1);
		h->state = BAY_HUGE_VACANT;
		pool_uncharge(b->member, GMM_HUGE_PAGES);
		given += GMM_HUGE_PAGES;
	}
	return given;
}
