/* A page's life: the table of legal transitions and the one function that makes them.
 *
 * EMPTY     -> FILLING    fault_fill_zero(), access: first touch
 *           -> BALLOONED  discard: the guest gave up a page it had not touched
 * FILLING   -> RESIDENT   fault_installed()      the page is mapped
 *           -> POISONED   fault_read_failed()    its only copy could not be read
 *           -> EMPTY      fill_cancelled()       no frame could be had after all
 * RESIDENT  -> EVICTING   evict_begin()          unmapped, content in a bay slot
 *           -> EMPTY      discard                content dropped, never written
 *           -> BALLOONED  discard for the balloon
 *           -> SWAPPED    evict_clean()          a valid copy is in the store, dropped
 * EVICTING  -> RESIDENT   fault_rescue()         touched meanwhile; or the write failed
 *           -> SWAPPED    evict_done()           the store has it, the frame is free again
 *           -> EMPTY      evict_zero(), discard  it was all zero, or was dropped
 *           -> BALLOONED  discard for the balloon
 * SWAPPED   -> FILLING    fault or prefetch      a read is under way
 *           -> EMPTY      discard                the slot is freed
 *           -> BALLOONED  discard for the balloon
 * BALLOONED -> FILLING    a touch is legal and gets zeros
 *           -> EMPTY      the guest uses it again
 * POISONED  -> EMPTY      discard: the guest gave the lost content up
 *           -> BALLOONED  discard for the balloon
 *           -> SWAPPED    discard of a window's page: its file is asked again
 * A change within RESIDENT or FILLING (holds, flags, slot) is legal, too.
 */
#include "page.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "fatal.h"
#include "reserve.h"
#include "trace.h"

#define TO(state) (1u << GMM_PAGE_##state)

static const unsigned legal[GMM_PAGE_N_STATES] = {
	[GMM_PAGE_EMPTY] = TO(FILLING) | TO(BALLOONED),
	[GMM_PAGE_FILLING] = TO(FILLING) | TO(RESIDENT) | TO(POISONED) | TO(EMPTY),
	[GMM_PAGE_RESIDENT] = TO(RESIDENT) | TO(EVICTING) | TO(EMPTY) | TO(BALLOONED) | TO(SWAPPED),
	[GMM_PAGE_EVICTING] = TO(RESIDENT) | TO(SWAPPED) | TO(EMPTY) | TO(BALLOONED),
	[GMM_PAGE_SWAPPED] = TO(FILLING) | TO(EMPTY) | TO(BALLOONED),
	[GMM_PAGE_BALLOONED] = TO(FILLING) | TO(EMPTY),
	[GMM_PAGE_POISONED] = TO(EMPTY) | TO(BALLOONED) | TO(SWAPPED),
};

bool page_edge_is_legal(enum gmm_page_state from, enum gmm_page_state to)
{
	return from < GMM_PAGE_N_STATES && to < GMM_PAGE_N_STATES && (legal[from] >> to & 1);
}

const char *page_state_name(enum gmm_page_state state)
{
	static const char *const names[GMM_PAGE_N_STATES] = {
		"EMPTY", "FILLING", "RESIDENT", "EVICTING", "SWAPPED", "BALLOONED", "POISONED"};

	return state < GMM_PAGE_N_STATES ? names[state] : "?";
}

static size_t populated_bytes(uint64_t n_words)
{
	return (size_t)(n_words / PAGE_POPULATE / 8 + 1);
}

int page_table_init(struct page_table *t, uint64_t n_max)
{
	if (n_max == 0 || n_max >= PAGE_NONE)
		return -EINVAL;
	*t = (struct page_table){.n_reserved = n_max};
	t->words = reserve_map(n_max * sizeof(uint64_t));
	t->populated = reserve_map(populated_bytes(n_max));
	if (t->words && t->populated)
		return 0;
	page_table_fini(t);
	return -ENOMEM;
}

void page_table_fini(struct page_table *t)
{
	reserve_unmap((void *)t->words, t->n_reserved * sizeof(uint64_t));
	reserve_unmap(t->populated, populated_bytes(t->n_reserved));
	t->words = NULL;
	t->populated = NULL;
}

void page_table_populate(struct page_table *t, page_no p)
{
	uint64_t i = p / PAGE_POPULATE, first = i * PAGE_POPULATE, n = t->n_reserved - first;

	if (t->populated[i / 8] >> i % 8 & 1)
		return;
	t->populated[i / 8] |= (uint8_t)(1u << i % 8);
	n = n < PAGE_POPULATE ? n : PAGE_POPULATE;
	/* Where that fails, or the kernel knows it not, they come one by one. */
	madvise((void *)&t->words[first], n * sizeof(uint64_t), MADV_POPULATE_WRITE);
}

int page_table_grow(struct page_table *t, uint64_t n, enum gmm_page_state state)
{
	if (n > t->n_reserved - t->n_pages)
		return -ENOSPC;
	/* EMPTY is all bits zero, so that untouched words take no memory. */
	_Static_assert(GMM_PAGE_EMPTY == 0, "a fresh word must read as EMPTY");
	if (state != GMM_PAGE_EMPTY)
		for (uint64_t i = 0; i < n; i++)
			atomic_store_explicit(&t->words[t->n_pages + i], page_make(state, i).v,
					      memory_order_relaxed);
	t->n_pages += n;
	atomic_fetch_add_explicit(&t->n_in[state], n, memory_order_relaxed);
	return 0;
}

void page_change(struct page_table *t, page_no p, page_word from, page_word to)
{
	enum gmm_page_state a = page_state(from), b = page_state(to);
	uint64_t seen = from.v;

	CHECK(p < t->n_pages, "page %u of %lu", p, (unsigned long)t->n_pages);
	CHECK(page_edge_is_legal(a, b), "page %u: %s -> %s is no legal transition", p,
	      page_state_name(a), page_state_name(b));
	CHECK(atomic_compare_exchange_strong_explicit(&t->words[p], &seen, to.v,
						      memory_order_acq_rel, memory_order_acquire),
	      "page %u: changed by somebody else (%#lx, not %#lx)", p, (unsigned long)seen,
	      (unsigned long)from.v);
	if (a == b)
		return;
	if (t->trace)
		trace_change(t->trace, p, from, to);
	atomic_fetch_sub_explicit(&t->n_in[a], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->n_in[b], 1, memory_order_relaxed);
}

void page_change_all(struct page_table *t, page_no p, uint64_t n, enum gmm_page_state from,
		     page_word to)
{
	enum gmm_page_state b = page_state(to);

	if (n == 0)
		return;
	CHECK(p <= t->n_pages && n <= t->n_pages - p, "pages %u to %lu of %lu", p,
	      (unsigned long)(p + n), (unsigned long)t->n_pages);
	CHECK(page_state(page_get(t, p)) == from &&
		      page_state(page_get(t, p + (page_no)n - 1)) == from,
	      "pages %u to %lu are not %s", p, (unsigned long)(p + n), page_state_name(from));
	CHECK(page_edge_is_legal(from, b), "page %u: %s -> %s is no legal transition", p,
	      page_state_name(from), page_state_name(b));
	for (uint64_t i = 0; t->trace && from != b && i < n; i++)
		trace_change_run(t->trace, p + (page_no)i, from, to);
	for (uint64_t i = 0; i < n; i++)
		atomic_store_explicit(&t->words[p + i], to.v, memory_order_release);
	if (from == b)
		return;
	atomic_fetch_sub_explicit(&t->n_in[from], n, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->n_in[b], n, memory_order_relaxed);
}

/* The only writer needs no compare-and-swap. */
void page_change_run(struct page_table *t, page_no p, uint64_t n, page_word to)
{
	uint64_t end = p + n;

	CHECK(p <= t->n_pages && n <= t->n_pages - p, "pages %u to %lu of %lu", p,
	      (unsigned long)(p + n), (unsigned long)t->n_pages);
	while (p < end) {
		page_word w = page_get(t, p);
		page_no stop = page_run_end(t, p, end, w, PAGE_STATE_MASK);

		page_change_all(t, p, stop - p, page_state(w), to);
		p = stop;
	}
}
