/* A page's life: one 64-bit state word a guest page.
 *
 * The word is changed by compare-and-swap through page_change() only, which refuses any
 * edge that the table in page.c does not list. Writers hold the space's lock; readers (statistics,
 * maps) need none and see each page's word whole.
 *
 * Word:  bits 0-3 state | 4-11 holds | 12-15 flags | 16-51 payload | 52-63 stamp
 * The payload is, by state:
 *   RESIDENT   the store's slot that still has this content (clean), or GMM_SLOT_NONE
 *   EVICTING   the bay slot that has the content
 *   FILLING    the transfer that reads it, or GMM_SLOT_NONE (no read: a zero fill)
 *   SWAPPED    the store's slot
 * The stamp, in EVICTING and SWAPPED, is when the page left (1 + evictions / a unit, modulo
 * PAGE_STAMPS), so that a page that comes back soon is recognised (a refault, as in the kernel's
 * workingset.c). 0: it was never resident.
 */
#ifndef MM_PAGE_H
#define MM_PAGE_H

#include <guestmm/space.h>
#include <guestmm/store.h>

#define PAGE_HOLDS_MAX 255u
#define PAGE_POPULATE  8192u /* words that get memory at once: 64 KiB, for 32 MiB of the guest's */
#define PAGE_STAMPS    4095u /* of 12 bits; 0 is none */

enum page_flag {
	PAGE_PREFETCHED = 1, /* brought in on a guess, no touch seen yet */
	PAGE_HOT = 2,	     /* came back soon, or was rescued, since it became resident */
	PAGE_AHEAD = 4,	     /* read on a guess, and not known to have been of use. EVICTING, too */
};

typedef struct {
	uint64_t v;
} page_word;

/* Dense number of a page over all regions of a space. */
typedef uint32_t page_no;
#define PAGE_NONE UINT32_MAX

struct page_table {
	_Atomic uint64_t *words;
	uint8_t *populated; /* a bit for PAGE_POPULATE words */
	uint64_t n_pages, n_reserved;
	_Atomic uint64_t n_in[GMM_PAGE_N_STATES];
	struct gmm_trace *trace; /* told of all changes; NULL: none */
};

static inline enum gmm_page_state page_state(page_word w)
{
	return (enum gmm_page_state)(w.v & 15);
}

static inline unsigned page_holds(page_word w)
{
	return (unsigned)(w.v >> 4) & 255;
}

static inline unsigned page_flags(page_word w)
{
	return (unsigned)(w.v >> 12) & 15;
}

static inline uint64_t page_payload(page_word w)
{
	return (w.v >> 16) & GMM_SLOT_NONE;
}

static inline unsigned page_stamp(page_word w)
{
	return (unsigned)(w.v >> 52);
}

static inline page_word page_make(enum gmm_page_state state, uint64_t payload)
{
	return (page_word){(uint64_t)state | payload << 16};
}

static inline page_word page_with_flags(page_word w, unsigned flags)
{
	return (page_word){(w.v & ~(UINT64_C(15) << 12)) | (uint64_t)(flags & 15) << 12};
}

static inline page_word page_with_payload(page_word w, uint64_t payload)
{
	return (page_word){(w.v & ~(GMM_SLOT_NONE << 16)) | payload << 16};
}

static inline page_word page_with_holds(page_word w, unsigned holds)
{
	return (page_word){(w.v & ~(UINT64_C(255) << 4)) | (uint64_t)(holds & 255) << 4};
}

static inline page_word page_with_stamp(page_word w, unsigned stamp)
{
	return (page_word){(w.v & ~(UINT64_C(0xfff) << 52)) | (uint64_t)(stamp & 0xfff) << 52};
}

#define PAGE_STATE_MASK	  UINT64_C(0xf)
#define PAGE_HOLDS_MASK	  (UINT64_C(0xff) << 4)
#define PAGE_PAYLOAD_MASK (GMM_SLOT_NONE << 16)

/* Reserves address space for n_max words; nothing is committed yet. 0, -ENOMEM. */
int page_table_init(struct page_table *t, uint64_t n_max);
void page_table_fini(struct page_table *t);

/* Page p is about to be touched for the first time, perhaps. The host gives memory for words a page
 * at a time, by two faults (the first reads, the second writes): this asks for more at once. */
void page_table_populate(struct page_table *t, page_no p);

/* Adds n pages in the given state (EMPTY, or SWAPPED for windows with payload = index). */
int page_table_grow(struct page_table *t, uint64_t n, enum gmm_page_state state);

static inline page_word page_get(const struct page_table *t, page_no p)
{
	return (page_word){__atomic_load_n((const uint64_t *)&t->words[p], __ATOMIC_ACQUIRE)};
}

/* The first page from p on, up to end, whose word differs from `like` in the bits of `mask`. */
static inline page_no page_run_end(const struct page_table *t, page_no p, uint64_t end,
				   page_word like, uint64_t mask)
{
	for (; end - p >= 16; p += 16) { /* most runs are long */
		uint64_t differ = 0;

		for (page_no i = p; i < p + 16; i++)
			differ |= page_get(t, i).v ^ like.v;
		if (differ & mask)
			break;
	}
	while (p < end && !((page_get(t, p).v ^ like.v) & mask))
		p++;
	return p;
}

/* Is from -> to an edge of the table? */
bool page_edge_is_legal(enum gmm_page_state from, enum gmm_page_state to);

/* Changes page p from `from` (its whole word) to `to`. The edge must be legal and the word
 * must be as the caller last saw it: anything else is a bug that would lose content. */
void page_change(struct page_table *t, page_no p, page_word from, page_word to);

/* The same for n pages from p on, whatever their words are now; all become `to`. By the words' only
 * writer: their lock is held. */
void page_change_run(struct page_table *t, page_no p, uint64_t n, page_word to);

/* The same where the caller has just seen, under that lock, that all of them are in state `from`:
 * their words are not read again. */
void page_change_all(struct page_table *t, page_no p, uint64_t n, enum gmm_page_state from,
		     page_word to);

const char *page_state_name(enum gmm_page_state state);

#endif
