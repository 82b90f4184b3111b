/* Traces: see <guestmm/trace.h>.
 *
 * One producer, whoever holds the space's lock, and one consumer share a ring: the producer owns
 * `put`, the consumer `taken`, and each reads the other's. What a change of a page means is read
 * from the edge between its states, so that no other code has to know of traces.
 */
#include "trace.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "counters.h"
#include "layout.h"
#include "reserve.h"

#define DEFAULT_RECORDS (1u << 18)
#define MAX_RECORDS	(1u << 28)

_Static_assert(sizeof(struct gmm_trace_header) == 64 && sizeof(struct gmm_trace_record) == 16,
	       "a file's layout");

struct gmm_trace {
	struct gmm_trace_record *ring;
	uint32_t n;
	const struct layout *layout;
	_Atomic uint64_t put, taken; /* records, since the beginning */
	uint64_t n_missing;	     /* the producer's: lost, and not told of in the ring yet */
	_Atomic uint64_t n_lost;
};

int gmm_trace_new(uint32_t n_records, struct gmm_trace **out)
{
	struct gmm_trace *t;

	if (n_records == 0)
		n_records = DEFAULT_RECORDS;
	if (n_records > MAX_RECORDS)
		return -EINVAL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->n = n_records;
	t->ring = reserve_map((size_t)n_records * sizeof(t->ring[0]));
	if (!t->ring) {
		free(t);
		return -ENOMEM;
	}
	*out = t;
	return 0;
}

struct gmm_trace *gmm_trace_free(struct gmm_trace *t)
{
	if (!t)
		return NULL;
	reserve_unmap(t->ring, (size_t)t->n * sizeof(t->ring[0]));
	free(t);
	return NULL;
}

uint32_t gmm_trace_read(struct gmm_trace *t, struct gmm_trace_record *records, uint32_t n)
{
	uint64_t taken = atomic_load_explicit(&t->taken, memory_order_relaxed);
	uint64_t have = atomic_load_explicit(&t->put, memory_order_acquire) - taken;

	if (n > have)
		n = (uint32_t)have;
	for (uint32_t i = 0; i < n; i++)
		records[i] = t->ring[(taken + i) % t->n];
	atomic_store_explicit(&t->taken, taken + n, memory_order_release);
	return n;
}

uint64_t gmm_trace_lost(const struct gmm_trace *t)
{
	return atomic_load_explicit(&t->n_lost, memory_order_relaxed);
}

void trace_begin(struct gmm_trace *t, const struct layout *layout)
{
	t->layout = layout;
}

/* Room for n more records, and for one that tells of lost ones before them. */
static bool trace_has_room(const struct gmm_trace *t, uint64_t put, unsigned n)
{
	uint64_t taken = atomic_load_explicit(&t->taken, memory_order_acquire);

	return put - taken + n + (t->n_missing != 0) <= t->n;
}

static void trace_put(struct gmm_trace *t, page_no p, enum gmm_trace_kind kind)
{
	uint64_t put = atomic_load_explicit(&t->put, memory_order_relaxed), now = now_ns();
	const struct region *r = layout_find_page(t->layout, p);

	if (!trace_has_room(t, put, 1)) {
		t->n_missing++;
		atomic_fetch_add_explicit(&t->n_lost, 1, memory_order_relaxed);
		return;
	}
	if (t->n_missing)
		t->ring[put++ % t->n] = gmm_trace_make(now, t->n_missing, GMM_TRACE_LOST);
	t->n_missing = 0;
	t->ring[put++ % t->n] = gmm_trace_make(now, region_gpa(r, p) >> GMM_PAGE_SHIFT, kind);
	atomic_store_explicit(&t->put, put, memory_order_release);
}

/* What became RESIDENT: from FILLING, because it was touched, or unasked; or from EVICTING. 0:
 * nothing to tell. */
static unsigned trace_resident(page_word from, page_word to)
{
	if (page_state(from) == GMM_PAGE_EVICTING)
		return page_flags(to) & PAGE_HOT ? GMM_TRACE_RESCUE : GMM_TRACE_PREFETCH;
	if (page_state(from) != GMM_PAGE_FILLING)
		return 0;
	if (page_payload(from) == GMM_SLOT_NONE)
		return page_flags(to) & PAGE_PREFETCHED ? GMM_TRACE_FILL_AHEAD
							: GMM_TRACE_FIRST_TOUCH;
	return page_flags(to) & PAGE_PREFETCHED ? GMM_TRACE_PREFETCH : GMM_TRACE_SWAP_IN;
}

static bool trace_had_content(enum gmm_page_state s)
{
	return s == GMM_PAGE_RESIDENT || s == GMM_PAGE_EVICTING || s == GMM_PAGE_SWAPPED ||
	       s == GMM_PAGE_POISONED;
}

void trace_change(struct gmm_trace *t, page_no p, page_word from, page_word to)
{
	unsigned kind = 0;

	switch (page_state(to)) {
	case GMM_PAGE_RESIDENT:
		kind = trace_resident(from, to);
		break;
	case GMM_PAGE_EVICTING:
		kind = GMM_TRACE_EVICT;
		break;
	case GMM_PAGE_SWAPPED:
		kind = page_state(from) == GMM_PAGE_RESIDENT ? GMM_TRACE_EVICT : 0;
		break;
	case GMM_PAGE_EMPTY:
	case GMM_PAGE_BALLOONED:
		kind = trace_had_content(page_state(from)) ? GMM_TRACE_DISCARD : 0;
		break;
	case GMM_PAGE_FILLING:
	case GMM_PAGE_POISONED:
	case GMM_PAGE_N_STATES:
		break;
	}
	if (kind)
		trace_put(t, p, (enum gmm_trace_kind)kind);
}

void trace_change_run(struct gmm_trace *t, page_no p, enum gmm_page_state from, page_word to)
{
	/* Of blocks that are filled as one a page at most was touched. */
	if (page_state(to) == GMM_PAGE_RESIDENT)
		to = page_with_flags(to, PAGE_PREFETCHED);
	trace_change(t, p, page_make(from, GMM_SLOT_NONE), to);
}

void trace_first_touch(struct gmm_trace *t, page_no p)
{
	trace_put(t, p, GMM_TRACE_FIRST_TOUCH);
}
