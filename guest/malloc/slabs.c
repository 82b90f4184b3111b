/* Slabs: runs of pages cut into blocks of one size. A block is found by its bit, so free
 * blocks are neither read nor written. A slab whose blocks are all free goes back to
 * the runs, one per class excepted, so that a program at the edge does not bounce.
 * Lock: the bin's. Calls runs.c. */
#include "heap.h"
#include "os.h"
#include "slab.h"

static struct slab *slab_of(const struct bin *bin, const struct page *page)
{
	const struct page *run = &segment_of_page(page)->pages[page->first];
	char *start = run_address(run);

	return (struct slab *)(start + bin->shape.pages * PAGE_BYTES - bin->shape.tail_bytes);
}

static uint32_t block_index(const struct slab_shape *shape, uint64_t offset)
{
	return (uint32_t)((offset * shape->inverse) >> 40);
}

static void list_add(struct bin *bin, struct slab *slab)
{
	slab->prev = NULL;
	slab->next = bin->partial;
	if (slab->next)
		slab->next->prev = slab;
	bin->partial = slab;
}

static void list_remove(struct bin *bin, struct slab *slab)
{
	if (slab->prev)
		slab->prev->next = slab->next;
	else
		bin->partial = slab->next;
	if (slab->next)
		slab->next->prev = slab->prev;
}

static struct slab *slab_new(struct heap *heap, unsigned class)
{
	struct bin *bin = &heap->bins[class];
	const struct slab_shape *shape = &bin->shape;
	uint32_t n_words = (shape->n_blocks + 63) / 64;
	struct page *run;
	struct slab *slab;
	bool zero;

	run = run_alloc(heap, shape->pages, PAGE_SLAB, (uint16_t) class, &zero);
	if (!run)
		return NULL;
	slab = slab_of(bin, run);
	slab->blocks = run_address(run);
	slab->marks = (uint16_t *)(slab->free + n_words);
	slab->n_free = shape->n_blocks;
	slab->first_word = 0;
	for (uint32_t i = 0; i < n_words; i++)
		slab->free[i] = UINT64_MAX;
	if (shape->n_blocks % 64)
		slab->free[n_words - 1] = (1ull << shape->n_blocks % 64) - 1;
	for (uint32_t i = 0; i < shape->n_blocks && !zero; i++)
		slab->marks[i] = 0;
	list_add(bin, slab);
	bin->n_slabs++;
	bin->n_empty++;
	return slab;
}

static void slab_delete(struct heap *heap, struct bin *bin, struct slab *slab)
{
	list_remove(bin, slab);
	bin->n_slabs--;
	bin->n_empty--;
	run_free(heap,
		 &segment_of(heap, slab)
			  ->pages[((uintptr_t)slab->blocks & (SEGMENT_BYTES - 1)) / PAGE_BYTES]);
}

static void *slab_take(struct bin *bin, struct slab *slab)
{
	uint32_t word = slab->first_word, index;

	while (!slab->free[word])
		word++;
	slab->first_word = word;
	index = word * 64 + (uint32_t)__builtin_ctzl(slab->free[word]);
	slab->free[word] &= slab->free[word] - 1;
	if (slab->n_free == bin->shape.n_blocks)
		bin->n_empty--;
	if (--slab->n_free == 0)
		list_remove(bin, slab);
	return slab->blocks + (size_t)index * bin->shape.block_bytes;
}

/* Takes up to n blocks; returns how many: 0 only where memory is short. */
unsigned slab_get(struct heap *heap, unsigned class, void **blocks, unsigned n)
{
	struct bin *bin = &heap->bins[class];
	unsigned taken = 0;

	os_lock(&bin->lock);
	while (taken < n && (bin->partial || (taken == 0 && slab_new(heap, class))))
		blocks[taken++] = slab_take(bin, bin->partial);
	os_unlock(&bin->lock);
	return taken;
}

static void slab_give(struct heap *heap, struct bin *bin, void *p)
{
	struct segment *segment = segment_of(heap, p);
	struct page *page = &segment->pages[((uintptr_t)p & (SEGMENT_BYTES - 1)) / PAGE_BYTES];
	struct slab *slab = slab_of(bin, page);
	uint32_t index = block_index(&bin->shape, (uint64_t)((char *)p - slab->blocks));

	slab->free[index / 64] |= 1ull << index % 64;
	if (index / 64 < slab->first_word)
		slab->first_word = index / 64;
	if (slab->n_free++ == 0)
		list_add(bin, slab);
	if (slab->n_free < bin->shape.n_blocks)
		return;
	if (bin->n_empty++ > 0)
		slab_delete(heap, bin, slab);
}

void slab_put(struct heap *heap, unsigned class, void *const *blocks, unsigned n)
{
	struct bin *bin = &heap->bins[class];

	os_lock(&bin->lock);
	for (unsigned i = 0; i < n; i++)
		slab_give(heap, bin, blocks[i]);
	os_unlock(&bin->lock);
}

void slab_release_empty(struct heap *heap, unsigned class)
{
	struct bin *bin = &heap->bins[class];
	struct slab *slab, *next;

	os_lock(&bin->lock);
	for (slab = bin->n_empty ? bin->partial : NULL; slab; slab = next) {
		next = slab->next;
		if (slab->n_free == bin->shape.n_blocks)
			slab_delete(heap, bin, slab);
	}
	os_unlock(&bin->lock);
}

/* The mark of the block at p, which lies in a slab's page; ends the program where p is not
 * the start of a block. */
uint16_t *slab_mark(const struct heap *heap, const struct page *page, const void *p,
		    unsigned *class)
{
	const struct bin *bin;
	struct slab *slab;
	uint64_t offset;
	uint32_t index;

	*class = page->detail;
	bin = &heap->bins[*class];
	slab = slab_of(bin, page);
	offset = (uint64_t)((const char *)p - slab->blocks);
	index = block_index(&bin->shape, offset);
	if (index >= bin->shape.n_blocks || index * (uint64_t)bin->shape.block_bytes != offset)
		heap_die(p, SIZE_UNKNOWN, "is not the start of a block: pass what malloc returned");
	return &slab->marks[index];
}
