/* Started without guestmm: a loader that knows PVH (QEMU) has put the image into memory and
 * says where RAM and the command line are. This builds the page tables, the stack and the boot
 * information that guestmm would have, and goes on as under it; there are no hostcalls, one CPU,
 * and no interrupts.
 *
 * Runs on the tables that entry.S made: the first 4 GiB one to one.
 */
#include "kernel.h"

#define LOW_MEMORY UINT64_C(0x100000) /* firmware's, loader's */
#define PVH_MAGIC  0x336ec578u
#define TABLE_BITS (PTE_P | PTE_W)

struct pvh_info {
	uint32_t magic, version, flags, n_modules;
	uint64_t modules, cmdline, rsdp, memmap;
	uint32_t n_memmap, reserved;
};

struct pvh_range {
	uint64_t start, bytes;
	uint32_t type, reserved;
};

_Noreturn void pvh_main(const struct pvh_info *info);
_Noreturn void pvh_enter(uint64_t cr3, struct gmm_boot_info *info);

static struct gmm_boot_info info;
static char args[1024] __attribute__((aligned(16)));
static uint64_t bump; /* next free byte behind the image */

static uint64_t low(const void *in_image)
{
	return (uint64_t)in_image - KERNEL_OFFSET;
}

static uint64_t *new_table(void)
{
	uint64_t *t = (uint64_t *)bump;

	memset(t, 0, PAGE_BYTES);
	bump += PAGE_BYTES;
	return t;
}

static uint64_t *table_below(uint64_t *entry)
{
	if (!*entry)
		*entry = (uint64_t)new_table() | TABLE_BITS;
	return (uint64_t *)(*entry & PTE_FRAME);
}

/* The entry of the address at level 2 (2 MiB) or 1 (4 KiB). */
static uint64_t *entry_of(uint64_t *pml4, uint64_t address, int level)
{
	uint64_t *t = pml4;

	for (int l = 4; l > level; l--)
		t = table_below(&t[address >> (12 + 9 * (l - 1)) & 511]);
	return &t[address >> (12 + 9 * (level - 1)) & 511];
}

static void map_small(uint64_t *pml4, uint64_t at, uint64_t end, uint64_t gpa, uint64_t bits)
{
	for (; at < end; at += PAGE_BYTES, gpa += PAGE_BYTES)
		*entry_of(pml4, at, 1) = gpa | PTE_P | bits;
}

static void map_direct(uint64_t *pml4)
{
	uint64_t image_end = low(kernel_rodata_end);

	for (unsigned i = 0; i < info.n_ranges; i++) {
		uint64_t at = info.ranges[i].start & ~(HUGE_BYTES - 1);

		for (; at < info.ranges[i].end; at += HUGE_BYTES) {
			if (at + HUGE_BYTES <= low(kernel_start) || at >= image_end)
				*entry_of(pml4, GMM_DIRECT_MAP + at, 2) =
					at | PTE_P | PTE_W | PTE_HUGE | PTE_NX;
			else
				map_small(pml4, GMM_DIRECT_MAP + at,
					  GMM_DIRECT_MAP + at + HUGE_BYTES, at, PTE_W | PTE_NX);
		}
	}
	map_small(pml4, GMM_DIRECT_MAP + low(kernel_start), GMM_DIRECT_MAP + image_end,
		  low(kernel_start), PTE_NX);
}

static uint64_t build_tables(void)
{
	uint64_t *pml4 = new_table();

	map_direct(pml4);
	map_small(pml4, (uint64_t)kernel_start, (uint64_t)kernel_text_end, low(kernel_start), 0);
	map_small(pml4, (uint64_t)kernel_text_end, (uint64_t)kernel_rodata_end,
		  low(kernel_text_end), PTE_NX);
	map_small(pml4, (uint64_t)kernel_rodata_end, (uint64_t)kernel_end, low(kernel_rodata_end),
		  PTE_W | PTE_NX);
	for (uint64_t at = STACKS + PAGE_BYTES; at < STACKS + STACK_STRIDE; at += PAGE_BYTES)
		map_small(pml4, at, at + PAGE_BYTES, (uint64_t)new_table(), PTE_W | PTE_NX);
	return (uint64_t)pml4;
}

static void read_memory_map(const struct pvh_info *p)
{
	const struct pvh_range *r = (const struct pvh_range *)p->memmap;

	for (unsigned i = 0; i < p->n_memmap && info.n_ranges < GMM_MAX_RANGES; i++) {
		uint64_t end = (r[i].start + r[i].bytes) & ~(PAGE_BYTES - 1);
		uint64_t start = (r[i].start + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);

		if (start < LOW_MEMORY)
			start = LOW_MEMORY;
		if (r[i].type == 1 && start < end)
			info.ranges[info.n_ranges++] = (struct gmm_boot_range){start, end};
	}
}

/* The command line's words are the program's arguments; none: hello. */
static void read_arguments(const struct pvh_info *p)
{
	const char *from = (const char *)p->cmdline;
	uint64_t n = 0;
	bool inside = false;

	for (; from && *from && n < sizeof(args) - 2; from++) {
		if (*from != ' ') {
			info.argc += !inside;
			inside = true;
			args[n++] = *from;
		} else if (inside) {
			inside = false;
			args[n++] = 0;
		}
	}
	if (!info.argc) {
		memcpy(args, "hello", 5);
		info.argc = 1;
		n = 5;
	}
	args[n] = 0;
	info.args_gpa = low(args);
	info.args_bytes = n + 1;
}

/* Ten milliseconds of the PC's timer, counter 2. */
static uint64_t measure_tsc_khz(void)
{
	const uint16_t ticks = 11932;
	uint64_t from;

	outb(0x61, (uint8_t)((inb(0x61) & ~2) | 1));
	outb(0x43, 0xb0);
	outb(0x42, (uint8_t)ticks);
	outb(0x42, ticks >> 8);
	from = rdtsc();
	while (!(inb(0x61) & 0x20))
		cpu_pause();
	return (rdtsc() - from) / 10 + 1;
}

_Noreturn void pvh_main(const struct pvh_info *p)
{
	uint64_t cr3;

	info.magic = GMM_BOOT_MAGIC;
	info.bytes = sizeof(info);
	info.n_cpus = 1;
	if (p->magic == PVH_MAGIC && p->version >= 1) {
		read_memory_map(p);
		read_arguments(p);
	}
	info.tsc_khz = measure_tsc_khz();
	info.random_seed[0] = rdtsc();
	info.random_seed[1] = rdtsc() * UINT64_C(0x9e3779b97f4a7c15);
	info.kernel = (struct gmm_boot_range){low(kernel_start), low(kernel_end)};
	bump = low(kernel_end);
	cr3 = build_tables();
	info.page_tables = cr3;
	info.used = (struct gmm_boot_range){low(kernel_start), bump};
	pvh_enter(cr3, &info);
}
