/* The first page tables, walked as the processor would: what abi.h promises a kernel. */
#include <errno.h>
#include <guestmm/pagetable.h>
#include <string.h>

#include "unit.h"
#include "vmm/boot/tables.h"

#define GIB	   (UINT64_C(1) << 30)
#define BASE	   UINT64_C(0xffffffff80000000)
#define TABLES_GPA UINT64_C(0x300000)
#define STACKS_GPA UINT64_C(0x280000)

static struct layout layout;
static struct elf_image kernel;
static struct gmm_boot_file file;
static struct tables_config config;
static struct tables tables;

static void setup(uint64_t memory_bytes, bool has_1g_pages)
{
	ck_assert_int_eq(layout_init(&layout, memory_bytes, 46), 0);
	kernel = (struct elf_image){
		.n_segments = 3,
		.segments =
			{
				{.vaddr = BASE + 0x200000,
				 .paddr = 0x200000,
				 .memory_bytes = 0x3001,
				 .exec = true},
				{.vaddr = BASE + 0x204000,
				 .paddr = 0x204000,
				 .memory_bytes = 0x1000},
				{.vaddr = BASE + 0x205000,
				 .paddr = 0x205000,
				 .memory_bytes = 0x1000,
				 .write = true},
			},
	};
	file.bytes = 5000;
	ck_assert_int_eq(layout_add_window(&layout, file.bytes, &file.gpa), 0);
	config = (struct tables_config){
		.layout = &layout,
		.kernel = &kernel,
		.n_files = 1,
		.files = &file,
		.n_cpus = 2,
		.stacks_gpa = STACKS_GPA,
		.has_1g_pages = has_1g_pages,
		.tables_gpa = TABLES_GPA,
		.limit_gpa = layout.ranges[0].end,
	};
}

static int read_entry(void *user, uint64_t pa, uint64_t *entry)
{
	(void)user;
	if (pa < TABLES_GPA || pa - TABLES_GPA >= tables.n_pages * 4096)
		return -1;
	memcpy(entry, tables.pages + (pa - TABLES_GPA), sizeof(*entry));
	return 0;
}

static struct gmm_pt_result walk(uint64_t va)
{
	const struct gmm_pt pt = {
		.root = tables.root,
		.mode = GMM_PT_NXE | GMM_PT_WP | GMM_PT_PAGE_1G,
		.read = read_entry,
	};
	struct gmm_pt_result w;

	gmm_pt_walk(&pt, va, &w);
	return w;
}

static void maps(uint64_t va, uint64_t pa, bool write, bool exec)
{
	const struct gmm_pt_result w = walk(va);

	ck_assert_msg(w.stop == GMM_PT_MAPPED, "%#lx is not mapped (stop %d)", va, w.stop);
	ck_assert_msg(w.pa == pa, "%#lx leads to %#lx, not %#lx", va, w.pa, pa);
	ck_assert_msg(!!(w.rights & GMM_PT_W) == write, "%#lx: writable", va);
	ck_assert_msg(!(w.rights & GMM_PT_NX) == exec, "%#lx: executable", va);
	ck_assert_msg(!(w.entry & GMM_PT_U), "%#lx is the user's", va);
}

static void maps_not(uint64_t va)
{
	ck_assert_msg(walk(va).stop == GMM_PT_NOT_PRESENT, "%#lx is mapped", va);
}

static void check_all(uint64_t memory_bytes, bool has_1g_pages)
{
	setup(memory_bytes, has_1g_pages);
	ck_assert_int_eq(tables_build(&config, &tables), 0);
	for (uint64_t gpa = 0; gpa < 3 * GIB + 8192; gpa += gpa < 0x400000 ? 4096 : 0x1ff000) {
		const bool text = gpa >= 0x200000 && gpa < 0x205000;

		if (gpa < layout.ranges[0].end)
			maps(GMM_DIRECT_MAP + gpa + 5, gpa + 5, !text, false);
		else
			maps_not(GMM_DIRECT_MAP + gpa);
	}
	if (layout.n_ranges > 1) {
		maps(GMM_DIRECT_MAP + 4 * GIB, 4 * GIB, true, false);
		maps(GMM_DIRECT_MAP + layout.ranges[1].end - 1, layout.ranges[1].end - 1, true,
		     false);
		maps_not(GMM_DIRECT_MAP + layout.ranges[1].end);
	}
	tables_free(&tables);
}

START_TEST(direct_map_covers_ram_and_nothing_else)
{
	check_all(16 << 20, true);
	check_all(16 << 20, false);
	check_all(3 * GIB, true);
	check_all(3 * GIB + 4096, false);
	check_all(9 * GIB + 12288, true);
}
END_TEST

START_TEST(kernel_is_mapped_by_its_segments)
{
	setup(64 << 20, true);
	ck_assert_int_eq(tables_build(&config, &tables), 0);
	maps(BASE + 0x200000, 0x200000, false, true);
	maps(BASE + 0x203fff, 0x203fff, false, true);
	maps(BASE + 0x204000, 0x204000, false, false);
	maps(BASE + 0x205000, 0x205000, true, false);
	maps_not(BASE + 0x206000);
	maps_not(BASE + 0x1ff000);
	ck_assert_uint_eq(walk(BASE + 0x200000).level, 1);
	tables_free(&tables);
}
END_TEST

START_TEST(stacks_have_guards)
{
	setup(64 << 20, true);
	ck_assert_int_eq(tables_build(&config, &tables), 0);
	for (unsigned i = 0; i < 2; i++) {
		const uint64_t stack = GMM_STACKS + i * GMM_STACK_STRIDE;

		maps_not(stack);
		maps_not(stack + 4095);
		maps(stack + 4096, STACKS_GPA + i * TABLES_STACK_BYTES, true, false);
		maps(stack + GMM_STACK_STRIDE - 1, STACKS_GPA + (i + 1) * TABLES_STACK_BYTES - 1,
		     true, false);
	}
	maps_not(GMM_STACKS + 2 * GMM_STACK_STRIDE + 4096);
	maps_not(GMM_STACKS - 1);
	tables_free(&tables);
}
END_TEST

START_TEST(windows_are_read_only)
{
	setup(64 << 20, true);
	ck_assert_int_eq(tables_build(&config, &tables), 0);
	maps(GMM_DIRECT_MAP + file.gpa, file.gpa, false, false);
	maps(GMM_DIRECT_MAP + file.gpa + 8191, file.gpa + 8191, false, false);
	maps_not(GMM_DIRECT_MAP + file.gpa + 8192);
	tables_free(&tables);
}
END_TEST

START_TEST(large_pages_are_used)
{
	setup(8 * GIB, true);
	ck_assert_int_eq(tables_build(&config, &tables), 0);
	ck_assert_uint_eq(walk(GMM_DIRECT_MAP + 5 * GIB).level, 3);
	ck_assert_uint_eq(walk(GMM_DIRECT_MAP + 0x800000).level, 2);
	ck_assert_uint_eq(walk(GMM_DIRECT_MAP + 0x204000).level, 1);
	ck_assert_uint_lt(tables.n_pages, 16);
	tables_free(&tables);
}
END_TEST

START_TEST(segments_that_cannot_be_mapped_are_refused)
{
	setup(64 << 20, true);
	kernel.segments[2].exec = true; /* and writable */
	ck_assert_int_eq(tables_build(&config, &tables), -EINVAL);
	setup(64 << 20, true);
	kernel.segments[1].paddr += 8; /* not congruent */
	ck_assert_int_eq(tables_build(&config, &tables), -EINVAL);
	setup(64 << 20, true);
	kernel.segments[1].vaddr = BASE + 0x203800; /* on the page where the text ends */
	kernel.segments[1].paddr = 0x203800;
	ck_assert_int_eq(tables_build(&config, &tables), -EINVAL);
	setup(64 << 20, true);
	kernel.segments[1].vaddr = GMM_DIRECT_MAP + 0x204000; /* in the direct map */
	ck_assert_int_eq(tables_build(&config, &tables), -EINVAL);
	setup(64 << 20, true);
	kernel.segments[1].vaddr = UINT64_C(0x800000204000); /* no canonical address */
	ck_assert_int_eq(tables_build(&config, &tables), -EINVAL);
}
END_TEST

START_TEST(too_little_room_is_told)
{
	setup(64 << 20, true);
	for (uint64_t room = 0; room < 8 * 4096; room += 4096) {
		config.limit_gpa = TABLES_GPA + room;
		ck_assert_int_eq(tables_build(&config, &tables), -ENOSPC);
	}
	config.limit_gpa = TABLES_GPA + 32 * 4096;
	ck_assert_int_eq(tables_build(&config, &tables), 0);
	tables_free(&tables);
}
END_TEST

UNIT_MAIN("tables", direct_map_covers_ram_and_nothing_else, kernel_is_mapped_by_its_segments,
	  stacks_have_guards, windows_are_read_only, large_pages_are_used,
	  segments_that_cannot_be_mapped_are_refused, too_little_room_is_told)
