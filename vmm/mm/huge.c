/* Huge frames in the guest: see huge.h.
 *
 * A block is filled as one when it is first touched behind memory that is in use: memory is being
 * filled in order, and 512 pages will be wanted. Random first touches get single pages, or
 * zeros that nobody asked for would use the limit up. A block of which one page is a victim
 * leaves whole, because nothing tells its pages apart: all came at once, and no touch of one of
 * them was ever seen. What comes back comes page by page; a block whose 512 pages are all there
 * again is put together while nothing else is to do and frames are plenty.
 */
#include "huge.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "fatal.h"
#include "reserve.h"
#include "space.h"

/* Below it 512 frames are too large a part of the limit; below the second they do not fit. */
#define HUGE_LIMIT_MIN	  ((UINT64_C(64) << 20) >> GMM_PAGE_SHIFT)
#define HUGE_LIMIT_ALWAYS ((UINT64_C(4) << 20) >> GMM_PAGE_SHIFT)
#define HUGE_RUN_MAX	  4u  /* blocks for one fault: zeroing one takes some 100 us */
#define HUGE_NEAR	  64u /* how far into a block a first touch may be to count as in order */
#define HUGE_LOOKS	  64u /* blocks looked at by one huge_gather() */
#define HUGE_TORN	  4u  /* times that the cause is not another vCPU, which was faster */

enum huge_flag {
	HUGE_MAPPED = 1, /* the kernel maps it as one page */
	HUGE_USED = 2,	 /* single pages were here: the kernel has a page table for it */
	HUGE_AWAY = 4,	 /* beside HUGE_MAPPED: it is laid aside */
};

static bool huge_kernel_is_since(unsigned major, unsigned minor)
{
	unsigned has_major, has_minor;
	struct utsname u;

	if (uname(&u) || sscanf(u.release, "%u.%u", &has_major, &has_minor) != 2)
		return false;
	return has_major > major || (has_major == major && has_minor >= minor);
}

int huge_init(struct huge *h, enum gmm_huge mode, uint64_t n_pages_max)
{
	*h = (struct huge){.mode = mode, .next = PAGE_NONE};
	h->splits_pinned = huge_kernel_is_since(6, 18);
	h->n_reserved = (size_t)(n_pages_max / GMM_HUGE_PAGES + 1);
	h->blocks = reserve_map(h->n_reserved);
	return h->blocks ? 0 : -ENOMEM;
}

void huge_fini(struct huge *h)
{
	if (h->blocks)
		reserve_unmap(h->blocks, h->n_reserved);
	h->blocks = NULL;
}

page_no huge_block(const struct gmm_space *s, page_no p)
{
	const struct region *r = layout_find_page(&s->layout, p);
	uint64_t skip = (region_gpa(r, p) >> GMM_PAGE_SHIFT) % GMM_HUGE_PAGES;

	if (r->kind != REGION_RAM || p - r->first < skip ||
	    p - skip + GMM_HUGE_PAGES > r->first + region_n_pages(r))
		return PAGE_NONE;
	return p - (page_no)skip;
}

/* Blocks are 512 pages apart and do not overlap: no two have the same number. */
static uint8_t *huge_flags(const struct gmm_space *s, page_no block)
{
	return &s->huge.blocks[block / GMM_HUGE_PAGES];
}

page_no huge_mapped(const struct gmm_space *s, page_no p)
{
	page_no block;

	if (s->huge.n_mapped == 0)
		return PAGE_NONE;
	block = huge_block(s, p);
	return block != PAGE_NONE && *huge_flags(s, block) & HUGE_MAPPED ? block : PAGE_NONE;
}

static void huge_set(struct gmm_space *s, page_no block, unsigned flags)
{
	uint8_t *now = huge_flags(s, block);

	s->huge.n_mapped += (flags & HUGE_MAPPED) != 0;
	s->huge.n_mapped -= (*now & HUGE_MAPPED) != 0;
	s->huge.n_away += (flags & HUGE_AWAY) != 0;
	s->huge.n_away -= (*now & HUGE_AWAY) != 0;
	*now = (uint8_t)flags;
}

void huge_used(struct gmm_space *s, page_no p)
{
	page_no block = huge_block(s, p);

	if (block == PAGE_NONE)
		return;
	if (*huge_flags(s, block) != HUGE_USED)
		huge_set(s, block, HUGE_USED);
	s->huge.n_to_look = s->pages.n_pages / GMM_HUGE_PAGES;
}

static bool huge_is_on(const struct gmm_space *s)
{
	uint64_t min = s->huge.mode == GMM_HUGE_ALWAYS ? HUGE_LIMIT_ALWAYS : HUGE_LIMIT_MIN;

	return s->huge.mode != GMM_HUGE_NEVER && engine_has_huge(&s->engine) &&
	       atomic_load(&s->pool->limit_pages) >= min;
}

/* Frames are plenty: an eighth of the limit stays free after n more blocks, or there is a frame for
 * every page that the space has. */
static bool huge_fits(const struct gmm_space *s, uint64_t n)
{
	uint64_t limit = atomic_load(&s->pool->limit_pages);
	uint64_t spare = space_has_all(s) ? 0 : limit / 8;

	return s->n_waiting == 0 && space_free_frames(s) >= n * GMM_HUGE_PAGES + spare;
}

static bool huge_all(const struct gmm_space *s, page_no block, enum gmm_page_state state)
{
	for (page_no p = block; p < block + GMM_HUGE_PAGES; p++)
		if (page_state(space_word(s, p)) != state || page_holds(space_word(s, p)))
			return false;
	return true;
}

uint32_t huge_clip(const struct gmm_space *s, page_no p, uint32_t n)
{
	page_no block = huge_is_on(s) ? huge_block(s, p) : PAGE_NONE;

	if (block == PAGE_NONE || n <= block + GMM_HUGE_PAGES - p)
		return n;
	return block + GMM_HUGE_PAGES - p;
}

/* A page table that single pages have left behind keeps a huge page out; a discard makes the
 * kernel free it, where the kernel does that. */
static bool huge_make_room(struct gmm_space *s, page_no block)
{
	if (!(*huge_flags(s, block) & HUGE_USED))
		return true;
	return s->huge.reclaims_tables != HUGE_NO &&
	       madvise(space_hva(s, block), GMM_HUGE_BYTES, MADV_DONTNEED) == 0;
}

/* A block has been mapped, as one or not. The first time behind a page table tells whether this
 * kernel frees those. */
static void huge_note_mapped(struct gmm_space *s, page_no block, bool one)
{
	struct huge *h = &s->huge;

	if (*huge_flags(s, block) & HUGE_USED && h->reclaims_tables == HUGE_UNKNOWN)
		h->reclaims_tables = one ? HUGE_YES : HUGE_NO;
	huge_set(s, block, one ? HUGE_MAPPED : HUGE_USED);
}

/* False: single pages would have to do. */
static bool huge_fill_block(struct gmm_space *s, page_no block)
{
	unsigned done;
	bool one;
	int ret;

	if (!huge_make_room(s, block))
		return false;
	page_change_run(&s->pages, block, GMM_HUGE_PAGES,
			page_make(GMM_PAGE_FILLING, GMM_SLOT_NONE));
	ret = s->engine.ops->fill_zero_huge(&s->engine, space_hva(s, block), &done, &one);
	CHECK(ret != -EEXIST, "block at page %u was mapped behind the library's back", block);
	page_change_run(&s->pages, block, done, page_make(GMM_PAGE_RESIDENT, GMM_SLOT_NONE));
	page_change_run(&s->pages, block + done, GMM_HUGE_PAGES - done,
			page_make(GMM_PAGE_EMPTY, 0));
	for (page_no p = block; p < block + done; p++)
		s->policy_ops->insert(s->policy, p, GMM_POLICY_FIRST_TOUCH);
	if (done)
		huge_note_mapped(s, block, one);
	s->huge.n_filled += one;
	return ret == 0;
}

static bool huge_is_fresh(const struct gmm_space *s, page_no block)
{
	return block < s->pages.n_pages && huge_block(s, block) == block && huge_fits(s, 1) &&
	       huge_all(s, block, GMM_PAGE_EMPTY) && !space_some_taken(s, block);
}

/* A fault makes the kernel set up a page table before it is told to us (do_anonymous_page()). Where
 * the kernel cannot be made to free that, only the blocks behind this one can be had as one. */
static page_no huge_first_to_fill(struct gmm_space *s, page_no block)
{
	huge_set(s, block, HUGE_USED);
	return s->huge.reclaims_tables == HUGE_NO ? block + GMM_HUGE_PAGES : block;
}

/* How many fresh blocks there are from `block` on, at most n. */
static uint32_t huge_n_fresh(const struct gmm_space *s, page_no block, uint32_t n)
{
	uint32_t i = 0;

	while (i < n && huge_fits(s, i + 1) && huge_is_fresh(s, block + i * GMM_HUGE_PAGES))
		i++;
	return i;
}

uint32_t huge_fill(struct gmm_space *s, page_no p, bool goes_on)
{
	struct huge *h = &s->huge;
	page_no block = huge_is_on(s) ? huge_block(s, p) : PAGE_NONE, first;
	uint32_t n, i;

	if (block == PAGE_NONE)
		return 0;
	if (h->mode == GMM_HUGE_AUTO && (p - block >= HUGE_NEAR || !goes_on))
		return 0;
	if (!huge_is_fresh(s, block))
		return 0;
	if (block != h->next)
		h->window = 1;
	else if (h->window < HUGE_RUN_MAX)
		h->window *= 2;
	first = huge_first_to_fill(s, block);
	n = huge_n_fresh(s, first, h->window);
	/* The one that is waited for comes last: as soon as it is there the guest runs on into the
	 * next, and its fault would leave a page table there. */
	for (i = n; i > 0; i--)
		if (!huge_fill_block(s, first + (i - 1) * GMM_HUGE_PAGES))
			break;
	h->next = first + n * GMM_HUGE_PAGES;
	return first == block && i == 0 ? n * GMM_HUGE_PAGES : 0;
}

unsigned huge_take(struct gmm_space *s, page_no block, bay_slot *first)
{
	unsigned done = 0;

	if (!huge_all(s, block, GMM_PAGE_RESIDENT))
		return 0;
	s->engine.ops->extract_huge(&s->engine, space_hva(s, block), first, &done);
	if (done == GMM_HUGE_PAGES) {
		huge_set(s, block, 0);
		s->huge.n_taken++;
	} else if (done) {
		huge_set(s, block, HUGE_USED);
	}
	return done;
}

bool huge_is_held(const struct gmm_space *s, page_no block)
{
	for (page_no p = block; p < block + GMM_HUGE_PAGES && !s->huge.splits_pinned; p++)
		if (page_holds(space_word(s, p)))
			return true;
	return false;
}

static int huge_split(struct gmm_space *s, page_no block)
{
	int ret = huge_is_held(s, block) ? -EBUSY
					 : s->engine.ops->split(&s->engine, space_hva(s, block));

	if (ret == 0) {
		huge_set(s, block, HUGE_USED);
		s->huge.n_split++;
	}
	return ret;
}

int huge_prepare_discard(struct gmm_space *s, page_no p, uint64_t n)
{
	page_no q = p, block, end = p + (page_no)n;
	int ret;

	for (; q < end && s->huge.n_mapped; q++) {
		block = huge_mapped(s, q);
		if (block == PAGE_NONE)
			continue;
		if (block >= p && block + GMM_HUGE_PAGES <= end)
			huge_set(s, block, 0);
		else if ((ret = huge_split(s, block)) != 0)
			return ret;
		q = block + GMM_HUGE_PAGES - 1;
	}
	return 0;
}

/* ---- laying blocks aside ---- */

page_no huge_away(const struct gmm_space *s, page_no p)
{
	page_no block;

	if (s->huge.n_away == 0)
		return PAGE_NONE;
	block = huge_block(s, p);
	return block != PAGE_NONE && *huge_flags(s, block) & HUGE_AWAY ? block : PAGE_NONE;
}

bool huge_may_lay_aside(const struct gmm_space *s)
{
	return s->engine.ops->lay_block_aside && s->huge.reclaims_tables != HUGE_NO;
}

bool huge_lay_aside(struct gmm_space *s, page_no block, char *aside)
{
	if (!huge_may_lay_aside(s) || !huge_all(s, block, GMM_PAGE_RESIDENT) ||
	    s->engine.ops->lay_block_aside(&s->engine, space_hva(s, block), aside))
		return false;
	huge_set(s, block, HUGE_MAPPED | HUGE_AWAY);
	return true;
}

/* The fault that wants it back has left a page table; and another one may leave one again while
 * this here runs: then it comes back as single pages, and is gathered later. */
bool huge_bring_back(struct gmm_space *s, page_no block, char *aside)
{
	struct huge *h = &s->huge;
	bool one;

	if (h->reclaims_tables != HUGE_NO &&
	    madvise(space_hva(s, block), GMM_HUGE_BYTES, MADV_DONTNEED))
		return false;
	if (s->engine.ops->bring_block_back(&s->engine, space_hva(s, block), aside, &one))
		return false;
	huge_set(s, block, one ? HUGE_MAPPED : HUGE_USED);
	h->n_torn = one ? 0 : h->n_torn + 1;
	if (h->reclaims_tables == HUGE_UNKNOWN && (one || h->n_torn == HUGE_TORN))
		h->reclaims_tables = one ? HUGE_YES : HUGE_NO;
	if (!one)
		h->n_to_look = s->pages.n_pages / GMM_HUGE_PAGES;
	return true;
}

/* ---- putting blocks together again ---- */

/* What was taken out of the guest a moment ago goes back. The kernel may lose a race for a page's
 * lock: it is short, and going on without the page would lose it. */
static void huge_put_back(struct gmm_space *s, page_no p, bay_slot slot)
{
	int ret = -EBUSY;

	for (unsigned i = 0; i < 1000 && ret; i++)
		ret = s->engine.ops->install(&s->engine, space_hva(s, p), slot);
	CHECK(ret == 0, "page %u cannot be put back (%d)", p, ret);
}

/* The pages are copied into a huge frame, which then takes their place. Nobody sees that they are
 * away: whoever touches one meanwhile waits for this thread. */
static void huge_gather_block(struct gmm_space *s, page_no block)
{
	bay_slot slots[GMM_HUGE_PAGES], first = bay_get_zero_huge(&s->bay);
	char *hva = space_hva(s, block);
	bool whole, one = false;
	unsigned done = 0;

	if (first == BAY_NONE)
		return;
	s->engine.ops->extract(&s->engine, hva, GMM_HUGE_PAGES, slots, &done);
	whole = done == GMM_HUGE_PAGES;
	for (unsigned i = 0; whole && i < GMM_HUGE_PAGES; i++)
		memcpy(bay_hva(&s->bay, first + i), bay_hva(&s->bay, slots[i]), GMM_PAGE_BYTES);
	whole = whole && huge_make_room(s, block) &&
		s->engine.ops->install_huge(&s->engine, hva, first, &one) == 0;
	for (unsigned i = 0; i < done; i++)
		if (whole)
			bay_put_dirty(&s->bay, slots[i]);
		else
			huge_put_back(s, block + i, slots[i]);
	for (unsigned i = 0; i < GMM_HUGE_PAGES && !whole; i++)
		bay_put_dirty(&s->bay, first + i);
	if (whole)
		huge_note_mapped(s, block, one);
	s->huge.n_gathered += one;
	uffd_wake(&s->uffd, hva, GMM_HUGE_BYTES);
}

bool huge_wants_to_gather(const struct gmm_space *s)
{
	return s->huge.n_to_look && s->huge.mode != GMM_HUGE_NEVER &&
	       s->huge.reclaims_tables != HUGE_NO && huge_is_on(s) && huge_fits(s, 1);
}

static page_no huge_next_block(struct gmm_space *s)
{
	page_no p = s->huge.hand, block;

	s->huge.hand = p + GMM_HUGE_PAGES < s->pages.n_pages ? p + GMM_HUGE_PAGES : 0;
	s->huge.n_to_look--;
	block = huge_block(s, p);
	if (block == PAGE_NONE || *huge_flags(s, block) != HUGE_USED)
		return PAGE_NONE;
	return block;
}

void huge_gather(struct gmm_space *s)
{
	if (!huge_wants_to_gather(s))
		return;
	for (unsigned i = 0; i < HUGE_LOOKS && s->huge.n_to_look; i++) {
		page_no block = huge_next_block(s);

		if (block == PAGE_NONE || !huge_all(s, block, GMM_PAGE_RESIDENT))
			continue;
		if (working_set_return_run(s, block, GMM_HUGE_PAGES))
			huge_gather_block(s, block);
		return;
	}
}
