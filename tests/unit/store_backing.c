/* What a file store stands on: file systems without O_DIRECT, in memory, full; block devices. */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/file.h"
#include "store_help.h"

#define N	 512u
#define CAPACITY (UINT64_C(16) << 20)

static struct backing *backing_of(struct gmm_store *st)
{
	return &((struct file_store *)st)->backing;
}

static struct gmm_store *make(const char *path, bool no_uring)
{
	struct gmm_store_file_config config = {.size = sizeof(config),
					       .path = path,
					       .capacity_bytes = CAPACITY,
					       .no_uring = no_uring};
	struct gmm_store *st = NULL;

	ck_assert_int_eq(gmm_store_file_new(&config, &st), 0);
	return st;
}

static void check_round_trip(struct gmm_store *st)
{
	unsigned char *out = help_pages(N), *in = help_pages(N);
	uint64_t slots[N];
	int results[N];

	for (unsigned i = 0; i < N; i++)
		help_fill_noise(out + i * GMM_PAGE_BYTES, i);
	ck_assert_uint_eq(help_write(st, out, N, slots, NULL), 0);
	help_read(st, in, N, slots, results);
	for (unsigned i = 0; i < N; i++)
		ck_assert_int_eq(results[i], 0);
	ck_assert_int_eq(memcmp(in, out, N * GMM_PAGE_BYTES), 0);
	st->ops->release(st, slots, N);
	free(in);
	free(out);
}

/* A file system of this kind in a fresh directory, that goes when the store does. */
static struct gmm_store *store_on(const char *type, const char *options, bool no_uring)
{
	char dir[] = "/tmp/guestmm-test-XXXXXX", path[64];
	struct gmm_store *st;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	if (mount("none", dir, type, 0, options) < 0) {
		rmdir(dir);
		UNIT_SKIP("no %s can be mounted here", type);
	}
	snprintf(path, sizeof(path), "%s/swap", dir);
	st = make(path, no_uring);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	return st;
}

/* ramfs knows no O_DIRECT. */
START_TEST(a_file_system_without_o_direct_serves)
{
	struct gmm_store *st = store_on("ramfs", NULL, _i);

	ck_assert_uint_eq(help_stats(st).flags & GMM_STORE_DIRECT, 0);
	check_round_trip(st);
	gmm_store_free(st);
}
END_TEST

START_TEST(a_file_system_in_memory_serves)
{
	struct gmm_store *st = store_on("tmpfs", "size=32m", _i);

	check_round_trip(st);
	gmm_store_free(st);
}
END_TEST

static uint64_t blocks_bytes(int fd)
{
	struct stat file;

	ck_assert_int_eq(fstat(fd, &file), 0);
	return (uint64_t)file.st_blocks * 512;
}

START_TEST(a_file_grows_as_it_fills)
{
	struct gmm_store *st = make(NULL, _i);
	unsigned char *pages = help_pages(N);
	uint64_t slots[N], before = blocks_bytes(backing_of(st)->fd);

	ck_assert_uint_le(before, 1 << 20);
	help_fill_noise(pages, 1);
	for (unsigned i = 1; i < N; i++)
		memcpy(pages + i * GMM_PAGE_BYTES, pages, GMM_PAGE_BYTES);
	for (uint64_t i = 1; i <= CAPACITY / GMM_PAGE_BYTES / N; i++) {
		ck_assert_uint_eq(help_write(st, pages, N, slots, NULL), 0);
		ck_assert_uint_le(blocks_bytes(backing_of(st)->fd),
				  before + i * N * GMM_PAGE_BYTES + (64 << 10));
	}
	gmm_store_free(st);
	free(pages);
}
END_TEST

/* ---- Block devices ---- */

struct loop {
	int fd, file;
	char path[32];
};

/* A block device on a file of its own. */
static void loop_new(struct loop *l)
{
	const struct loop_info64 status = {.lo_flags = LO_FLAGS_AUTOCLEAR};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), number;

	if (control < 0)
		UNIT_SKIP("no block device can be made here");
	l->file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_ge(l->file, 0);
	ck_assert_int_eq(ftruncate(l->file, (off_t)CAPACITY), 0);
	for (unsigned i = 0; i < 50; i++) { /* others may be as quick */
		number = ioctl(control, LOOP_CTL_GET_FREE);
		snprintf(l->path, sizeof(l->path), "/dev/loop%d", number);
		l->fd = number < 0 ? -1 : open(l->path, O_RDWR | O_CLOEXEC);
		if (l->fd >= 0 && ioctl(l->fd, LOOP_SET_FD, l->file) == 0)
			break;
		if (l->fd >= 0)
			close(l->fd);
		l->fd = -1;
	}
	close(control);
	if (l->fd < 0)
		UNIT_SKIP("no loop device is free");
	/* It goes with whoever has it open last. */
	ck_assert_int_eq(ioctl(l->fd, LOOP_SET_STATUS64, &status), 0);
}

static void loop_free(struct loop *l)
{
	close(l->fd);
	close(l->file);
}

START_TEST(a_block_device_serves)
{
	struct gmm_store_file_config config = {.size = sizeof(config)};
	struct gmm_store *st, *other;
	struct loop l;

	loop_new(&l);
	st = make(l.path, _i);
	check_round_trip(st);
	config.path = l.path;
	config.capacity_bytes = CAPACITY;
	ck_assert_int_eq(gmm_store_file_new(&config, &other), -EBUSY);
	gmm_store_free(st);
	config.capacity_bytes *= 2;
	ck_assert_int_eq(gmm_store_file_new(&config, &st), -ENOSPC);
	loop_free(&l);
}
END_TEST

/* Free slots' blocks go back to the device, which gives them back to its file. */
static void check_discard(enum backing_trim trim, bool no_uring)
{
	struct gmm_store *st;
	unsigned char *pages = help_pages(N);
	uint64_t slots[6][N], full;
	struct loop l;

	loop_new(&l);
	st = make(l.path, no_uring);
	backing_of(st)->trim = trim;
	help_fill_noise(pages, 1);
	for (unsigned i = 1; i < N; i++)
		memcpy(pages + i * GMM_PAGE_BYTES, pages, GMM_PAGE_BYTES);
	for (unsigned i = 0; i < 6; i++)
		ck_assert_uint_eq(help_write(st, pages, N, slots[i], NULL), 0);
	fsync(l.fd);
	fsync(l.file);
	full = blocks_bytes(l.file);
	ck_assert_uint_ge(full, 6 * N * GMM_PAGE_BYTES);
	for (unsigned i = 0; i < 6; i++)
		st->ops->release(st, slots[i], N);
	for (unsigned i = 0; i < 400 && blocks_bytes(l.file) > full / 8; i++) {
		st->ops->maintain(st);
		usleep(1000);
		ck_assert_ptr_null(st->ops->reap(st));
	}
	ck_assert_uint_le(blocks_bytes(l.file), full / 8);
	ck_assert_int_ne(backing_of(st)->trim, BACKING_TRIM_NOT);
	check_round_trip(st);
	gmm_store_free(st);
	loop_free(&l);
	free(pages);
}

START_TEST(a_device_gets_its_blocks_back)
{
	check_discard(BACKING_TRIM_COMMAND, _i);
}
END_TEST

START_TEST(a_device_gets_its_blocks_back_by_ioctl)
{
	check_discard(BACKING_TRIM_IOCTL, _i);
}
END_TEST

/* A file knows no discard: what fails once is not tried for ever, and costs nothing else. */
START_TEST(blocks_that_cannot_be_given_back_stay)
{
	struct gmm_store *st = make(NULL, _i);
	unsigned char *pages = help_pages(N);
	uint64_t slots[N];

	backing_of(st)->trim = BACKING_TRIM_COMMAND;
	help_fill_noise(pages, 1);
	ck_assert_uint_eq(help_write(st, pages, N, slots, NULL), 0);
	st->ops->release(st, slots, N);
	for (unsigned i = 0; i < 400 && backing_of(st)->trim != BACKING_TRIM_NOT; i++) {
		st->ops->maintain(st);
		usleep(1000);
		ck_assert_ptr_null(st->ops->reap(st));
	}
	ck_assert_int_eq(backing_of(st)->trim, BACKING_TRIM_NOT);
	ck_assert_int_eq(st->ops->maintain(st), 0);
	check_round_trip(st);
	gmm_store_free(st);
	free(pages);
}
END_TEST

/* Without io_uring and with it. */
UNIT_MAIN_LOOP("store_backing", 2, 60, a_file_system_without_o_direct_serves,
	       a_file_system_in_memory_serves, a_file_grows_as_it_fills, a_block_device_serves,
	       a_device_gets_its_blocks_back, a_device_gets_its_blocks_back_by_ioctl,
	       blocks_that_cannot_be_given_back_stay)
