/* Sizes on the command line: what is taken, what is refused, and with which words. */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "unit.h"
#include "vmm/cmd/size.h"

static const struct {
	const char *text;
	uint64_t bytes;
} good[] = {
	{"1", 1},
	{"4096", 4096},
	{"007", 7},
	{"1K", UINT64_C(1) << 10},
	{"1k", UINT64_C(1) << 10},
	{"512M", UINT64_C(512) << 20},
	{"8G", UINT64_C(8) << 30},
	{"3T", UINT64_C(3) << 40},
	{"18446744073709551615", UINT64_MAX},
	{"16777215T", UINT64_C(16777215) << 40},
};

static const struct {
	const char *text;
	int err;
	const char *words;
} bad[] = {
	{"", -EINVAL, "is empty"},
	{"0", -EINVAL, "is zero"},
	{"0G", -EINVAL, "is zero"},
	{"-1", -EINVAL, "is negative"},
	{"-1G", -EINVAL, "is negative"},
	{"+1G", -EINVAL, "begins with no digit"},
	{" 1G", -EINVAL, "begins with no digit"},
	{"M", -EINVAL, "begins with no digit"},
	{"lots", -EINVAL, "begins with no digit"},
	{"12Q", -EINVAL, "unknown unit"},
	{"12MB", -EINVAL, "unknown unit"},
	{"12MiB", -EINVAL, "unknown unit"},
	{"12M ", -EINVAL, "unknown unit"},
	{"0x100", -EINVAL, "unknown unit"},
	{"1.5G", -EINVAL, "no whole number"},
	{"1,5G", -EINVAL, "no whole number"},
	{"18446744073709551616", -ERANGE, "does not fit 64 bits"},
	{"99999999999999999999999999", -ERANGE, "does not fit 64 bits"},
	{"16777216T", -ERANGE, "does not fit 64 bits"},
};

START_TEST(sizes_are_read)
{
	char error[SIZE_ERROR_BYTES];
	uint64_t bytes = 0;

	ck_assert_int_eq(size_parse(good[_i].text, &bytes, error, sizeof(error)), 0);
	ck_assert_uint_eq(bytes, good[_i].bytes);
}
END_TEST

START_TEST(what_is_no_size_is_refused_and_explained)
{
	char error[SIZE_ERROR_BYTES] = "";
	uint64_t bytes = 4711;

	ck_assert_int_eq(size_parse(bad[_i].text, &bytes, error, sizeof(error)), bad[_i].err);
	ck_assert_msg(strstr(error, bad[_i].words), "'%s': said \"%s\", wanted \"%s\"",
		      bad[_i].text, error, bad[_i].words);
	ck_assert_msg(strstr(error, bad[_i].text), "\"%s\" does not show '%s'", error,
		      bad[_i].text);
	ck_assert_uint_eq(bytes, 4711);
}
END_TEST

START_TEST(zero_is_a_size_where_asked_for)
{
	char error[SIZE_ERROR_BYTES];
	uint64_t bytes = 4711;

	ck_assert_int_eq(size_parse_or_zero("0", &bytes, error, sizeof(error)), 0);
	ck_assert_uint_eq(bytes, 0);
	ck_assert_int_eq(size_parse_or_zero("-0", &bytes, error, sizeof(error)), -EINVAL);
}
END_TEST

START_TEST(a_long_text_is_shortened_in_the_message)
{
	char text[4096], error[SIZE_ERROR_BYTES];
	uint64_t bytes;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	ck_assert_int_eq(size_parse(text, &bytes, error, sizeof(error)), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error, "begins with no digit"));
	ck_assert_uint_lt(strlen(error), SIZE_ERROR_BYTES - 1);
}
END_TEST

START_TEST(sizes_are_written_for_people)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} want[] = {
		{0, "0 B"},
		{999, "999 B"},
		{4096, "4 KiB"},
		{1536, "1.5 KiB"},
		{UINT64_C(128) << 20, "128 MiB"},
		{(UINT64_C(128) << 20) + 1, "128 MiB"},
		{UINT64_C(1000) << 20, "1.0 GiB"},
		{UINT64_C(8) << 30, "8 GiB"},
		{UINT64_MAX, "16 EiB"},
	};
	char text[SIZE_TEXT_BYTES];

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		ck_assert_str_eq(size_format(want[i].bytes, text), want[i].text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("size");
	TCase *tc = tcase_create("size");
	SRunner *runner;
	int status;

	tcase_add_loop_test(tc, sizes_are_read, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(tc, what_is_no_size_is_refused_and_explained, 0,
			    sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tc, zero_is_a_size_where_asked_for);
	tcase_add_test(tc, a_long_text_is_shortened_in_the_message);
	tcase_add_test(tc, sizes_are_written_for_people);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	status = unit_status(runner);
	srunner_free(runner);
	return status;
}
