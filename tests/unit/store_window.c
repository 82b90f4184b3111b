/* Windows on files: what is read, what lies behind the end, what is no file. */
#include "store/window.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "store_help.h"

static int temporary_file(size_t bytes)
{
	char path[] = "/tmp/guestmm-window-XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	unlink(path);
	for (size_t i = 0; i < bytes; i++) {
		char byte = (char)(i % 253);

		ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)i), 1);
	}
	return fd;
}

/* The result of reading one page. */
static int read_slot(struct gmm_store *st, uint64_t slot, void *page)
{
	struct gmm_store_io io = {.verb = GMM_STORE_READ, .slot = slot, .page = page}, *list = &io;

	ck_assert_int_eq(st->ops->submit(st, &list, 1), 0);
	help_wait(st, 1);
	return io.result;
}

START_TEST(pages_are_the_files)
{
	unsigned char *page = help_pages(1);
	int fd = temporary_file(10000);
	struct gmm_store *st;

	ck_assert_int_eq(store_window_new(fd, 10000, &st), 0);
	close(fd); /* it has its own */
	for (unsigned slot = 0; slot < 3; slot++) {
		memset(page, 0xff, GMM_PAGE_BYTES);
		ck_assert_int_eq(read_slot(st, slot, page), 0);
		for (unsigned i = 0; i < GMM_PAGE_BYTES; i++) {
			unsigned at = slot * (unsigned)GMM_PAGE_BYTES + i;

			ck_assert_uint_eq(page[i], at < 10000 ? at % 253 : 0);
		}
	}
	gmm_store_free(st);
	free(page);
}
END_TEST

START_TEST(a_window_may_be_shorter_than_its_file)
{
	unsigned char *page = help_pages(1);
	int fd = temporary_file(10000);
	struct gmm_store *st;

	ck_assert_int_eq(store_window_new(fd, 5000, &st), 0);
	ck_assert_int_eq(read_slot(st, 1, page), 0);
	ck_assert_uint_eq(page[0], 4096 % 253);
	ck_assert_uint_eq(page[5000 - 4096 - 1], 4999 % 253);
	ck_assert_uint_eq(page[5000 - 4096], 0); /* no byte of what is not shown */
	gmm_store_free(st);
	close(fd);
	free(page);
}
END_TEST

START_TEST(a_file_cut_short_is_an_error_not_zeros)
{
	unsigned char *page = help_pages(1);
	int fd = temporary_file(10000);
	struct gmm_store *st;

	ck_assert_int_eq(store_window_new(fd, 10000, &st), 0);
	ck_assert_int_eq(read_slot(st, 1, page), 0);
	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	ck_assert_int_eq(read_slot(st, 0, page), 0);
	ck_assert_int_eq(read_slot(st, 1, page), -EIO);
	ck_assert_int_eq(read_slot(st, 2, page), -EIO);
	gmm_store_free(st);
	close(fd);
	free(page);
}
END_TEST

START_TEST(what_is_no_file_is_refused)
{
	int fd = temporary_file(100), pipes[2], dir = open("/tmp", O_RDONLY | O_DIRECTORY);
	struct gmm_store *st = NULL;

	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(store_window_new(-1, 100, &st), -EBADF);
	ck_assert_int_eq(store_window_new(dir, 100, &st), -EISDIR);
	ck_assert_int_eq(store_window_new(pipes[0], 100, &st), -EINVAL);
	ck_assert_int_eq(store_window_new(fd, 101, &st), -ENODATA);
	ck_assert_ptr_null(st);
	close(pipes[0]);
	close(pipes[1]);
	close(dir);
	close(fd);
}
END_TEST

UNIT_MAIN("store_window", pages_are_the_files, a_window_may_be_shorter_than_its_file,
	  a_file_cut_short_is_an_error_not_zeros, what_is_no_file_is_refused)
