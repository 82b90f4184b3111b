/* The library says which version it is. */
#include <check.h>
#include <guestmm/guestmm.h>

#include "unit.h"

START_TEST(version_has_three_numbers)
{
	unsigned major, minor, patch;

	ck_assert_int_eq(sscanf(gmm_version(), "%u.%u.%u", &major, &minor, &patch), 3);
}
END_TEST

UNIT_MAIN("version", version_has_three_numbers)
