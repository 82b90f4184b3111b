/* ELF files: what a loader needs to know of them, checked.
 *
 * The file comes from outside: every offset and length is checked against the file's
 * length before use, every sum against wrap-around, and headers are copied out, for they
 * may lie at any alignment.
 */
#include "vmm/boot/elf.h"

#include <elf.h>
#include <errno.h>
#include <guestmm/abi.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define PAGE			 UINT64_C(4096)

struct reader {
	const uint8_t *file;
	size_t bytes;
	char *error;
};

__attribute__((format(printf, 2, 3))) static int wrong(const struct reader *r, const char *format,
						       ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(r->error, ELF_ERROR_BYTES, format, args);
	va_end(args);
	return -ENOEXEC;
}

static bool within(const struct reader *r, uint64_t offset, uint64_t bytes)
{
	return offset <= r->bytes && bytes <= r->bytes - offset;
}

bool elf_is(const void *file, size_t bytes)
{
	return bytes >= SELFMAG && memcmp(file, ELFMAG, SELFMAG) == 0;
}

static int check_header(const struct reader *r, const Elf64_Ehdr *h, bool kernel)
{
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB)
		return wrong(r, "it is not a 64-bit little-endian ELF file");
	if (h->e_machine != EM_X86_64)
		return wrong(r, "it is for another machine (ELF machine %u, x86-64 is %u)",
			     h->e_machine, EM_X86_64);
	if (h->e_ident[EI_VERSION] != EV_CURRENT || h->e_version != EV_CURRENT)
		return wrong(r, "its ELF version is unknown");
	if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
		return wrong(r, "it is not an executable (ELF type %u)", h->e_type);
	if (h->e_phnum == 0)
		return wrong(r, "it has no program headers");
	if (h->e_phentsize != sizeof(Elf64_Phdr))
		return wrong(r, "its program headers are %u bytes each, not %zu", h->e_phentsize,
			     sizeof(Elf64_Phdr));
	if (!kernel && h->e_phoff % 8)
		return wrong(r, "its program headers are not aligned to 8 bytes");
	if (!within(r, h->e_phoff, (uint64_t)h->e_phnum * sizeof(Elf64_Phdr)))
		return wrong(r, "it is truncated: its program headers lie past its end");
	return 0;
}

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

static int check_segment(const struct reader *r, unsigned i, const Elf64_Phdr *p)
{
	if (p->p_filesz > p->p_memsz)
		return wrong(r, "segment %u has more bytes in the file than in memory", i);
	if (!within(r, p->p_offset, p->p_filesz))
		return wrong(r, "it is truncated: segment %u ends at byte %" PRIu64 " of %zu", i,
			     p->p_offset > UINT64_MAX - p->p_filesz ? UINT64_MAX
								    : p->p_offset + p->p_filesz,
			     r->bytes);
	if (p->p_vaddr > UINT64_MAX - p->p_memsz || p->p_paddr > UINT64_MAX - p->p_memsz)
		return wrong(r, "segment %u wraps around the end of memory", i);
	return 0;
}

/* What the bundled kernel asks of programs beyond that: it maps them by pages of the file. */
static int check_program_segment(const struct reader *r, unsigned i, const Elf64_Phdr *p,
				 const struct elf_image *image)
{
	uint64_t base = image->position_independent ? GMM_PROGRAM_BASE : 0;
	uint64_t start = p->p_vaddr + base, last_end = 0;

	if (image->n_segments) {
		const struct elf_segment *last = &image->segments[image->n_segments - 1];

		last_end = (last->vaddr + last->memory_bytes + PAGE - 1) / PAGE * PAGE;
	}
	if (p->p_vaddr > GMM_PROGRAM_END || start < GMM_PROGRAM_START || start > GMM_PROGRAM_END ||
	    p->p_memsz > GMM_PROGRAM_END - start)
		return wrong(r, "segment %u at %#" PRIx64 " lies outside what a program may use", i,
			     (uint64_t)p->p_vaddr);
	if (p->p_offset % PAGE != p->p_vaddr % PAGE)
		return wrong(r,
			     "segment %u lies at %#" PRIx64 " of a page in memory, at %#" PRIx64
			     " in the file",
			     i, (uint64_t)p->p_vaddr % PAGE, (uint64_t)p->p_offset % PAGE);
	if (p->p_vaddr < last_end)
		return wrong(r, "segment %u begins before or in the last page of the one before",
			     i);
	return 0;
}

static int check_overlaps(const struct reader *r, const struct elf_image *image,
			  const struct elf_segment *s, bool kernel)
{
	for (unsigned i = 0; i < image->n_segments; i++) {
		const struct elf_segment *o = &image->segments[i];

		if (overlap(s->vaddr, s->memory_bytes, o->vaddr, o->memory_bytes) ||
		    (kernel && overlap(s->paddr, s->memory_bytes, o->paddr, o->memory_bytes)))
			return wrong(r, "its segments at %#" PRIx64 " and %#" PRIx64 " overlap",
				     o->vaddr, s->vaddr);
	}
	return 0;
}

static int add_segment(const struct reader *r, unsigned i, const Elf64_Phdr *p, bool kernel,
		       struct elf_image *image)
{
	struct elf_segment s = {
		.vaddr = p->p_vaddr,
		.paddr = p->p_paddr,
		.offset = p->p_offset,
		.file_bytes = p->p_filesz,
		.memory_bytes = p->p_memsz,
		.write = p->p_flags & PF_W,
		.exec = p->p_flags & PF_X,
	};
	int rc = check_segment(r, i, p);

	if (rc || p->p_memsz == 0)
		return rc;
	if (image->n_segments == ELF_MAX_SEGMENTS)
		return wrong(r, "it has more than %d segments", ELF_MAX_SEGMENTS);
	rc = check_overlaps(r, image, &s, kernel);
	if (!rc && !kernel)
		rc = check_program_segment(r, i, p, image);
	if (!rc)
		image->segments[image->n_segments++] = s;
	return rc;
}

static uint64_t note_padded(uint32_t bytes)
{
	return ((uint64_t)bytes + 3) & ~UINT64_C(3);
}

/* Is it this note, with four bytes of content or more? The whole of it lies inside the file. */
static bool note_is(const Elf64_Nhdr *n, const uint8_t *name, uint32_t type, const char *owner)
{
	const size_t bytes = strlen(owner) + 1;

	return n->n_type == type && n->n_namesz == bytes && n->n_descsz >= sizeof(uint32_t) &&
	       memcmp(name, owner, bytes) == 0;
}

/* Looks for the PVH entry and what guestmm's own kernels say of themselves in one PT_NOTE. What is
 * not understood is passed over. */
static void read_notes(const struct reader *r, const Elf64_Phdr *p, struct elf_image *image)
{
	uint64_t at = p->p_offset, end;

	if (!within(r, p->p_offset, p->p_filesz))
		return;
	end = p->p_offset + p->p_filesz;
	while (end - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		const uint8_t *name;
		uint64_t desc;

		memcpy(&n, r->file + at, sizeof(n));
		desc = at + sizeof(n) + note_padded(n.n_namesz);
		if (desc > end || n.n_descsz > end - desc)
			return;
		name = r->file + at + sizeof(n);
		if (note_is(&n, name, XEN_ELFNOTE_PHYS32_ENTRY, "Xen")) {
			memcpy(&image->pvh_entry, r->file + desc, sizeof(image->pvh_entry));
			image->has_pvh_entry = true;
		}
		if (note_is(&n, name, GMM_NOTE_KERNEL, GMM_NOTE_NAME))
			memcpy(&image->kernel_flags, r->file + desc, sizeof(image->kernel_flags));
		at = desc + note_padded(n.n_descsz);
		if (at > end)
			return;
	}
}

static int read_program_headers(const struct reader *r, const Elf64_Ehdr *h, bool kernel,
				struct elf_image *image)
{
	for (unsigned i = 0; i < h->e_phnum; i++) {
		Elf64_Phdr p;
		int rc = 0;

		memcpy(&p, r->file + h->e_phoff + i * sizeof(p), sizeof(p));
		if (p.p_type == PT_LOAD)
			rc = add_segment(r, i, &p, kernel, image);
		else if (p.p_type == PT_INTERP)
			rc = wrong(r, "it is dynamically linked: link it with -static");
		else if (p.p_type == PT_NOTE)
			read_notes(r, &p, image);
		if (rc)
			return rc;
	}
	return 0;
}

/* Linux kernels are entered at physical addresses: only programs are looked at. */
static bool entry_is_executable(const struct elf_image *image)
{
	for (unsigned i = 0; i < image->n_segments; i++) {
		const struct elf_segment *s = &image->segments[i];

		if (s->exec && image->entry - s->vaddr < s->memory_bytes)
			return true;
	}
	return false;
}

int elf_parse(const void *file, size_t bytes, bool kernel, struct elf_image *out, char *error)
{
	const struct reader r = {.file = file, .bytes = bytes, .error = error};
	struct elf_image image = {0};
	Elf64_Ehdr h;
	int rc;

	if (!elf_is(file, bytes))
		return wrong(&r, "it is not an ELF file");
	if (bytes < sizeof(h))
		return wrong(&r, "it is truncated: %zu bytes are less than an ELF header", bytes);
	memcpy(&h, file, sizeof(h));
	rc = check_header(&r, &h, kernel);
	if (rc)
		return rc;
	image.entry = h.e_entry;
	image.position_independent = h.e_type == ET_DYN;
	rc = read_program_headers(&r, &h, kernel, &image);
	if (rc)
		return rc;
	if (image.n_segments == 0)
		return wrong(&r, "it has nothing to load");
	if (!kernel && !entry_is_executable(&image))
		return wrong(&r, "its entry %#" PRIx64 " is in no executable segment", image.entry);
	*out = image;
	return 0;
}
