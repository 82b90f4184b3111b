/* Stores from descriptions: what is understood, and what people are told. */
#include <errno.h>
#include <unistd.h>

#include "store_help.h"

static int parse(const char *spec, struct gmm_store **st, char error[256])
{
	*st = NULL;
	error[0] = '\0';
	return gmm_store_parse(spec, 16 << 20, st, error, 256);
}

START_TEST(good_descriptions)
{
	static const struct {
		const char *spec, *name;
	} good[] = {
		{"file", "file"},
		{"file,size=2M", "file"},
		{"file:/tmp/guestmm-spec-test", "file"},
		{"file:/tmp/guestmm-spec-test,size=1024K", "file"},
		{"file:/tmp/guestmm-spec,test,size=2097152", "file"},
		{"ram", "ram"},
		{"ram:64M", "ram"},
		{"ram,codec=zstd", "ram"},
		{"ram:64M,codec=zstd", "ram"},
		{"ram:64M,codec=lz4", "ram"},
		{"same", "same"},
		{"tier:ram:64M+file:/tmp/guestmm-spec-test,size=1G", "tier"},
		{"tier:ram+file:/tmp/a+b,size=4M", "tier"},
		{"tier:ram:4M,codec=zstd+file,size=4M", "tier"},
		{"tier:same+ram:1M+ram:2M+file", "tier"},
		{"tier:file", "tier"},
	};
	struct gmm_store *st;
	char error[256];

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_msg(parse(good[i].spec, &st, error) == 0, "%s: %s", good[i].spec, error);
		ck_assert_str_eq(st->ops->name, good[i].name);
		gmm_store_free(st);
	}
	ck_assert_int_eq(parse("off", &st, error), 0);
	ck_assert_ptr_null(st);
}
END_TEST

START_TEST(sizes_are_understood)
{
	struct gmm_store *st;
	char error[256];

	ck_assert_int_eq(parse("file,size=2M", &st, error), 0);
	ck_assert_uint_eq(help_stats(st).n_slots, 512);
	gmm_store_free(st);
	ck_assert_int_eq(parse("file,size=2m", &st, error), 0);
	ck_assert_uint_eq(help_stats(st).n_slots, 512);
	gmm_store_free(st);
	ck_assert_int_eq(parse("file", &st, error), 0);
	ck_assert_uint_eq(help_stats(st).n_slots, (16 << 20) / GMM_PAGE_BYTES);
	gmm_store_free(st);
	ck_assert_int_eq(gmm_store_parse("file", 5, &st, error, sizeof(error)), 0);
	ck_assert_uint_eq(help_stats(st).n_slots, 256);
	gmm_store_free(st);
}
END_TEST

START_TEST(bad_descriptions_are_explained)
{
	const struct {
		const char *spec;
		int error;
		const char *says;
	} bad[] = {
		{"", -EINVAL, "no store"},
		{"floppy:/dev/fd0", -EINVAL, "'floppy:/dev/fd0' is no store"},
		{"filet", -EINVAL, "no store"},
		{"OFF", -EINVAL, "no store"},
		{"ram:", -EINVAL, "not a size"},
		{"ram:12Q", -EINVAL, "'12Q' is not a size"},
		{"ram:-1M", -EINVAL, "not a size"},
		{"ram:1MM", -EINVAL, "not a size"},
		{"ram: 1M", -EINVAL, "not a size"},
		{"ram:99999999999999999999", -EINVAL, "not a size"},
		{"ram:18446744073709551615T", -EINVAL, "not a size"},
		{"ram:1K", -EINVAL, "at least 1M"},
		{"file,size=", -EINVAL, "not a size"},
		{"file,size=0", -EINVAL, "at least 1M"},
		{"file,size=1048577", -EINVAL, "multiple of 4K"},
		{"file:/tmp", -EISDIR, "directory"},
		{"file:/etc/passwd", -EEXIST, "does not exist yet"},
		{"file:/no/such/dir/file", -ENOENT, "no such directory"},
		{"file:/etc/passwd/file", -ENOTDIR, "no such directory"},
		{"file:/proc/swap", geteuid() ? -EACCES : -ENOENT, "'/proc/swap'"},
		{"file:", -EINVAL, "lacks its PATH"},
		{"file:,size=2M", -EINVAL, "lacks its PATH"},
		{"file,", -EINVAL, "'file,' is no store"},
		{"file+ram", -EINVAL, "'file+ram' is no store"},
		{"file:/tmp/sw,foo=1", -EINVAL, "'file:/tmp/sw,foo=1' has an option"},
		{"file:/tmp/sw,foo=1,size=2M", -EINVAL, "has an option"},
		{"file:/tmp/sw,size=2M,foo=1", -EINVAL, "not a size"},
		{"file:/tmp/sw,size=x,size=2M", -EINVAL, "one twice"},
		{"file,foo=1", -EINVAL, "no store"},
		{"ram,foo=1", -EINVAL, "'ram,foo=1' is no store"},
		{"ram:1M,codec=", -EINVAL, "'' is no codec"},
		{"ram:1M,codec=lzo", -EINVAL, "'lzo' is no codec; there are lz4 and zstd"},
		{"ram,codec=zstd,codec=lz4", -EINVAL, "no codec"},
		{"ram,codec=zstd:1M", -EINVAL, "no codec"},
		{"ram+", -EINVAL, "'ram+' is no store"},
		{"tier:", -EINVAL, "no store"},
		{"tier:ram+", -EINVAL, "after the '+'"},
		{"tier:ram:64M+", -EINVAL, "after the '+'"},
		{"tier:ram++file", -EINVAL, "after the '+'"},
		{"tier:ram+file:/tmp/sw+", -EINVAL, "after the '+'"},
		{"tier:+ram", -EINVAL, "no store"},
		{"tier:ram+file:/tmp", -EISDIR, "directory"},
		{"tier:ram+ram+ram+ram", -EINVAL, "more than 3"},
		{"same,size=1M", -EINVAL, "no store"},
	};
	struct gmm_store *st;
	char error[256];

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int got = parse(bad[i].spec, &st, error);

		ck_assert_msg(got == bad[i].error, "'%s': %d, '%s'", bad[i].spec, got, error);
		ck_assert_msg(strstr(error, bad[i].says), "'%s': '%s'", bad[i].spec, error);
		ck_assert_ptr_null(st);
	}
}
END_TEST

START_TEST(the_unnamed_files_directory_is_named)
{
	static const struct {
		const char *dir;
		int error;
		const char *says;
	} bad[] = {
		{"/no/such/place", -ENOENT, "'/no/such/place' (set TMPDIR"},
		{"/etc/passwd", -ENOTDIR, "'/etc/passwd' (set TMPDIR"},
	};
	struct gmm_store *st;
	char error[256];

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setenv("TMPDIR", bad[i].dir, 1);
		ck_assert_int_eq(parse("file", &st, error), bad[i].error);
		ck_assert_msg(strstr(error, bad[i].says), "'%s'", error);
		ck_assert_msg(strstr(error, "no such directory"), "'%s'", error);
	}
}
END_TEST

START_TEST(a_short_buffer_is_enough_for_nothing)
{
	struct gmm_store *st = NULL;
	char error[4] = "xyz";

	ck_assert_int_eq(gmm_store_parse("nothing", 0, &st, error, sizeof(error)), -EINVAL);
	ck_assert_str_eq(error, "swa");
	ck_assert_int_eq(gmm_store_parse("nothing", 0, &st, NULL, 0), -EINVAL);
}
END_TEST

UNIT_MAIN("store_spec", good_descriptions, sizes_are_understood, bad_descriptions_are_explained,
	  the_unnamed_files_directory_is_named, a_short_buffer_is_enough_for_nothing)
