/* Regions: overlaps, holes, page numbers. */
#include <check.h>
#include <errno.h>

#include "layout.h"
#include "unit.h"

static struct layout two_regions(void)
{
	struct layout l = {.n_regions = 2};

	l.regions[0] = (struct region){.gpa = 0, .bytes = 0x10000, .hva = (char *)0x1000000, .first = 0};
	l.regions[1] = (struct region){
		.gpa = 0x100000000, .bytes = 0x8000, .hva = (char *)0x5000000, .first = 16};
	return l;
}

START_TEST(check_refuses)
{
	struct layout l = two_regions();

	ck_assert_int_eq(layout_check(&l, 0x10000, 0x1000), 0);
	ck_assert_int_eq(layout_check(&l, 0xf000, 0x1000), -EEXIST);
	ck_assert_int_eq(layout_check(&l, 0xfffff000, 0x2000), -EEXIST);
	ck_assert_int_eq(layout_check(&l, 0x20000, 0), -EINVAL);
	ck_assert_int_eq(layout_check(&l, 0x20001, 0x1000), -EINVAL);
	ck_assert_int_eq(layout_check(&l, 0x20000, 0x1001), -EINVAL);
	ck_assert_int_eq(layout_check(&l, UINT64_MAX - 0xfff, 0x2000), -EINVAL);
	ck_assert_int_eq(layout_check(&l, UINT64_C(1) << 52, 0x1000), -EINVAL);
	l.n_regions = LAYOUT_MAX_REGIONS;
	for (unsigned i = 2; i < LAYOUT_MAX_REGIONS; i++)
		l.regions[i] = l.regions[1];
	ck_assert_int_eq(layout_check(&l, 0x20000, 0x1000), -ENOSPC);
}
END_TEST

START_TEST(finds_and_does_not_find)
{
	struct layout l = two_regions();

	ck_assert_ptr_eq(layout_find_gpa(&l, 0), &l.regions[0]);
	ck_assert_ptr_eq(layout_find_gpa(&l, 0xffff), &l.regions[0]);
	ck_assert_ptr_null(layout_find_gpa(&l, 0x10000));
	ck_assert_ptr_eq(layout_find_gpa(&l, 0x100007fff), &l.regions[1]);
	ck_assert_ptr_null(layout_find_gpa(&l, 0x100008000));
	ck_assert_ptr_null(layout_find_gpa(&l, UINT64_MAX));
	ck_assert_ptr_eq(layout_find_hva(&l, (void *)0x5000000), &l.regions[1]);
	ck_assert_ptr_null(layout_find_hva(&l, (void *)0x5008000));
	ck_assert_ptr_eq(layout_find_page(&l, 15), &l.regions[0]);
	ck_assert_ptr_eq(layout_find_page(&l, 16), &l.regions[1]);
	ck_assert_ptr_null(layout_find_page(&l, 24));
	ck_assert_uint_eq(region_gpa(&l.regions[1], 17), 0x100001000);
	ck_assert_ptr_eq(region_hva(&l.regions[1], 17), (char *)0x5001000);
}
END_TEST

UNIT_MAIN("layout", check_refuses, finds_and_does_not_find)
