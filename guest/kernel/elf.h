/* What a static ELF program asks to be mapped. Every field is checked: an image is
 * input. Compiled for the host too, to be tested there. */
#ifndef GUEST_KERNEL_ELF_H
#define GUEST_KERNEL_ELF_H

#include <guestmm/abi.h>
#include <stdint.h>

#define ELF_MAX_SEGMENTS 32

struct elf_segment {
	uint64_t vaddr;	     /* with the base added */
	uint64_t offset;     /* in the image; congruent to vaddr modulo 4 KiB */
	uint64_t file_bytes; /* <= memory_bytes */
	uint64_t memory_bytes;
	uint32_t prot; /* VMA_* */
};

struct elf_program {
	uint64_t entry;
	uint64_t phdr; /* address of the program headers in memory, or 0 */
	uint16_t n_phdr;
	uint64_t end; /* first address past all segments */
	unsigned n_segments;
	struct elf_segment segments[ELF_MAX_SEGMENTS];
};

/* 0, or -ENOEXEC with a reason for people in *why. */
int elf_parse(const void *image, uint64_t bytes, struct elf_program *p, const char **why);

#endif
