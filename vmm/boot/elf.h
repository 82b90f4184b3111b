/* ELF files: what a loader needs to know of them, checked. */
#ifndef VMM_BOOT_ELF_H
#define VMM_BOOT_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_MAX_SEGMENTS 16
#define ELF_ERROR_BYTES	 160

struct elf_segment {
	uint64_t vaddr, paddr;
	uint64_t offset, file_bytes; /* inside the file, checked */
	uint64_t memory_bytes;	     /* at least file_bytes; no wrap-around at vaddr or paddr */
	bool write, exec;
};

struct elf_image {
	uint64_t entry;
	bool position_independent;
	bool has_pvh_entry;
	uint32_t pvh_entry;    /* guest-physical, 32-bit entry of the PVH note */
	uint32_t kernel_flags; /* GMM_KERNEL_* of guestmm's own note; 0 without one */
	unsigned n_segments;
	struct elf_segment segments[ELF_MAX_SEGMENTS]; /* of PT_LOAD, none empty */
};

/* Does the file begin like an ELF file? */
bool elf_is(const void *file, size_t bytes);

/* Reads the headers of a 64-bit x86 ELF executable. No field is trusted. Returns 0, or
 * -ENOEXEC with what is wrong in error (ELF_ERROR_BYTES). Segments do not overlap in
 * virtual memory; where kernel is set, nor do they in physical memory. */
int elf_parse(const void *file, size_t bytes, bool kernel, struct elf_image *out, char *error);

#endif
