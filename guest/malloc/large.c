/* Large blocks: mappings of their own, found by address in a hash table that lies apart, so
 * that a wild pointer is looked up and never followed.
 * Lock: large_lock. Slots: open addressing, linear probing, no tombstones. */
#include "heap.h"
#include "os.h"

#define FIRST_SLOTS 256u

static size_t slot_hash(const struct large_table *table, uintptr_t block)
{
	return (size_t)((block >> 12) * 0x9e3779b97f4a7c15u >> 20) & (table->n_slots - 1);
}

static struct large *slot_find(const struct large_table *table, uintptr_t block)
{
	if (!table->n_slots || !block)
		return NULL;
	for (size_t i = slot_hash(table, block);; i = (i + 1) & (table->n_slots - 1)) {
		if (table->slots[i].block == block)
			return &table->slots[i];
		if (!table->slots[i].block)
			return NULL;
	}
}

static void slot_fill(struct large_table *table, const struct large *large)
{
	size_t i = slot_hash(table, large->block);

	while (table->slots[i].block)
		i = (i + 1) & (table->n_slots - 1);
	table->slots[i] = *large;
}

/* Closes the gap: whatever could not sit nearer to its place moves up. */
static void slot_clear(struct large_table *table, struct large *slot)
{
	size_t mask = table->n_slots - 1, gap = (size_t)(slot - table->slots);

	for (size_t i = (gap + 1) & mask; table->slots[i].block; i = (i + 1) & mask) {
		size_t home = slot_hash(table, table->slots[i].block);

		if (((i - home) & mask) >= ((i - gap) & mask)) {
			table->slots[gap] = table->slots[i];
			gap = i;
		}
	}
	table->slots[gap].block = 0;
}

static bool table_reserve(struct heap *heap)
{
	struct large_table *table = &heap->large, grown = *table;

	if (table->n_used * 2 < table->n_slots)
		return true;
	grown.n_slots = table->n_slots ? table->n_slots * 2 : FIRST_SLOTS;
	grown.slots = heap_map(heap, pages_of(grown.n_slots * sizeof(*grown.slots)) * PAGE_BYTES,
			       PAGE_BYTES);
	if (!grown.slots)
		return false;
	for (size_t i = 0; i < table->n_slots; i++)
		if (table->slots[i].block)
			slot_fill(&grown, &table->slots[i]);
	if (table->slots)
		heap_unmap(heap, table->slots,
			   pages_of(table->n_slots * sizeof(*table->slots)) * PAGE_BYTES);
	table->slots = grown.slots;
	table->n_slots = grown.n_slots;
	return true;
}

static size_t large_slack(const struct large *large)
{
	return large->map + large->map_bytes - large->block - large->n;
}

void *large_alloc(struct heap *heap, size_t align, size_t n)
{
	struct large large = {.n = n, .map_bytes = pages_of(n + 1) * PAGE_BYTES};
	bool ok;

	if (n > PTRDIFF_MAX / 2 || align > PTRDIFF_MAX / 2)
		return NULL;
	heap_init(heap);
	large.map =
		(uintptr_t)heap_map(heap, large.map_bytes, align > PAGE_BYTES ? align : PAGE_BYTES);
	if (!large.map)
		return NULL;
	large.block = large.map;
	guard_set(heap, (void *)large.block, n, large_slack(&large));
	os_lock(&heap->large_lock);
	ok = table_reserve(heap);
	if (ok) {
		slot_fill(&heap->large, &large);
		heap->large.n_used++;
		heap->large.bytes += n;
	}
	os_unlock(&heap->large_lock);
	if (!ok) {
		heap_unmap(heap, (void *)large.map, large.map_bytes);
		return NULL;
	}
	return (void *)large.block;
}

bool large_find(struct heap *heap, const void *p, struct large *found)
{
	struct large *slot;

	os_lock(&heap->large_lock);
	slot = slot_find(&heap->large, (uintptr_t)p);
	if (slot)
		*found = *slot;
	os_unlock(&heap->large_lock);
	return slot != NULL;
}

static _Noreturn void die_unknown(const struct heap *heap, const void *p)
{
	for (size_t i = 0; i < RECENT_FREES; i++)
		if (heap->large.recent[i] == (uintptr_t)p)
			heap_die(p, SIZE_UNKNOWN, "was freed twice: it is free already");
	heap_die(p, SIZE_UNKNOWN, "did not come from malloc, or was freed before");
}

/* Takes the block out of the table; ends the program where it is not in there. */
static struct large large_remove(struct heap *heap, const void *p)
{
	struct large_table *table = &heap->large;
	struct large *slot, large;

	os_lock(&heap->large_lock);
	slot = slot_find(table, (uintptr_t)p);
	if (!slot)
		die_unknown(heap, p);
	large = *slot;
	slot_clear(table, slot);
	table->n_used--;
	table->bytes -= large.n;
	table->recent[table->n_recent++ % RECENT_FREES] = large.block;
	os_unlock(&heap->large_lock);
	guard_check(heap, p, large.n, large_slack(&large));
	return large;
}

void large_free(struct heap *heap, void *p)
{
	struct large large = large_remove(heap, p);

	heap_unmap(heap, (void *)large.map, large.map_bytes);
}

/* In place, or moved by the kernel without a copy; NULL where that cannot be: p is then as
 * it was. */
void *large_resize(struct heap *heap, void *p, size_t n)
{
	struct large large = large_remove(heap, p);
	size_t bytes = pages_of(n + 1) * PAGE_BYTES;
	void *moved = p;

	if (bytes != large.map_bytes)
		moved = os_remap((void *)large.map, large.map_bytes, bytes);
	if (moved) {
		heap_mapped(heap, (int64_t)bytes - (int64_t)large.map_bytes);
		large.map = large.block = (uintptr_t)moved;
		large.map_bytes = bytes;
		large.n = n;
		guard_set(heap, moved, n, large_slack(&large));
	}
	os_lock(&heap->large_lock);
	slot_fill(&heap->large, &large); /* there is room: it was in there a moment ago */
	heap->large.n_used++;
	heap->large.bytes += large.n;
	os_unlock(&heap->large_lock);
	return moved;
}
