/* Queues of pages: rings with lazy deletion. See queue.h. */
#include "queue.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "reserve.h"

#define MIN_CAPACITY 1024u

/* A full ring grows by this share where fewer entries than that are dead: so its capacity is at
 * most 17/16 * 16/15 of the pages that were in it, or 4.54 bytes a page. */
#define RING_SLACK 16u

/* While a ring is swept: the page's newest entry has been met. */
#define SEEN 3u

static uint64_t marks_bytes(const struct queue_set *set)
{
	return (set->n_pages + 1) / 2;
}

/* More entries than this are never needed: a full ring without dead entries
 * holds every page once, and a sweep leaves nothing else. */
static uint64_t max_capacity(const struct queue_set *set)
{
	return set->n_pages + MIN_CAPACITY;
}

int queue_init(struct queue_set *set, uint64_t n_pages)
{
	*set = (struct queue_set){.n_pages = n_pages};
	if (!n_pages || n_pages > UINT64_C(1) << 32)
		return -EINVAL;
	/* Bits of an entry that page numbers leave free tell old entries from new ones. */
	set->tag_shift = 30;
	while (set->tag_shift < 32 && n_pages > UINT64_C(1) << set->tag_shift)
		set->tag_shift++;
	set->tag_mask = (1u << (32 - set->tag_shift)) - 1;
	set->marks = reserve_map(marks_bytes(set));
	if (!set->marks)
		return -ENOMEM;
	for (unsigned i = 0; i < QUEUE_N; i++) {
		set->rings[i].capacity = MIN_CAPACITY;
		set->rings[i].entries = reserve_map(max_capacity(set) * sizeof(uint32_t));
		if (!set->rings[i].entries) {
			queue_fini(set);
			return -ENOMEM;
		}
	}
	return 0;
}

void queue_fini(struct queue_set *set)
{
	reserve_unmap(set->marks, marks_bytes(set));
	for (unsigned i = 0; i < QUEUE_N; i++)
		reserve_unmap(set->rings[i].entries, max_capacity(set) * sizeof(uint32_t));
	*set = (struct queue_set){0};
}

static unsigned mark_get(const struct queue_set *set, uint64_t page)
{
	return (unsigned)set->marks[page / 2] >> (page % 2 * 4) & 15u;
}

static void mark_set(struct queue_set *set, uint64_t page, unsigned mark)
{
	unsigned shift = (unsigned)(page % 2 * 4);

	set->marks[page / 2] = (uint8_t)((set->marks[page / 2] & ~(15u << shift)) | mark << shift);
}

unsigned queue_of(const struct queue_set *set, uint64_t page)
{
	return mark_get(set, page) & 3u;
}

static uint32_t entry_make(const struct queue_set *set, uint64_t page, unsigned tag)
{
	uint64_t entry = page;

	if (set->tag_mask)
		entry |= (uint64_t)(tag & set->tag_mask) << set->tag_shift;
	return (uint32_t)entry;
}

static uint64_t entry_page(const struct queue_set *set, uint32_t entry)
{
	return set->tag_mask ? entry & ((1u << set->tag_shift) - 1) : entry;
}

static bool entry_is_live(const struct queue_set *set, unsigned q, uint32_t entry)
{
	uint64_t page = entry_page(set, entry);
	unsigned mark = mark_get(set, page);

	return (mark & 3u) == q && entry_make(set, page, mark >> 2) == entry;
}

static uint64_t ring_index(const struct queue_ring *r, uint64_t i)
{
	i += r->head;
	return i < r->capacity ? i : i - r->capacity;
}

static void mark_set_queue(struct queue_set *set, uint64_t page, unsigned q)
{
	mark_set(set, page, (mark_get(set, page) & ~3u) | q);
}

/* Drops dead entries from a ring, in order: what is left is one entry a page. From the
 * newest to the oldest, for of two entries that both look alive the newer one is. */
static void ring_sweep(struct queue_set *set, unsigned q)
{
	struct queue_ring *r = &set->rings[q - 1];
	uint64_t to = r->n;

	for (uint64_t i = r->n; i--;) {
		uint32_t entry = r->entries[ring_index(r, i)];

		if (!entry_is_live(set, q, entry))
			continue;
		r->entries[ring_index(r, --to)] = entry;
		mark_set_queue(set, entry_page(set, entry), SEEN);
	}
	r->head = ring_index(r, to);
	r->n -= to;
	for (uint64_t i = 0; i < r->n; i++)
		mark_set_queue(set, entry_page(set, r->entries[ring_index(r, i)]), q);
}

/* Makes a full ring larger: what stands before its end moves to the new end. */
static void ring_grow(const struct queue_set *set, struct queue_ring *r)
{
	uint64_t capacity = r->capacity + r->capacity / RING_SLACK;
	uint64_t n_tail = r->capacity - r->head;

	if (capacity > max_capacity(set))
		capacity = max_capacity(set);
	memmove(&r->entries[capacity - n_tail], &r->entries[r->head], n_tail * sizeof(uint32_t));
	r->head = capacity - n_tail;
	r->capacity = capacity;
}

static void ring_make_room(struct queue_set *set, unsigned q)
{
	struct queue_ring *r = &set->rings[q - 1];

	if (r->n < r->capacity)
		return;
	/* A sweep looks at every entry: worth it where it frees some. */
	if (r->n - r->n_pages >= r->capacity / RING_SLACK || r->capacity == max_capacity(set))
		ring_sweep(set, q);
	else
		ring_grow(set, r);
}

void queue_drop(struct queue_set *set, uint64_t page)
{
	unsigned mark = mark_get(set, page);
	unsigned q = mark & 3u;

	if (q == QUEUE_NONE)
		return;
	set->rings[q - 1].n_pages--;
	mark_set(set, page, mark & ~3u);
}

/* The sum of sixteen digits of four bits, which are 0 or 1. (Without an instruction for it
 * __builtin_popcountll() is a call.) */
static unsigned sum_of_16(uint64_t digits)
{
	const uint64_t bytes = digits + (digits >> 4);

	return (unsigned)((bytes & UINT64_C(0x0f0f0f0f0f0f0f0f)) * UINT64_C(0x0101010101010101) >>
			  56);
}

/* Sixteen pages' marks at once. */
static void drop_16(struct queue_set *set, uint64_t page)
{
	const uint64_t low = UINT64_C(0x1111111111111111);
	uint64_t marks, first, second;

	memcpy(&marks, &set->marks[page / 2], sizeof(marks));
	first = marks & low;
	second = marks >> 1 & low;
	if (!(first | second))
		return;
	set->rings[0].n_pages -= sum_of_16(first);
	set->rings[1].n_pages -= sum_of_16(second);
	marks &= ~(low | low << 1);
	memcpy(&set->marks[page / 2], &marks, sizeof(marks));
}

void queue_drop_run(struct queue_set *set, uint64_t first, uint64_t n)
{
	_Static_assert(QUEUE_N == 2, "one bit of a mark a queue");
	uint64_t page = first, end = first + n;

	for (; page < end && page % 16; page++)
		queue_drop(set, page);
	for (; end - page >= 16; page += 16)
		drop_16(set, page);
	for (; page < end; page++)
		queue_drop(set, page);
}

void queue_push(struct queue_set *set, unsigned q, uint64_t page)
{
	struct queue_ring *r = &set->rings[q - 1];
	unsigned tag;

	queue_drop(set, page);
	ring_make_room(set, q);
	tag = ((mark_get(set, page) >> 2) + 1) & 3u;
	mark_set(set, page, q | tag << 2);
	r->entries[ring_index(r, r->n)] = entry_make(set, page, tag);
	r->n++;
	r->n_pages++;
}

bool queue_pop(struct queue_set *set, unsigned q, uint64_t *page)
{
	struct queue_ring *r = &set->rings[q - 1];

	while (r->n_pages) {
		uint32_t entry = r->entries[r->head];

		r->head = ring_index(r, 1);
		r->n--;
		if (entry_is_live(set, q, entry)) {
			*page = entry_page(set, entry);
			queue_drop(set, *page);
			return true;
		}
	}
	r->n = 0; /* all that is left is dead */
	return false;
}

bool queue_pop_at(struct queue_set *set, unsigned q, uint64_t random, uint64_t *page)
{
	struct queue_ring *r = &set->rings[q - 1];

	while (r->n_pages) {
		uint32_t *at = &r->entries[ring_index(r, random % r->n)];
		uint32_t entry = *at;

		*at = r->entries[ring_index(r, --r->n)];
		if (entry_is_live(set, q, entry)) {
			*page = entry_page(set, entry);
			queue_drop(set, *page);
			return true;
		}
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
	}
	r->n = 0;
	return false;
}

uint64_t queue_pages(const struct queue_set *set, unsigned q)
{
	return set->rings[q - 1].n_pages;
}

/* Moves the entries to the beginning, dead ones left out, and gives back the rest. */
static void ring_trim(struct queue_set *set, unsigned q)
{
	struct queue_ring *r = &set->rings[q - 1];
	uint64_t capacity = r->n_pages + r->n_pages / 4 + MIN_CAPACITY;
	uint64_t bytes = (capacity * sizeof(uint32_t) + 4095) / 4096 * 4096;
	uint64_t end = r->capacity * sizeof(uint32_t);
	uint64_t n_tail;

	if (capacity >= r->capacity / 2)
		return;
	ring_sweep(set, q);
	n_tail = r->capacity - r->head;
	/* A swept ring is less than half full here: its wrapped part steps aside into the
	 * unused middle, and then both parts fit at the beginning. */
	if (r->n <= n_tail) {
		memmove(r->entries, &r->entries[r->head], r->n * sizeof(uint32_t));
	} else {
		memmove(&r->entries[n_tail], r->entries, (r->n - n_tail) * sizeof(uint32_t));
		memmove(r->entries, &r->entries[r->head], n_tail * sizeof(uint32_t));
	}
	r->head = 0;
	r->capacity = capacity;
	if (end > bytes)
		madvise((char *)r->entries + bytes, end - bytes, MADV_DONTNEED);
}

void queue_trim(struct queue_set *set)
{
	for (unsigned q = 1; q <= QUEUE_N; q++)
		ring_trim(set, q);
}

uint64_t queue_ring_bytes(const struct queue_set *set)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < QUEUE_N; i++)
		bytes += set->rings[i].capacity * sizeof(uint32_t);
	return bytes;
}

uint64_t queue_metadata_bytes(const struct queue_set *set)
{
	return marks_bytes(set) + queue_ring_bytes(set);
}
