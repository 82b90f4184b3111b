/* Reads the headers of a static x86-64 ELF image. Nothing in it is believed: sums are
 * checked against overflow, ranges against the image and the programs' half of the address
 * space, segments against each other.
 */
#include "elf.h"

#include "vma.h"

#include <elf.h>
#include <errno.h>
#include <stddef.h>

#define PAGE UINT64_C(4096)

static const char *header_fault(const Elf64_Ehdr *h, uint64_t bytes)
{
	if (bytes < sizeof(*h))
		return "shorter than an ELF header";
	if (h->e_ident[0] != 0x7f || h->e_ident[1] != 'E' || h->e_ident[2] != 'L' ||
	    h->e_ident[3] != 'F')
		return "not an ELF file";
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB ||
	    h->e_machine != EM_X86_64)
		return "not for x86-64";
	if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
		return "not a program";
	if (h->e_phentsize != sizeof(Elf64_Phdr) || !h->e_phnum)
		return "no program headers";
	if (h->e_phoff > bytes || h->e_phoff % 8 ||
	    (uint64_t)h->e_phnum * sizeof(Elf64_Phdr) > bytes - h->e_phoff)
		return "program headers lie outside the file";
	return NULL;
}

static const char *segment_fault(const Elf64_Phdr *ph, uint64_t base, uint64_t bytes)
{
	if (ph->p_filesz > ph->p_memsz)
		return "a segment is larger in the file than in memory";
	if (ph->p_offset > bytes || ph->p_filesz > bytes - ph->p_offset)
		return "a segment lies outside the file";
	if (ph->p_offset % PAGE != ph->p_vaddr % PAGE)
		return "a segment is not page-aligned in the file";
	if (ph->p_vaddr > GMM_PROGRAM_END || ph->p_vaddr + base < GMM_PROGRAM_START ||
	    ph->p_vaddr + base > GMM_PROGRAM_END ||
	    ph->p_memsz > GMM_PROGRAM_END - (ph->p_vaddr + base))
		return "a segment lies outside the programs' addresses";
	return NULL;
}

static const char *segment_add(struct elf_program *p, const Elf64_Phdr *ph, uint64_t base)
{
	uint64_t vaddr = ph->p_vaddr + base;
	struct elf_segment *s = &p->segments[p->n_segments];

	if (p->n_segments == ELF_MAX_SEGMENTS)
		return "too many segments";
	/* Whole pages: two segments do not share one. */
	if (p->n_segments && vaddr / PAGE * PAGE < (p->end + PAGE - 1) / PAGE * PAGE)
		return "segments overlap or are not in order";
	*s = (struct elf_segment){
		.vaddr = vaddr,
		.offset = ph->p_offset,
		.file_bytes = ph->p_filesz,
		.memory_bytes = ph->p_memsz,
		.prot = (ph->p_flags & PF_R ? VMA_READ : 0) | (ph->p_flags & PF_W ? VMA_WRITE : 0) |
			(ph->p_flags & PF_X ? VMA_EXEC : 0),
	};
	p->end = vaddr + ph->p_memsz;
	p->n_segments++;
	return NULL;
}

/* The program headers' address: inside the segment that has them from the file. */
static void find_phdr(struct elf_program *p, const Elf64_Ehdr *h)
{
	uint64_t bytes = (uint64_t)h->e_phnum * sizeof(Elf64_Phdr);

	for (unsigned i = 0; i < p->n_segments; i++) {
		const struct elf_segment *s = &p->segments[i];

		if (h->e_phoff >= s->offset && h->e_phoff - s->offset <= s->file_bytes &&
		    bytes <= s->file_bytes - (h->e_phoff - s->offset))
			p->phdr = s->vaddr + (h->e_phoff - s->offset);
	}
}

static const char *parse(const uint8_t *image, uint64_t bytes, struct elf_program *p)
{
	const Elf64_Ehdr *h = (const Elf64_Ehdr *)image;
	const char *why = header_fault(h, bytes);
	const Elf64_Phdr *ph;
	uint64_t base;

	if (why)
		return why;
	base = h->e_type == ET_DYN ? GMM_PROGRAM_BASE : 0;
	ph = (const Elf64_Phdr *)(image + h->e_phoff);
	*p = (struct elf_program){.entry = h->e_entry + base, .n_phdr = h->e_phnum};
	for (unsigned i = 0; i < h->e_phnum; i++) {
		if (ph[i].p_type == PT_INTERP)
			return "needs a dynamic linker: link it statically";
		if (ph[i].p_type != PT_LOAD || !ph[i].p_memsz)
			continue;
		why = segment_fault(&ph[i], base, bytes);
		if (!why)
			why = segment_add(p, &ph[i], base);
		if (why)
			return why;
	}
	for (unsigned i = 0; i < p->n_segments; i++) {
		const struct elf_segment *s = &p->segments[i];

		if ((s->prot & VMA_EXEC) && p->entry >= s->vaddr &&
		    p->entry - s->vaddr < s->memory_bytes) {
			find_phdr(p, h);
			return NULL;
		}
	}
	return "its entry is in no executable segment";
}

int elf_parse(const void *image, uint64_t bytes, struct elf_program *p, const char **why)
{
	*why = parse(image, bytes, p);
	return *why ? -ENOEXEC : 0;
}
