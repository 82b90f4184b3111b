/* The first page tables of a guest, as abi.h describes them.
 *
 * They are built in a buffer of this process as they will lie at tables_gpa and written to the
 * guest in one go. Accessed and dirty bits are set from the start: the processor need not
 * write them, which costs dearly where page tables are shadowed.
 */
#include "vmm/boot/tables.h"

#include <errno.h>
#include <guestmm/pagetable.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES UINT64_C(4096)

struct builder {
	const struct tables_config *config;
	struct gmm_pt pt;
	uint8_t *pages;
	uint64_t n, capacity;
};

static int alloc_page(void *user, uint64_t *pa)
{
	struct builder *b = user;
	const uint64_t at = b->config->tables_gpa + b->n * PAGE_BYTES;

	if (at > b->config->limit_gpa || b->config->limit_gpa - at < PAGE_BYTES)
		return -ENOSPC;
	if (b->n == b->capacity) {
		uint64_t capacity = b->capacity ? b->capacity * 2 : 16;
		uint8_t *pages = realloc(b->pages, capacity * PAGE_BYTES);

		if (!pages)
			return -ENOMEM;
		b->pages = pages;
		b->capacity = capacity;
	}
	memset(b->pages + b->n++ * PAGE_BYTES, 0, PAGE_BYTES);
	*pa = at;
	return 0;
}

static uint8_t *entry_at(const struct builder *b, uint64_t pa)
{
	const uint64_t offset = pa - b->config->tables_gpa;

	return offset < b->n * PAGE_BYTES ? b->pages + offset : NULL;
}

static int read_entry(void *user, uint64_t pa, uint64_t *entry)
{
	const uint8_t *at = entry_at(user, pa);

	if (!at)
		return -EFAULT;
	memcpy(entry, at, sizeof(*entry));
	return 0;
}

static int write_entry(void *user, uint64_t pa, uint64_t entry)
{
	uint8_t *at = entry_at(user, pa);

	if (!at)
		return -EFAULT;
	memcpy(at, &entry, sizeof(entry));
	return 0;
}

static int map(struct builder *b, uint64_t va, uint64_t pa, uint64_t bytes, bool write, bool exec)
{
	const uint64_t flags =
		GMM_PT_A | (write ? GMM_PT_W | GMM_PT_D : 0) | (exec ? 0 : GMM_PT_NX);

	return gmm_pt_map(&b->pt, va, pa, bytes, flags);
}

static int map_direct(struct builder *b)
{
	const struct layout *l = b->config->layout;
	const struct gmm_boot_range *frames = &b->config->frames;
	int rc = 0;

	for (unsigned i = 0; i < l->n_ranges && !rc; i++)
		rc = map(b, GMM_DIRECT_MAP + l->ranges[i].start, l->ranges[i].start,
			 l->ranges[i].end - l->ranges[i].start, true, false);
	for (unsigned i = 0; i < b->config->n_files && !rc; i++) {
		const struct gmm_boot_file *f = &b->config->files[i];
		const uint64_t bytes = (f->bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);

		if (bytes)
			rc = map(b, GMM_DIRECT_MAP + f->gpa, f->gpa, bytes, false, false);
	}
	if (frames->end > frames->start && !rc)
		rc = map(b, GMM_DIRECT_MAP + frames->start, frames->start,
			 frames->end - frames->start, true, false);
	return rc;
}

/* W^X: a segment is writable or executable, never both, also through the direct map. */
static int map_segment(struct builder *b, const struct elf_segment *s)
{
	const uint64_t offset = s->vaddr % PAGE_BYTES;
	const uint64_t bytes = (offset + s->memory_bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	const uint64_t va = s->vaddr - offset, pa = s->paddr - offset;
	int rc;

	if (s->paddr % PAGE_BYTES != offset || (s->write && s->exec))
		return -EINVAL;
	b->pt.largest = 1;
	rc = map(b, va, pa, bytes, s->write, s->exec);
	b->pt.largest = 0;
	if (rc || s->write)
		return rc;
	return gmm_pt_protect(&b->pt, GMM_DIRECT_MAP + pa, bytes, GMM_PT_A | GMM_PT_NX);
}

static int map_stacks(struct builder *b)
{
	int rc = 0;

	for (unsigned i = 0; i < b->config->n_cpus && !rc; i++)
		rc = map(b, GMM_STACKS + i * GMM_STACK_STRIDE + PAGE_BYTES,
			 b->config->stacks_gpa + i * TABLES_STACK_BYTES, TABLES_STACK_BYTES, true,
			 false);
	return rc;
}

static int build(struct builder *b)
{
	int rc = alloc_page(b, &b->pt.root);

	if (!rc)
		rc = map_direct(b);
	for (unsigned i = 0; i < b->config->kernel->n_segments && !rc; i++)
		rc = map_segment(b, &b->config->kernel->segments[i]);
	if (!rc)
		rc = map_stacks(b);
	return rc;
}

int tables_build(const struct tables_config *config, struct tables *out)
{
	struct builder b = {.config = config};
	int rc;

	b.pt = (struct gmm_pt){
		.mode = GMM_PT_NXE | GMM_PT_WP | (config->has_1g_pages ? GMM_PT_PAGE_1G : 0),
		.read = read_entry,
		.write = write_entry,
		.alloc = alloc_page,
		.user = &b,
	};
	rc = build(&b);
	if (rc) {
		free(b.pages);
		if (rc == -GMM_PT_EEXIST)
			return -EINVAL;
		/* The builder says ENOMEM for both: out of room below the limit is the likely one.
		 */
		return rc == -GMM_PT_ENOMEM ? -ENOSPC : rc;
	}
	*out = (struct tables){.root = b.pt.root, .pages = b.pages, .n_pages = b.n};
	return 0;
}

void tables_free(struct tables *tables)
{
	free(tables->pages);
	tables->pages = NULL;
}
