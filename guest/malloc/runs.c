/* Runs of pages, cut from 4 MiB segments; neighbours that are free are always one run.
 *
 * Free runs wait in bins by length, exact up to 8 pages, then eight to a doubling. A run is
 * described at its first page, a free one at its last page too, so that a neighbour
 * finds it from either side. Pages remember whether they may hold memory (dirty): clean
 * ones read as zero, need no clearing and cost nothing.
 * Trimming gives free dirty runs back to the kernel, and segments that are wholly free.
 * Lock: run_lock. The segment map alone is read without it: bits are set before the
 * first block of a segment is given out, and cleared when none is left.
 */
#include "heap.h"
#include "malloc.h"
#include "os.h"

#define GROW_MAX_SEGMENTS 16u

static unsigned bin_of(size_t pages)
{
	unsigned doubling;

	if (pages <= 8)
		return (unsigned)pages - 1;
	doubling = 63u - (unsigned)__builtin_clzl(pages) - 3u; /* 8..15: 0 */
	return 8 * (doubling + 1) + (unsigned)((pages >> doubling) - 8) - 1;
}

static uint8_t segment_bit(uintptr_t address)
{
	return (uint8_t)(1u << (address >> SEGMENT_SHIFT & 7));
}

/* The byte of the segment map that has an address's bit; NULL where there is none yet. */
static uint8_t *segment_byte(const struct heap *heap, uintptr_t address)
{
	uintptr_t segment = address >> SEGMENT_SHIFT;
	uint8_t *leaf;

	if (address >> ADDRESS_BITS)
		return NULL;
	leaf = __atomic_load_n(&heap->segment_map[segment >> MAP_LEAF_BITS], __ATOMIC_ACQUIRE);
	return leaf ? &leaf[(segment & ((1u << MAP_LEAF_BITS) - 1)) / 8] : NULL;
}

/* The segment that p lies in; NULL where it is in none of ours. */
struct segment *segment_of(const struct heap *heap, const void *p)
{
	const uint8_t *byte = segment_byte(heap, (uintptr_t)p);

	if (!byte || !(__atomic_load_n(byte, __ATOMIC_ACQUIRE) & segment_bit((uintptr_t)p)))
		return NULL;
	return (struct segment *)((uintptr_t)p & ~(SEGMENT_BYTES - 1));
}

static bool segment_enter(struct heap *heap, struct segment *segment)
{
	uintptr_t address = (uintptr_t)segment, root = address >> (SEGMENT_SHIFT + MAP_LEAF_BITS);
	uint8_t *leaf;

	if (address >> ADDRESS_BITS)
		return false;
	if (!heap->segment_map[root]) {
		leaf = heap_map(heap, (1ul << MAP_LEAF_BITS) / 8, PAGE_BYTES);
		if (!leaf)
			return false;
		__atomic_store_n(&heap->segment_map[root], leaf, __ATOMIC_RELEASE);
	}
	__atomic_fetch_or(segment_byte(heap, address), segment_bit(address), __ATOMIC_RELEASE);
	return true;
}

static void segment_leave(struct heap *heap, struct segment *segment)
{
	uintptr_t address = (uintptr_t)segment;

	__atomic_fetch_and(segment_byte(heap, address), (uint8_t)~segment_bit(address),
			   __ATOMIC_RELEASE);
}

void *run_address(const struct page *run)
{
	struct segment *segment = segment_of_page(run);

	return (char *)segment + (size_t)(run - segment->pages) * PAGE_BYTES;
}

static void bin_add(struct heap *heap, struct page *run)
{
	unsigned i = bin_of(run->n);

	run->prev = NULL;
	run->next = heap->free_runs[i];
	if (run->next)
		run->next->prev = run;
	heap->free_runs[i] = run;
	heap->free_run_bins |= 1ull << i;
}

static void bin_remove(struct heap *heap, struct page *run)
{
	unsigned i = bin_of(run->n);

	if (run->prev)
		run->prev->next = run->next;
	else
		heap->free_runs[i] = run->next;
	if (run->next)
		run->next->prev = run->prev;
	if (!heap->free_runs[i])
		heap->free_run_bins &= ~(1ull << i);
}

static void free_run_describe(struct heap *heap, struct segment *segment, size_t first, size_t n)
{
	struct page *ends[2] = {&segment->pages[first], &segment->pages[first + n - 1]};

	for (unsigned i = 0; i < 2; i++) {
		ends[i]->kind = PAGE_FREE;
		ends[i]->first = (uint16_t)first;
		ends[i]->n = (uint16_t)n;
	}
	bin_add(heap, ends[0]);
}

static void segment_add(struct heap *heap, struct segment *segment)
{
	segment->next = heap->segments;
	segment->prev = NULL;
	if (segment->next)
		segment->next->prev = segment;
	heap->segments = segment;
	segment->n_free = RUN_MAX_PAGES;
	free_run_describe(heap, segment, HEADER_PAGES, RUN_MAX_PAGES);
}

/* Maps more segments, twice as many as the last time: few, large system calls. */
static bool grow(struct heap *heap)
{
	unsigned n = heap->grow_segments;
	char *memory = heap_map(heap, n * SEGMENT_BYTES, SEGMENT_BYTES);

	if (!memory && n > 1) {
		n = 1;
		memory = heap_map(heap, SEGMENT_BYTES, SEGMENT_BYTES);
	}
	if (!memory)
		return false;
	for (unsigned i = n; i-- > 0;) {
		struct segment *segment = (struct segment *)(memory + i * SEGMENT_BYTES);

		if (!segment_enter(heap, segment)) {
			heap_unmap(heap, segment, SEGMENT_BYTES);
			n--;
			continue;
		}
		segment_add(heap, segment);
	}
	if (heap->grow_segments < GROW_MAX_SEGMENTS)
		heap->grow_segments *= 2;
	return n > 0;
}

static struct page *find_free(const struct heap *heap, size_t pages)
{
	unsigned i = bin_of(pages);
	uint64_t bigger;

	for (struct page *run = heap->free_runs[i]; run; run = run->next)
		if (run->n >= pages)
			return run;
	bigger = heap->free_run_bins & ~((2ull << i) - 1);
	return bigger ? heap->free_runs[__builtin_ctzl(bigger)] : NULL;
}

/* Marks [first, first + n) as one run in use; *zero: whether all of it reads as zero. */
static void claim(struct heap *heap, struct segment *segment, size_t first, size_t n,
		  enum page_kind kind, bool *zero)
{
	*zero = true;
	for (size_t i = first; i < first + n; i++) {
		struct page *page = &segment->pages[i];

		if (page->dirty) {
			*zero = false;
			heap->n_dirty--;
		}
		page->dirty = 1;
		page->kind = (uint8_t)kind;
		page->first = (uint16_t)first;
	}
	segment->pages[first].n = (uint16_t)n;
	segment->n_free -= (uint32_t)n;
}

struct page *run_alloc(struct heap *heap, size_t pages, enum page_kind kind, uint16_t detail,
		       bool *zero)
{
	struct segment *segment;
	struct page *run;
	size_t first, n;

	if (pages > RUN_MAX_PAGES)
		return NULL;
	os_lock(&heap->run_lock);
	run = find_free(heap, pages);
	if (!run && grow(heap))
		run = find_free(heap, pages);
	if (run) {
		segment = segment_of_page(run);
		first = run->first;
		n = run->n;
		bin_remove(heap, run);
		claim(heap, segment, first, pages, kind, zero);
		if (n > pages)
			free_run_describe(heap, segment, first + pages, n - pages);
		for (size_t i = 0; i < pages; i++)
			run[i].detail = detail;
		if (kind == PAGE_RUN)
			heap->run_blocks++;
	}
	os_unlock(&heap->run_lock);
	return run;
}

/* Gives [first, first + n) back and joins it with its neighbours. */
static void release(struct heap *heap, struct segment *segment, size_t first, size_t n)
{
	struct page *pages = segment->pages;

	segment->n_free += (uint32_t)n;
	heap->n_dirty += n;
	for (size_t i = first; i < first + n; i++)
		pages[i].kind = PAGE_FREE;
	if (first + n < SEGMENT_PAGES && pages[first + n].kind == PAGE_FREE) {
		bin_remove(heap, &pages[first + n]);
		n += pages[first + n].n;
	}
	if (pages[first - 1].kind == PAGE_FREE) { /* the header's pages never are */
		size_t before = pages[first - 1].first;

		bin_remove(heap, &pages[before]);
		n += first - before;
		first = before;
	}
	free_run_describe(heap, segment, first, n);
}

static void trim_if_much(struct heap *heap)
{
	size_t threshold = __atomic_load_n(&heap->trim_threshold, __ATOMIC_RELAXED);

	if (heap->n_dirty * PAGE_BYTES > threshold)
		runs_trim(heap, threshold / 2);
}

void run_free(struct heap *heap, struct page *run)
{
	struct segment *segment = segment_of_page(run);

	os_lock(&heap->run_lock);
	if (run->kind == PAGE_RUN)
		heap->run_blocks--;
	release(heap, segment, run->first, run->n);
	trim_if_much(heap);
	os_unlock(&heap->run_lock);
}

/* Shrinks or grows a run where it is; false where it cannot. */
bool run_resize(struct heap *heap, struct page *run, size_t pages)
{
	struct segment *segment = segment_of_page(run);
	size_t first = run->first, old = run->n, more = pages - old;
	struct page *after = &segment->pages[first + old];
	bool zero, done = true;

	os_lock(&heap->run_lock);
	if (pages < old) {
		run->n = (uint16_t)pages;
		release(heap, segment, first + pages, old - pages);
		trim_if_much(heap);
	} else if (pages > old) {
		done = first + old < SEGMENT_PAGES && after->kind == PAGE_FREE && after->n >= more;
		if (done) {
			size_t left = after->n - more;

			bin_remove(heap, after);
			claim(heap, segment, first + old, more, PAGE_RUN, &zero);
			if (left)
				free_run_describe(heap, segment, first + pages, left);
			for (size_t i = 0; i < more; i++)
				after[i].first = (uint16_t)first;
			run->n = (uint16_t)pages;
		}
	}
	os_unlock(&heap->run_lock);
	return done;
}

/* The dirty pages of a free run go back to the kernel; returns how many. */
static size_t purge_run(struct heap *heap, struct segment *segment, size_t first, size_t n)
{
	struct page *pages = segment->pages;
	size_t end = first + n, dirty = 0;

	while (first < end && !pages[first].dirty)
		first++;
	while (end > first && !pages[end - 1].dirty)
		end--;
	if (first == end ||
	    os_purge((char *)segment + first * PAGE_BYTES, (end - first) * PAGE_BYTES) != 0)
		return 0;
	for (size_t i = first; i < end; i++) {
		dirty += pages[i].dirty;
		pages[i].dirty = 0;
	}
	heap->n_dirty -= dirty;
	return dirty;
}

static size_t segment_delete(struct heap *heap, struct segment *segment)
{
	size_t dirty = 0;

	for (size_t i = HEADER_PAGES; i < SEGMENT_PAGES; i++)
		dirty += segment->pages[i].dirty;
	bin_remove(heap, &segment->pages[HEADER_PAGES]);
	if (segment->prev)
		segment->prev->next = segment->next;
	else
		heap->segments = segment->next;
	if (segment->next)
		segment->next->prev = segment->prev;
	segment_leave(heap, segment);
	heap_unmap(heap, segment, SEGMENT_BYTES);
	heap->n_dirty -= dirty;
	return dirty;
}

static size_t segment_trim(struct heap *heap, struct segment *segment)
{
	size_t given = 0;

	if (segment->n_free == RUN_MAX_PAGES)
		return segment_delete(heap, segment);
	for (size_t i = HEADER_PAGES; i < SEGMENT_PAGES && segment->n_free;) {
		const struct page *run = &segment->pages[i];
		size_t n = run->n;

		if (run->kind == PAGE_FREE)
			given += purge_run(heap, segment, i, n);
		i += n;
	}
	return given;
}

/* Gives free memory back until at most keep_bytes of it may be held; returns the bytes that
 * went. The caller holds run_lock. */
size_t runs_trim(struct heap *heap, size_t keep_bytes)
{
	struct segment *segment, *next;
	size_t pages = 0;

	for (segment = heap->segments; segment; segment = next) {
		next = segment->next;
		if (heap->n_dirty * PAGE_BYTES <= keep_bytes && keep_bytes)
			break;
		pages += segment_trim(heap, segment);
	}
	if (pages)
		heap->trims++;
	heap->trimmed_bytes += pages * PAGE_BYTES;
	return pages * PAGE_BYTES;
}

int gm_malloc_trim(size_t pad_bytes)
{
	struct heap *heap = &gm_heap;
	struct cache *cache = *os_thread_slot();
	uint64_t before = counter_get(&heap->mapped_bytes);
	size_t given;

	heap_init(heap);
	if (cache)
		cache_flush(heap, cache);
	for (unsigned class = 0; class < N_CLASSES; class ++)
		slab_release_empty(heap, class);
	os_lock(&heap->run_lock);
	given = runs_trim(heap, pad_bytes);
	os_unlock(&heap->run_lock);
	return given || counter_get(&heap->mapped_bytes) < before;
}
