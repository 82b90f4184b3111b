/* The guest kernel's reader of program images: what it takes, and that no byte of an image
 * makes it leave the image or the programs' addresses. */
#include "guest/kernel/elf.h"

#include "guest/kernel/vma.h"
#include "unit.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#define IMAGE_BYTES 0x3000u

struct image {
	Elf64_Ehdr h;
	Elf64_Phdr ph[3];
};

static union {
	struct image i;
	uint8_t bytes[IMAGE_BYTES];
} image __attribute__((aligned(4096)));

static void make(void)
{
	memset(&image, 0, sizeof(image));
	memcpy(image.i.h.e_ident, "\177ELF\2\1\1", 7);
	image.i.h.e_type = ET_EXEC;
	image.i.h.e_machine = EM_X86_64;
	image.i.h.e_phoff = sizeof(Elf64_Ehdr);
	image.i.h.e_phentsize = sizeof(Elf64_Phdr);
	image.i.h.e_phnum = 3;
	image.i.h.e_entry = 0x400800;
	image.i.ph[0] = (Elf64_Phdr){PT_LOAD, PF_R | PF_X, 0, 0x400000, 0, 0x1000, 0x1000, 4096};
	image.i.ph[1] = (Elf64_Phdr){PT_NOTE, PF_R, 0x77777777, 0, 0, 0x77777777, 0, 1};
	image.i.ph[2] =
		(Elf64_Phdr){PT_LOAD, PF_R | PF_W, 0x1010, 0x402010, 0, 0x100, 0x5000, 4096};
}

static int parse(struct elf_program *p)
{
	const char *why = NULL;
	int err = elf_parse(&image, IMAGE_BYTES, p, &why);

	ck_assert_int_eq(err != 0, why != NULL);
	return err;
}

START_TEST(takes_a_good_one)
{
	struct elf_program p;

	make();
	ck_assert_int_eq(parse(&p), 0);
	ck_assert_uint_eq(p.entry, 0x400800);
	ck_assert_uint_eq(p.n_segments, 2);
	ck_assert_uint_eq(p.phdr, 0x400000 + sizeof(Elf64_Ehdr));
	ck_assert_uint_eq(p.end, 0x402010 + 0x5000);
	ck_assert_uint_eq(p.segments[0].prot, VMA_READ | VMA_EXEC);
	ck_assert_uint_eq(p.segments[1].prot, VMA_READ | VMA_WRITE);
}
END_TEST

START_TEST(position_independent_ones_get_a_base)
{
	struct elf_program p;

	make();
	image.i.h.e_type = ET_DYN;
	image.i.h.e_entry = 0x800;
	image.i.ph[0].p_vaddr = 0;
	image.i.ph[2].p_vaddr = 0x2010;
	ck_assert_int_eq(parse(&p), 0);
	ck_assert_uint_eq(p.entry, GMM_PROGRAM_BASE + 0x800);
	ck_assert_uint_eq(p.segments[1].vaddr, GMM_PROGRAM_BASE + 0x2010);
}
END_TEST

#define REFUSES(change)                                                                            \
	do {                                                                                       \
		make();                                                                            \
		change;                                                                            \
		ck_assert_int_eq(parse(&p), -ENOEXEC);                                             \
	} while (0)

START_TEST(refuses_bad_ones)
{
	struct elf_program p;
	const char *why;

	make();
	for (uint64_t n = 0; n < sizeof(struct image); n++)
		ck_assert_int_eq(elf_parse(&image, n, &p, &why), -ENOEXEC);
	REFUSES(image.i.h.e_ident[0] = 0);
	REFUSES(image.i.h.e_ident[EI_CLASS] = ELFCLASS32);
	REFUSES(image.i.h.e_machine = EM_AARCH64);
	REFUSES(image.i.h.e_type = ET_CORE);
	REFUSES(image.i.h.e_phentsize = 1);
	REFUSES(image.i.h.e_phnum = 0);
	REFUSES(image.i.h.e_phoff = UINT64_MAX - 8);
	REFUSES(image.i.h.e_phoff = IMAGE_BYTES - 8);
	REFUSES(image.i.h.e_entry = 0x402010);
	REFUSES(image.i.h.e_entry = 0x401000);
	REFUSES(image.i.ph[1].p_type = PT_INTERP);
	REFUSES(image.i.ph[2].p_filesz = 0x5001);
	REFUSES(image.i.ph[2].p_offset = UINT64_MAX - 0xfef);
	REFUSES(image.i.ph[2].p_offset = IMAGE_BYTES);
	REFUSES(image.i.ph[2].p_offset = 0x1011);
	REFUSES(image.i.ph[2].p_vaddr = 0x400010);
	REFUSES(image.i.ph[2].p_vaddr = 0x10);
	REFUSES(image.i.ph[2].p_vaddr = 0xffffffff80200010);
	REFUSES(image.i.ph[2].p_vaddr = UINT64_MAX - 0xfef);
	REFUSES(image.i.ph[2].p_memsz = UINT64_MAX);
	REFUSES(image.i.ph[2].p_memsz = GMM_PROGRAM_END);
	REFUSES(image.i.ph[0].p_vaddr = 0x403000);
}
END_TEST

/* Whatever is taken lies inside the image and inside the programs' addresses, in order. */
START_TEST(random_headers)
{
	struct elf_program p;
	unsigned n_taken = 0;

	srand(3);
	for (int i = 0; i < 300000; i++) {
		uint64_t last = 0;

		make();
		for (int k = rand() % 4; k >= 0; k--) {
			unsigned at = (unsigned)rand() % sizeof(struct image);

			image.bytes[at] = (uint8_t)(rand() % 3 ? rand() : 1 << rand() % 8);
		}
		if (parse(&p))
			continue;
		n_taken++;
		for (unsigned s = 0; s < p.n_segments; s++) {
			const struct elf_segment *g = &p.segments[s];

			ck_assert(g->offset <= IMAGE_BYTES &&
				  g->file_bytes <= IMAGE_BYTES - g->offset);
			ck_assert(g->file_bytes <= g->memory_bytes);
			ck_assert(g->vaddr >= GMM_PROGRAM_START && g->vaddr / 4096 * 4096 >= last);
			ck_assert(g->memory_bytes <= GMM_PROGRAM_END - g->vaddr);
			last = (g->vaddr + g->memory_bytes + 4095) / 4096 * 4096;
		}
	}
	ck_assert_uint_gt(n_taken, 1000);
}
END_TEST

UNIT_MAIN("guest_elf", takes_a_good_one, position_independent_ones_get_a_base, refuses_bad_ones,
	  random_headers)
