/* The ELF reader: what it takes, and each way in which it refuses. */
#include <elf.h>
#include <errno.h>
#include <guestmm/abi.h>
#include <string.h>

#include "unit.h"
#include "vmm/boot/elf.h"

struct file {
	Elf64_Ehdr h;
	Elf64_Phdr p[3];
	uint8_t data[256];
};

static struct file good(void)
{
	struct file f = {
		.h =
			{
				.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
					    ELFDATA2LSB, EV_CURRENT},
				.e_type = ET_EXEC,
				.e_machine = EM_X86_64,
				.e_version = EV_CURRENT,
				.e_entry = 0x400010,
				.e_phoff = offsetof(struct file, p),
				.e_phentsize = sizeof(Elf64_Phdr),
				.e_phnum = 2,
			},
		.p =
			{
				{.p_type = PT_LOAD,
				 .p_flags = PF_R | PF_X,
				 .p_offset = 0,
				 .p_vaddr = 0x400000,
				 .p_paddr = 0x100000,
				 .p_filesz = 64,
				 .p_memsz = 64},
				{.p_type = PT_LOAD,
				 .p_flags = PF_R | PF_W,
				 .p_offset = offsetof(struct file, data),
				 .p_vaddr = 0x401000 + offsetof(struct file, data),
				 .p_paddr = 0x101000,
				 .p_filesz = 100,
				 .p_memsz = 5000},
			},
	};

	return f;
}

static struct elf_image image;
static char error[ELF_ERROR_BYTES];

static int parse(const struct file *f, bool kernel)
{
	return elf_parse(f, sizeof(*f), kernel, &image, error);
}

static void refuses(const struct file *f, const char *why)
{
	error[0] = '\0';
	ck_assert_int_eq(parse(f, true), -ENOEXEC);
	ck_assert_msg(strstr(error, why), "'%s' lacks '%s'", error, why);
}

START_TEST(takes_a_good_file)
{
	struct file f = good();

	ck_assert_int_eq(parse(&f, true), 0);
	ck_assert_uint_eq(image.entry, 0x400010);
	ck_assert_uint_eq(image.n_segments, 2);
	ck_assert(image.segments[0].exec && !image.segments[0].write);
	ck_assert(!image.segments[1].exec && image.segments[1].write);
	ck_assert_uint_eq(image.segments[1].file_bytes, 100);
	ck_assert_uint_eq(image.segments[1].memory_bytes, 5000);
	ck_assert(!image.has_pvh_entry && !image.position_independent);
}
END_TEST

START_TEST(refuses_every_truncation)
{
	struct file f = good();
	const size_t whole = offsetof(struct file, data) + 100;

	for (size_t n = 0; n < whole; n++)
		ck_assert_int_eq(elf_parse(&f, n, true, &image, error), -ENOEXEC);
	ck_assert_int_eq(elf_parse(&f, whole, true, &image, error), 0);
}
END_TEST

START_TEST(refuses_foreign_headers)
{
	struct file f = good();

	f.h.e_ident[EI_CLASS] = ELFCLASS32;
	refuses(&f, "64-bit");
	f = good();
	f.h.e_ident[EI_DATA] = ELFDATA2MSB;
	refuses(&f, "little-endian");
	f = good();
	f.h.e_machine = EM_AARCH64;
	refuses(&f, "another machine");
	f = good();
	f.h.e_type = ET_REL;
	refuses(&f, "not an executable");
	f = good();
	f.h.e_version = 2;
	refuses(&f, "version");
	f = good();
	f.h.e_phentsize = 55;
	refuses(&f, "program headers");
	f = good();
	f.h.e_phnum = 0;
	refuses(&f, "no program headers");
	f = good();
	f.h.e_phoff = UINT64_MAX - 8;
	refuses(&f, "truncated");
	f = good();
	f.h.e_phnum = UINT16_MAX;
	refuses(&f, "truncated");
}
END_TEST

START_TEST(refuses_wild_segments)
{
	struct file f = good();

	f.p[1].p_filesz = f.p[1].p_memsz + 1;
	refuses(&f, "more bytes in the file");
	f = good();
	f.p[1].p_offset = UINT64_MAX - 10;
	refuses(&f, "truncated");
	f = good();
	f.p[1].p_filesz = UINT64_MAX;
	f.p[1].p_memsz = UINT64_MAX;
	refuses(&f, "truncated");
	f = good();
	f.p[1].p_vaddr = UINT64_MAX - 100;
	refuses(&f, "wraps");
	f = good();
	f.p[1].p_paddr = UINT64_MAX - 100;
	refuses(&f, "wraps");
	f = good();
	f.p[1].p_memsz = UINT64_MAX;
	refuses(&f, "wraps");
	f = good();
	f.p[0].p_type = f.p[1].p_type = PT_NULL;
	refuses(&f, "nothing to load");
}
END_TEST

START_TEST(refuses_overlaps)
{
	struct file f = good();

	f.p[1].p_vaddr = 0x40003f;
	refuses(&f, "overlap");
	f = good();
	f.p[1].p_paddr = 0x100000 - 4999;
	refuses(&f, "overlap");
	ck_assert_int_eq(parse(&f, false), 0); /* a program's physical addresses mean nothing */
	f.p[1].p_paddr = 0x100000 - 5000;
	ck_assert_int_eq(parse(&f, true), 0);
}
END_TEST

START_TEST(refuses_programs_that_cannot_run)
{
	struct file f = good();

	f.p[1].p_vaddr = UINT64_C(0xffff800000000000);
	ck_assert_int_eq(parse(&f, true), 0);
	ck_assert_int_eq(parse(&f, false), -ENOEXEC);
	ck_assert_msg(strstr(error, "outside"), "%s", error);
	f = good();
	f.h.e_phnum = 3;
	f.p[2].p_type = PT_INTERP;
	ck_assert_int_eq(parse(&f, false), -ENOEXEC);
	ck_assert_msg(strstr(error, "dynamically"), "%s", error);
}
END_TEST

static void refuses_program(const struct file *f, const char *why)
{
	error[0] = '\0';
	ck_assert_int_eq(parse(f, true), 0);
	ck_assert_int_eq(parse(f, false), -ENOEXEC);
	ck_assert_msg(strstr(error, why), "'%s' lacks '%s'", error, why);
}

/* What the guest kernel would refuse, said before it starts. */
START_TEST(refuses_programs_that_cannot_be_mapped)
{
	struct file f = good();

	f.h.e_phoff += 4;
	ck_assert_int_eq(parse(&f, false), -ENOEXEC);
	ck_assert_msg(strstr(error, "aligned to 8"), "%s", error);
	f = good();
	f.p[1].p_vaddr++;
	refuses_program(&f, "segment 1 lies at");
	f = good();
	f.p[1].p_vaddr -= 0x1000;
	f.p[1].p_paddr = 0x200000;
	refuses_program(&f, "in the last page");
	f = good();
	f.p[0].p_vaddr += 0x4000;
	f.h.e_entry += 0x4000;
	refuses_program(&f, "begins before");
	f = good();
	f.p[0].p_vaddr = 0xf000;
	f.h.e_entry = 0xf010;
	refuses_program(&f, "outside");
	f = good();
	f.h.e_type = ET_DYN;
	f.p[1].p_vaddr += UINT64_C(0x7ffffffff000) - UINT64_C(0x555555554000) - 0x402000;
	refuses_program(&f, "outside");
	f.p[1].p_vaddr -= 0x2000;
	ck_assert_int_eq(parse(&f, false), 0);
}
END_TEST

START_TEST(refuses_an_entry_that_cannot_run)
{
	static const uint64_t entries[] = {0, 0x400040, 0x401000, 0xdeadbeef, UINT64_MAX};
	struct file f = good();

	ck_assert_int_eq(parse(&f, false), 0);
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		f.h.e_entry = entries[i];
		ck_assert_int_eq(parse(&f, false), -ENOEXEC);
		ck_assert_msg(strstr(error, "entry"), "%s", error);
	}
}
END_TEST

START_TEST(refuses_too_many_segments)
{
	struct {
		Elf64_Ehdr h;
		Elf64_Phdr p[ELF_MAX_SEGMENTS + 1];
	} f = {.h = good().h};

	f.h.e_phnum = ELF_MAX_SEGMENTS + 1;
	f.h.e_phoff = offsetof(__typeof__(f), p);
	for (unsigned i = 0; i <= ELF_MAX_SEGMENTS; i++)
		f.p[i] = (Elf64_Phdr){.p_type = PT_LOAD,
				      .p_memsz = 4096,
				      .p_vaddr = i * 4096ull,
				      .p_paddr = i * 4096ull};
	ck_assert_int_eq(elf_parse(&f, sizeof(f), true, &image, error), -ENOEXEC);
	ck_assert_msg(strstr(error, "more than"), "%s", error);
	f.h.e_phnum = ELF_MAX_SEGMENTS;
	ck_assert_int_eq(elf_parse(&f, sizeof(f), true, &image, error), 0);
}
END_TEST

static struct file with_note(uint32_t namesz, uint32_t descsz, uint32_t type, const char *name)
{
	const Elf64_Nhdr n = {.n_namesz = namesz, .n_descsz = descsz, .n_type = type};
	const uint32_t content = 0x1000200;
	const size_t bytes = strlen(name) + 1; /* of all of them here a multiple of four */
	struct file f = good();

	f.h.e_phnum = 3;
	f.p[2] = (Elf64_Phdr){.p_type = PT_NOTE,
			      .p_offset = offsetof(struct file, data) + 200,
			      .p_filesz = sizeof(n) + bytes + sizeof(content)};
	memcpy(f.data + 200, &n, sizeof(n));
	memcpy(f.data + 212, name, bytes);
	memcpy(f.data + 212 + bytes, &content, sizeof(content));
	return f;
}

START_TEST(finds_the_pvh_note)
{
	struct file f = with_note(4, 4, 18, "Xen");

	ck_assert_int_eq(parse(&f, true), 0);
	ck_assert(image.has_pvh_entry);
	ck_assert_uint_eq(image.pvh_entry, 0x1000200);
	ck_assert_uint_eq(image.kernel_flags, 0);
}
END_TEST

START_TEST(finds_what_a_kernel_says_of_itself)
{
	struct file f = with_note(8, 4, GMM_NOTE_KERNEL, GMM_NOTE_NAME);

	ck_assert_int_eq(parse(&f, true), 0);
	ck_assert_uint_eq(image.kernel_flags, 0x1000200);
	ck_assert(!image.has_pvh_entry);
}
END_TEST

START_TEST(passes_over_other_and_broken_notes)
{
	const struct file files[] = {
		with_note(4, 4, 17, "Xen"),	     with_note(4, 4, 18, "GNU"),
		with_note(UINT32_MAX, 4, 18, "Xen"), with_note(4, UINT32_MAX, 18, "Xen"),
		with_note(4, 3, 18, "Xen"),	     with_note(4, 5, 18, "Xen"),
		with_note(0, 0, 18, "Xen"),	     with_note(8, 4, 2, GMM_NOTE_NAME),
		with_note(8, 4, 1, "guestmn"),	     with_note(7, 4, 1, GMM_NOTE_NAME),
		with_note(8, 5, 1, GMM_NOTE_NAME),   with_note(8, 3, 1, GMM_NOTE_NAME),
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		ck_assert_int_eq(parse(&files[i], true), 0);
		ck_assert_msg(!image.has_pvh_entry && !image.kernel_flags, "note %zu", i);
	}
}
END_TEST

START_TEST(leaves_the_output_alone_on_failure)
{
	struct file f = good();

	memset(&image, 0x5a, sizeof(image));
	f.p[1].p_vaddr = 0x400000;
	ck_assert_int_eq(parse(&f, true), -ENOEXEC);
	for (size_t i = 0; i < sizeof(image); i++)
		ck_assert_uint_eq(((const uint8_t *)&image)[i], 0x5a);
}
END_TEST

UNIT_MAIN("elf", takes_a_good_file, refuses_every_truncation, refuses_foreign_headers,
	  refuses_wild_segments, refuses_overlaps, refuses_programs_that_cannot_run,
	  refuses_programs_that_cannot_be_mapped, refuses_an_entry_that_cannot_run,
	  refuses_too_many_segments, finds_the_pvh_note, finds_what_a_kernel_says_of_itself,
	  passes_over_other_and_broken_notes, leaves_the_output_alone_on_failure)
