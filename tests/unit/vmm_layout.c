/* Guest-physical memory around the hole: sizes at every edge. */
#include <errno.h>

#include "unit.h"
#include "vmm/boot/layout.h"

#define GIB (UINT64_C(1) << 30)

START_TEST(small_memory_is_one_range)
{
	struct layout l;

	ck_assert_int_eq(layout_init(&l, 4096, 46), 0);
	ck_assert_uint_eq(l.n_ranges, 1);
	ck_assert_uint_eq(l.ranges[0].end, 4096);
	ck_assert_int_eq(layout_init(&l, 3 * GIB, 46), 0);
	ck_assert_uint_eq(l.n_ranges, 1);
	ck_assert_uint_eq(l.ranges[0].end, 3 * GIB);
	ck_assert_uint_eq(l.next_window, 4 * GIB);
}
END_TEST

START_TEST(large_memory_goes_on_above_the_hole)
{
	struct layout l;

	ck_assert_int_eq(layout_init(&l, 3 * GIB + 4096, 46), 0);
	ck_assert_uint_eq(l.n_ranges, 2);
	ck_assert_uint_eq(l.ranges[1].start, 4 * GIB);
	ck_assert_uint_eq(l.ranges[1].end, 4 * GIB + 4096);
	ck_assert_uint_eq(l.next_window, 5 * GIB);
}
END_TEST

START_TEST(sizes_out_of_reach_are_refused)
{
	struct layout l;

	ck_assert_int_eq(layout_init(&l, 0, 46), -EINVAL);
	ck_assert_int_eq(layout_init(&l, 4097, 46), -EINVAL);
	ck_assert_int_eq(layout_init(&l, UINT64_MAX & ~UINT64_C(4095), 52), -ERANGE);
	ck_assert_int_eq(layout_init(&l, 64 * GIB, 36), -ERANGE);
	ck_assert_int_eq(layout_init(&l, 63 * GIB, 36), 0);
	ck_assert_int_eq(layout_init(&l, 4 * GIB, 32), -ERANGE);
}
END_TEST

START_TEST(ram_is_told_from_what_is_not)
{
	struct layout l;

	ck_assert_int_eq(layout_init(&l, 4 * GIB, 46), 0);
	ck_assert(layout_is_ram(&l, 0, 3 * GIB));
	ck_assert(layout_is_ram(&l, 4 * GIB, GIB));
	ck_assert(layout_is_ram(&l, 5 * GIB - 1, 1));
	ck_assert(layout_is_ram(&l, 5 * GIB, 0));
	ck_assert(!layout_is_ram(&l, 5 * GIB, 1));
	ck_assert(!layout_is_ram(&l, 3 * GIB - 1, 2));
	ck_assert(!layout_is_ram(&l, 3 * GIB, 1));
	ck_assert(!layout_is_ram(&l, 0, 4 * GIB));
	ck_assert(!layout_is_ram(&l, UINT64_MAX, 2));
	ck_assert(!layout_is_ram(&l, 4096, UINT64_MAX));
}
END_TEST

START_TEST(windows_follow_each_other)
{
	struct layout l;
	uint64_t first, second;

	ck_assert_int_eq(layout_init(&l, GIB, 33), 0);
	ck_assert_int_eq(layout_add_window(&l, GIB + 1, &first), 0);
	ck_assert_int_eq(layout_add_window(&l, 1, &second), 0);
	ck_assert_uint_eq(first, 4 * GIB);
	ck_assert_uint_eq(second, 6 * GIB);
	ck_assert_int_eq(layout_add_window(&l, GIB + 1, &first), -ERANGE);
	ck_assert_int_eq(layout_add_window(&l, UINT64_MAX, &first), -ERANGE);
	ck_assert_int_eq(layout_add_window(&l, GIB, &first), 0);
	ck_assert_int_eq(layout_add_window(&l, 1, &first), -ERANGE);
}
END_TEST

UNIT_MAIN("vmm_layout", small_memory_is_one_range, large_memory_goes_on_above_the_hole,
	  sizes_out_of_reach_are_refused, ram_is_told_from_what_is_not, windows_follow_each_other)
