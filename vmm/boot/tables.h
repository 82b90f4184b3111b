/* The first page tables of a guest, as abi.h describes them. */
#ifndef VMM_BOOT_TABLES_H
#define VMM_BOOT_TABLES_H

#include "vmm/boot/elf.h"
#include "vmm/boot/layout.h"

struct tables_config {
	const struct layout *layout;
	const struct elf_image *kernel;
	unsigned n_files;
	const struct gmm_boot_file *files;
	struct gmm_boot_range frames; /* the allocator's block; none: empty */
	unsigned n_cpus;
	uint64_t stacks_gpa; /* TABLES_STACK_BYTES a vCPU, one after the other */
	bool has_1g_pages;
	uint64_t tables_gpa; /* where the tables go: RAM up to limit_gpa may be used */
	uint64_t limit_gpa;
};

#define TABLES_STACK_BYTES (GMM_STACK_STRIDE - 4096)

struct tables {
	uint64_t root;	/* for CR3 */
	uint8_t *pages; /* n_pages * 4 KiB, to be laid at tables_gpa; malloc()ed */
	uint64_t n_pages;
};

/* Errors: -ENOSPC (they do not fit below limit_gpa), -ENOMEM, -EINVAL (segments that cannot
 * be mapped so: unaligned, two on one page, in the way of what the VMM maps). */
int tables_build(const struct tables_config *config, struct tables *out);
void tables_free(struct tables *tables);

#endif
