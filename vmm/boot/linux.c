/* Booting kernels that know nothing of guestmm.
 *
 * bzImage: the 64-bit boot protocol (Documentation/arch/x86/boot.rst): the payload at its
 * preferred address, a zero page, identity page tables. ELF with a PVH note: its segments, a
 * start info, 32-bit protected mode without paging. Both find the low megabyte as below.
 * Every field of the file is checked before use.
 */
#include "vmm/boot/linux.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/boot/elf.h"
#include "vmm/boot/mptable.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/say.h"

/* The low megabyte. Usable RAM ends at LOW_END; the MP table is above it. */
#define GDT_GPA	      UINT64_C(0x500)
#define START_GPA     UINT64_C(0x6000) /* PVH start info and what it points to */
#define ZERO_PAGE_GPA UINT64_C(0x7000)
#define TABLES_GPA    UINT64_C(0x9000) /* six pages */
#define CMDLINE_GPA   UINT64_C(0x20000)
#define LOW_END	      UINT64_C(0x9fc00)
#define HIGH_START    UINT64_C(0x100000)

#define CODE_SELECTOR 0x10
#define DATA_SELECTOR 0x18
#define MAX_E820      (2 + LAYOUT_MAX_RANGES)

#define SETUP_HEADER_AT	  0x1f1
#define MIN_PROTOCOL	  0x020c /* xloadflags */
#define XLF_KERNEL_64_BIT 1
#define LOADER_UNDEFINED  0xff
#define MAX_CMDLINE_BYTES 4096

struct start_info { /* hvm_start_info, version 1 */
	uint32_t magic, version, flags, n_modules;
	uint64_t modules_gpa, cmdline_gpa, rsdp_gpa, memmap_gpa;
	uint32_t n_memmap, reserved;
};
struct start_module {
	uint64_t gpa, bytes, cmdline_gpa, reserved;
};
struct start_memory {
	uint64_t gpa, bytes;
	uint32_t type, reserved;
};
struct start_page {
	struct start_info info;
	struct start_module initrd;
	struct start_memory memory[MAX_E820];
};
#define START_MAGIC 0x336ec578u

_Static_assert(sizeof(struct start_info) == 56, "layout shared with guests");
_Static_assert(sizeof(struct start_module) == 32, "layout shared with guests");
_Static_assert(sizeof(struct start_memory) == 24, "layout shared with guests");

static int lay(const struct linux_config *c, uint64_t gpa, const void *data, size_t bytes)
{
	int rc = gmm_space_write(c->space, (gmm_gpa){gpa}, data, bytes);

	if (rc)
		say("cannot write %zu bytes to guest memory at %#" PRIx64 ": %s.", bytes, gpa,
		    strerror(-rc));
	return rc;
}

static int refuse(const struct linux_config *c, const char *why)
{
	say("cannot boot kernel %s: %s.", c->kernel.name, why);
	return -ENOEXEC;
}

static int too_small(const struct linux_config *c, uint64_t need)
{
	say("--memory: kernel %s and what is loaded with it need %" PRIu64 " MiB.", c->kernel.name,
	    (need + (1 << 20) - 1) >> 20);
	return -ENOSPC;
}

static bool is_bzimage(const void *file, size_t bytes)
{
	const uint8_t *f = file;

	return bytes >= SETUP_HEADER_AT + sizeof(struct setup_header) && f[0x1fe] == 0x55 &&
	       f[0x1ff] == 0xaa && memcmp(f + 0x202, "HdrS", 4) == 0;
}

enum linux_kind linux_kind(const void *file, size_t bytes)
{
	char error[ELF_ERROR_BYTES];
	struct elf_image image;

	if (is_bzimage(file, bytes))
		return LINUX_BZIMAGE;
	if (elf_is(file, bytes) && elf_parse(file, bytes, true, &image, error) == 0 &&
	    image.has_pvh_entry)
		return LINUX_PVH;
	return LINUX_NONE;
}

/* RAM as firmware would tell it: without what lies between LOW_END and 1 MiB. */
static unsigned memory_map(const struct layout *l, struct boot_e820_entry *e)
{
	unsigned n = 0;

	e[n++] = (struct boot_e820_entry){0, LOW_END, 1};
	for (unsigned i = 0; i < l->n_ranges; i++) {
		const uint64_t start = i ? l->ranges[i].start : HIGH_START;

		e[n++] = (struct boot_e820_entry){start, l->ranges[i].end - start, 1};
	}
	return n;
}

/* The initrd goes as high as it may, below `max`; *gpa is where. */
static int lay_initrd(const struct linux_config *c, uint64_t kernel_end, uint64_t max,
		      uint64_t *gpa)
{
	const uint64_t ram_end = c->layout->ranges[0].end;
	const uint64_t top = max < ram_end ? max : ram_end;

	*gpa = 0;
	if (!c->initrd.bytes)
		return 0;
	if (kernel_end > top || c->initrd.bytes > top - kernel_end)
		return too_small(c, kernel_end + c->initrd.bytes);
	*gpa = (top - c->initrd.bytes) & ~UINT64_C(4095);
	if (*gpa < kernel_end)
		return too_small(c, kernel_end + c->initrd.bytes + 4096);
	return lay(c, *gpa, c->initrd.data, c->initrd.bytes);
}

static int lay_cmdline(const struct linux_config *c, size_t max)
{
	const size_t bytes = strlen(c->cmdline) + 1;

	if (bytes > max || bytes > MAX_CMDLINE_BYTES) {
		say("--cmdline: %zu bytes are more than the kernel takes (%zu).", bytes - 1,
		    (max < MAX_CMDLINE_BYTES ? max : MAX_CMDLINE_BYTES) - 1);
		return -E2BIG;
	}
	return lay(c, CMDLINE_GPA, c->cmdline, bytes);
}

/* The first 4 GiB at their own addresses, by 2 MiB pages. */
static int lay_identity_tables(const struct linux_config *c)
{
	enum { N = 6 };
	uint64_t(*t)[512] = calloc(N, sizeof(*t));
	int rc;

	if (!t)
		return -ENOMEM;
	t[0][0] = (TABLES_GPA + 4096) | 3;
	for (unsigned i = 0; i < 4; i++) {
		t[1][i] = (TABLES_GPA + (2 + i) * 4096) | 3;
		for (uint64_t j = 0; j < 512; j++)
			t[2 + i][j] = (i * UINT64_C(512) + j) << 21 | 0x83;
	}
	rc = lay(c, TABLES_GPA, t, N * sizeof(*t));
	free(t);
	return rc;
}

static int lay_gdt(const struct linux_config *c, bool code_64)
{
	const uint64_t gdt[] = {0, 0, code_64 ? 0x00af9b000000ffff : 0x00cf9b000000ffff,
				0x00cf93000000ffff};

	return lay(c, GDT_GPA, gdt, sizeof(gdt));
}

static struct kvm_segment flat(uint16_t selector, uint8_t type, bool is_64)
{
	return (struct kvm_segment){
		.selector = selector,
		.limit = 0xffffffff,
		.type = type,
		.present = 1,
		.s = 1,
		.l = is_64,
		.db = !is_64,
		.g = 1,
	};
}

/* vCPU 0 at `regs`: in 64-bit mode with the identity tables, or in 32-bit mode without paging. */
static int set_vcpu(const struct linux_config *c, const struct kvm_regs *regs, bool is_64)
{
	struct vcpu *vcpu = &c->vm->vcpus[0];
	struct kvm_sregs s;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &s) < 0)
		goto failed;
	s.cs = flat(CODE_SELECTOR, 0xb, is_64);
	s.ds = s.es = s.fs = s.gs = s.ss = flat(DATA_SELECTOR, 0x3, false);
	s.tr = (struct kvm_segment){.limit = 0x67, .type = 0xb, .present = 1};
	s.gdt.base = GDT_GPA;
	s.gdt.limit = 4 * 8 - 1;
	s.idt.base = s.idt.limit = 0;
	s.cr0 = is_64 ? 0x80000011 : 0x11; /* PG, ET, PE */
	s.cr3 = is_64 ? TABLES_GPA : 0;
	s.cr4 = is_64 ? 1u << 5 : 0;		 /* PAE */
	s.efer = is_64 ? 1u << 8 | 1u << 10 : 0; /* LME, LMA */
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &s) < 0 || ioctl(vcpu->fd, KVM_SET_REGS, regs) < 0)
		goto failed;
	return 0;
failed:
	say("KVM refuses the kernel's first state: %s.", strerror(errno));
	return -EIO;
}

/* ---- bzImage ---- */

static int check_header(const struct linux_config *c, const struct setup_header *h,
			uint64_t payload)
{
	if (h->version < MIN_PROTOCOL)
		return refuse(c, "its boot protocol is older than 2.12 (Linux 3.8)");
	if (!(h->xloadflags & XLF_KERNEL_64_BIT))
		return refuse(c, "it is no 64-bit kernel");
	/* syssize counts 16-byte units, with up to 31 bytes of slack. */
	if (payload + 0x200 >= c->kernel.bytes ||
	    c->kernel.bytes - payload + 31 < (uint64_t)h->syssize * 16)
		return refuse(c, "it is truncated");
	if (h->pref_address < HIGH_START || h->pref_address >= GMM_MMIO_HOLE_START)
		return refuse(c, "it wants to lie outside low memory");
	if (c->kernel.bytes - payload > h->init_size)
		return refuse(c, "it is longer than it says to need");
	if (!layout_is_ram(c->layout, h->pref_address, h->init_size))
		return too_small(c, h->pref_address + h->init_size);
	return 0;
}

static int lay_zero_page(const struct linux_config *c, const struct setup_header *h,
			 uint64_t initrd_gpa)
{
	struct boot_params *zero = calloc(1, sizeof(*zero));
	int rc;

	if (!zero)
		return -ENOMEM;
	zero->hdr = *h;
	zero->hdr.type_of_loader = LOADER_UNDEFINED;
	zero->hdr.cmd_line_ptr = (uint32_t)CMDLINE_GPA;
	zero->hdr.ramdisk_image = (uint32_t)initrd_gpa;
	zero->hdr.ramdisk_size = (uint32_t)c->initrd.bytes;
	zero->e820_entries = (uint8_t)memory_map(c->layout, zero->e820_table);
	rc = lay(c, ZERO_PAGE_GPA, zero, sizeof(*zero));
	free(zero);
	return rc;
}

static int load_bzimage(const struct linux_config *c)
{
	const uint8_t *file = c->kernel.data;
	struct kvm_regs regs = {.rsi = ZERO_PAGE_GPA, .rflags = 2};
	struct setup_header h;
	uint64_t payload, initrd;
	int rc;

	memcpy(&h, file + SETUP_HEADER_AT, sizeof(h));
	payload = ((h.setup_sects ? h.setup_sects : 4u) + 1) * 512u;
	rc = check_header(c, &h, payload);
	if (!rc)
		rc = lay(c, h.pref_address, file + payload, c->kernel.bytes - payload);
	if (!rc)
		rc = lay_initrd(c, h.pref_address + h.init_size, (uint64_t)h.initrd_addr_max + 1,
				&initrd);
	if (!rc)
		rc = lay_cmdline(c, (size_t)h.cmdline_size + 1);
	if (!rc)
		rc = lay_zero_page(c, &h, initrd);
	if (!rc)
		rc = lay_identity_tables(c);
	if (!rc)
		rc = lay_gdt(c, true);
	regs.rip = h.pref_address + 0x200;
	return rc ? rc : set_vcpu(c, &regs, true);
}

/* ---- PVH ---- */

static int lay_start_info(const struct linux_config *c, uint64_t initrd_gpa)
{
	struct boot_e820_entry e820[MAX_E820];
	struct start_page page = {
		.info =
			{
				.magic = START_MAGIC,
				.version = 1,
				.n_modules = c->initrd.bytes ? 1 : 0,
				.modules_gpa = START_GPA + offsetof(struct start_page, initrd),
				.cmdline_gpa = CMDLINE_GPA,
				.memmap_gpa = START_GPA + offsetof(struct start_page, memory),
				.n_memmap = memory_map(c->layout, e820),
			},
		.initrd = {.gpa = initrd_gpa, .bytes = c->initrd.bytes},
	};

	for (unsigned i = 0; i < page.info.n_memmap; i++)
		page.memory[i] = (struct start_memory){e820[i].addr, e820[i].size, e820[i].type, 0};
	return lay(c, START_GPA, &page, sizeof(page));
}

static int lay_segments(const struct linux_config *c, const struct elf_image *image, uint64_t *end)
{
	int rc = 0;

	*end = HIGH_START;
	for (unsigned i = 0; i < image->n_segments && !rc; i++) {
		const struct elf_segment *s = &image->segments[i];
		const uint64_t segment_end = s->paddr + s->memory_bytes;

		if (s->paddr < HIGH_START)
			return refuse(c, "a segment lies below 1 MiB");
		if (!layout_is_ram(c->layout, s->paddr, s->memory_bytes))
			return segment_end < GMM_MMIO_HOLE_START
				       ? too_small(c, segment_end)
				       : refuse(c, "a segment lies outside the guest's memory");
		rc = lay(c, s->paddr, (const uint8_t *)c->kernel.data + s->offset, s->file_bytes);
		if (segment_end > *end)
			*end = segment_end;
	}
	return rc;
}

static int load_pvh(const struct linux_config *c)
{
	struct kvm_regs regs = {.rbx = START_GPA, .rflags = 2};
	char error[ELF_ERROR_BYTES];
	struct elf_image image;
	uint64_t end, initrd;
	int rc = elf_parse(c->kernel.data, c->kernel.bytes, true, &image, error);

	if (rc)
		return refuse(c, error);
	rc = lay_segments(c, &image, &end);
	if (!rc)
		rc = lay_initrd(c, end, GMM_MMIO_HOLE_START, &initrd);
	if (!rc)
		rc = lay_cmdline(c, MAX_CMDLINE_BYTES);
	if (!rc)
		rc = lay_start_info(c, initrd);
	if (!rc)
		rc = lay_gdt(c, false);
	regs.rip = image.pvh_entry;
	return rc ? rc : set_vcpu(c, &regs, false);
}

int linux_load(const struct linux_config *c)
{
	uint8_t table[MPTABLE_MAX_BYTES];
	int rc;

	if (c->layout->ranges[0].end <= HIGH_START)
		return too_small(c, HIGH_START * 2);
	rc = lay(c, LOW_END, table, mptable_make(LOW_END, c->vm->n_vcpus, table));
	if (rc)
		return rc;
	switch (linux_kind(c->kernel.data, c->kernel.bytes)) {
	case LINUX_BZIMAGE:
		return load_bzimage(c);
	case LINUX_PVH:
		return load_pvh(c);
	case LINUX_NONE:
		break;
	}
	return refuse(c, "it is no kernel");
}
