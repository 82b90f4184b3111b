/* The file store: what comes back, how it is transferred, what is refused. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/file.h"
#include "store_help.h"

#define N 512u

static struct gmm_store *make(struct gmm_store_file_config config)
{
	struct gmm_store *st = NULL;

	config.size = sizeof(config);
	if (!config.capacity_bytes)
		config.capacity_bytes = 8 << 20;
	ck_assert_int_eq(gmm_store_file_new(&config, &st), 0);
	return st;
}

static int try_make(const char *path, uint64_t capacity)
{
	struct gmm_store_file_config config = {
		.size = sizeof(config), .path = path, .capacity_bytes = capacity};
	struct gmm_store *st = NULL;
	int error = gmm_store_file_new(&config, &st);

	if (error)
		ck_assert_ptr_null(st);
	gmm_store_free(st);
	return error;
}

/* A path in a fresh directory of its own. */
static const char *fresh_dir(void)
{
	static char dir[64];

	snprintf(dir, sizeof(dir), "/tmp/guestmm-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	return dir;
}

static uint64_t blocks_bytes(struct gmm_store *st)
{
	struct stat file;

	ck_assert_int_eq(fstat(((struct file_store *)st)->backing.fd, &file), 0);
	return (uint64_t)file.st_blocks * 512;
}

/* The slot that a page's name means. */
static uint64_t slot_of(struct gmm_store *st, uint64_t name)
{
	return sums_index(&((struct file_store *)st)->sums, name);
}

static void check_round_trip(struct gmm_store *st, unsigned n)
{
	unsigned char *out = help_pages(n), *in = help_pages(n);
	uint64_t *slots = calloc(n, sizeof(*slots));
	int *results = calloc(n, sizeof(*results));

	for (unsigned i = 0; i < n; i++)
		help_fill_noise(out + i * GMM_PAGE_BYTES, i);
	ck_assert_uint_eq(help_write(st, out, n, slots, NULL), 0);
	help_read(st, in, n, slots, results);
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(results[i], 0);
	ck_assert_int_eq(memcmp(in, out, n * GMM_PAGE_BYTES), 0);
	st->ops->release(st, slots, n);
	ck_assert_uint_eq(help_stats(st).n_slots_used, 0);
	free(results);
	free(slots);
	free(in);
	free(out);
}

START_TEST(pages_come_back_over_io_uring)
{
	struct gmm_store *st = make((struct gmm_store_file_config){0});

	ck_assert_int_ge(st->ops->fd(st), 0);
	ck_assert_uint_ne(help_stats(st).flags & GMM_STORE_ASYNC, 0);
	check_round_trip(st, N);
	gmm_store_free(st);
}
END_TEST

START_TEST(pages_come_back_without_io_uring)
{
	struct gmm_store *st = make((struct gmm_store_file_config){.no_uring = true});

	ck_assert_int_eq(st->ops->fd(st), -1);
	ck_assert_uint_eq(help_stats(st).flags & GMM_STORE_ASYNC, 0);
	check_round_trip(st, N);
	gmm_store_free(st);
}
END_TEST

START_TEST(pages_come_back_through_the_page_cache)
{
	struct gmm_store *st = make((struct gmm_store_file_config){.no_direct = true});

	ck_assert_uint_eq(help_stats(st).flags & GMM_STORE_DIRECT, 0);
	check_round_trip(st, N);
	gmm_store_free(st);
}
END_TEST

START_TEST(a_short_queue_only_takes_longer)
{
	struct gmm_store *st = make((struct gmm_store_file_config){.queue_depth = 1});

	check_round_trip(st, N);
	gmm_store_free(st);
}
END_TEST

START_TEST(neighbours_go_out_in_one_operation)
{
	struct gmm_store *st = make((struct gmm_store_file_config){0});
	void *pages = help_pages(N);
	uint64_t slots[N];
	int results[N];

	memset(pages, 1, N * GMM_PAGE_BYTES);
	help_write(st, pages, N, slots, NULL);
	for (unsigned i = 1; i < N; i++)
		ck_assert_uint_eq(slot_of(st, slots[i]), slot_of(st, slots[0]) + i);
	ck_assert_uint_eq(help_stats(st).writes, N / FILE_BATCH_PAGES);
	help_read(st, pages, N, slots, results);
	ck_assert_uint_eq(help_stats(st).reads, N / FILE_BATCH_PAGES);
	ck_assert_uint_eq(help_stats(st).read_bytes, N * GMM_PAGE_BYTES);
	gmm_store_free(st);
	free(pages);
}
END_TEST

/* 96 pages a time: some stand on both sides of where slots were got from the allocator. */
START_TEST(a_run_goes_on_across_refills)
{
	struct gmm_store *st = make((struct gmm_store_file_config){0});
	void *pages = help_pages(96);
	uint64_t slots[96];

	memset(pages, 1, 96 * GMM_PAGE_BYTES);
	for (unsigned i = 1; i <= 12; i++) {
		ck_assert_uint_eq(help_write(st, pages, 96, slots, NULL), 0);
		ck_assert_uint_eq(help_stats(st).writes, i);
	}
	gmm_store_free(st);
	free(pages);
}
END_TEST

START_TEST(a_full_store_refuses_and_keeps_what_it_has)
{
	struct gmm_store *st = make((struct gmm_store_file_config){.capacity_bytes = 1 << 20});
	unsigned char *pages = help_pages(300), *in = help_pages(256);
	uint64_t slots[300];
	int results[256], error = 0;

	for (unsigned i = 0; i < 300; i++)
		help_fill_noise(pages + i * GMM_PAGE_BYTES, i);
	ck_assert_uint_eq(help_write(st, pages, 300, slots, &error), 300 - 256);
	ck_assert_int_eq(error, -ENOSPC);
	help_read(st, in, 256, slots, results);
	ck_assert_int_eq(memcmp(in, pages, 256 * GMM_PAGE_BYTES), 0);
	st->ops->release(st, slots, 300); /* failed ones name no slot: ignored */
	ck_assert_uint_eq(help_stats(st).n_slots_used, 0);
	ck_assert_uint_eq(help_write(st, pages, 256, slots, NULL), 0);
	gmm_store_free(st);
	free(in);
	free(pages);
}
END_TEST

START_TEST(a_full_disk_costs_no_page)
{
	const char *dir = fresh_dir();
	char path[80];
	struct gmm_store *st;
	unsigned char *pages = help_pages(N), *in = help_pages(N);
	uint64_t slots[N];
	int results[1], error = 0;
	unsigned n_failed;

	if (mount("none", dir, "tmpfs", 0, "size=1280k") < 0) {
		printf("not run: no right to mount a small file system\n");
		rmdir(dir);
		return;
	}
	snprintf(path, sizeof(path), "%s/swap", dir);
	st = make((struct gmm_store_file_config){.path = path});
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	for (unsigned i = 0; i < N; i++)
		help_fill_noise(pages + i * GMM_PAGE_BYTES, i);
	n_failed = help_write(st, pages, N, slots, &error);
	ck_assert_int_eq(error, -ENOSPC);
	ck_assert_uint_ge(N - n_failed, 256);
	ck_assert_uint_gt(n_failed, 0);
	for (unsigned i = 0; i < N; i++) {
		if (slots[i] == GMM_SLOT_NONE)
			continue;
		help_read(st, in, 1, &slots[i], results);
		ck_assert_int_eq(results[0], 0);
		ck_assert_int_eq(memcmp(in, pages + i * GMM_PAGE_BYTES, GMM_PAGE_BYTES), 0);
	}
	st->ops->release(st, slots, N);
	ck_assert_uint_eq(help_write(st, pages, 128, slots, NULL), 0);
	gmm_store_free(st);
	free(in);
	free(pages);
}
END_TEST

/* RLIMIT_FSIZE makes the kernel write a part, then refuse. */
static void check_short_writes(bool no_uring)
{
	struct gmm_store *st = make((struct gmm_store_file_config){.no_uring = no_uring});
	unsigned char *pages = help_pages(64), *in = help_pages(64);
	struct rlimit limit;
	uint64_t slots[64];
	int results[64], error = 0;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = 10 * GMM_PAGE_BYTES + 1024;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (unsigned i = 0; i < 64; i++)
		help_fill_noise(pages + i * GMM_PAGE_BYTES, i);
	ck_assert_uint_eq(help_write(st, pages, 64, slots, &error), 54);
	ck_assert_int_eq(error, -ENOSPC);
	help_read(st, in, 10, slots, results);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_int_eq(results[i], 0);
	ck_assert_int_eq(memcmp(in, pages, 10 * GMM_PAGE_BYTES), 0);
	gmm_store_free(st);
	free(in);
	free(pages);
}

START_TEST(a_short_write_ends_page_by_page)
{
	check_short_writes(false);
}
END_TEST

START_TEST(a_short_write_ends_page_by_page_without_io_uring)
{
	check_short_writes(true);
}
END_TEST

START_TEST(a_changed_byte_is_noticed)
{
	struct gmm_store *st = make((struct gmm_store_file_config){0});
	unsigned char *pages = help_pages(3);
	uint64_t slots[3];
	int results[3], fd;
	char path[64];

	memset(pages, 7, 3 * GMM_PAGE_BYTES);
	help_write(st, pages, 3, slots, NULL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ((struct file_store *)st)->backing.fd);
	fd = open(path, O_WRONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, "x", 1, (off_t)(slot_of(st, slots[1]) * GMM_PAGE_BYTES + 4095)),
			 1);
	close(fd);
	help_read(st, pages, 3, slots, results);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], -EBADMSG);
	ck_assert_int_eq(results[2], 0);
	ck_assert_uint_eq(help_stats(st).errors, 1);
	gmm_store_free(st);
	free(pages);
}
END_TEST

START_TEST(a_file_cut_short_costs_only_the_pages_in_it)
{
	struct gmm_store *st = make((struct gmm_store_file_config){0});
	unsigned char *pages = help_pages(8);
	uint64_t slots[8];
	int results[8];

	memset(pages, 7, 8 * GMM_PAGE_BYTES);
	help_write(st, pages, 8, slots, NULL);
	ck_assert_int_eq(ftruncate(((struct file_store *)st)->backing.fd, 5 * GMM_PAGE_BYTES), 0);
	help_read(st, pages, 8, slots, results);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(results[i], i < 5 ? 0 : -EIO);
	gmm_store_free(st);
	free(pages);
}
END_TEST

/* One page of those read together cannot be written to. */
static void check_one_bad_page(bool no_uring)
{
	struct gmm_store *st = make((struct gmm_store_file_config){.no_uring = no_uring});
	unsigned char *pages = help_pages(8), *in = help_pages(8);
	uint64_t slots[8];
	int results[8];

	for (unsigned i = 0; i < 8; i++)
		help_fill_noise(pages + i * GMM_PAGE_BYTES, i);
	ck_assert_uint_eq(help_write(st, pages, 8, slots, NULL), 0);
	ck_assert_int_eq(mprotect(in + 3 * GMM_PAGE_BYTES, GMM_PAGE_BYTES, PROT_READ), 0);
	help_read(st, in, 8, slots, results);
	ck_assert_int_eq(mprotect(in + 3 * GMM_PAGE_BYTES, GMM_PAGE_BYTES, PROT_READ | PROT_WRITE),
			 0);
	for (unsigned i = 0; i < 8; i++) {
		ck_assert_int_eq(results[i], i == 3 ? -EIO : 0);
		if (i != 3)
			ck_assert_int_eq(memcmp(in + i * GMM_PAGE_BYTES, pages + i * GMM_PAGE_BYTES,
						GMM_PAGE_BYTES),
					 0);
	}
	gmm_store_free(st);
	free(in);
	free(pages);
}

START_TEST(an_error_costs_only_its_page)
{
	check_one_bad_page(false);
}
END_TEST

START_TEST(an_error_costs_only_its_page_without_io_uring)
{
	check_one_bad_page(true);
}
END_TEST

/* The file's descriptor is exchanged for one that refuses writes. */
START_TEST(places_that_fail_are_not_used_again)
{
	struct gmm_store *st = make((struct gmm_store_file_config){0});
	int *fd = &((struct file_store *)st)->backing.fd, good = *fd, error = 0;
	unsigned char *pages = help_pages(8), *in = help_pages(8);
	uint64_t slots[8], bad[8], n_slots = help_stats(st).n_slots;
	int results[8];
	char path[64];

	for (unsigned i = 0; i < 8; i++)
		help_fill_noise(pages + i * GMM_PAGE_BYTES, i);
	ck_assert_uint_eq(help_write(st, pages, 8, slots, NULL), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", good);
	*fd = open(path, O_RDONLY);
	ck_assert_uint_eq(help_write(st, pages, 8, bad, &error), 8);
	ck_assert_int_eq(error, -EIO);
	close(*fd);
	*fd = good;
	ck_assert_uint_eq(help_stats(st).n_slots, n_slots - 8);
	ck_assert_uint_eq(help_stats(st).n_slots_used, 8);
	help_read(st, in, 8, slots, results);
	ck_assert_int_eq(memcmp(in, pages, 8 * GMM_PAGE_BYTES), 0);
	ck_assert_uint_eq(help_write(st, pages, 8, bad, NULL), 0);
	ck_assert_uint_ge(slot_of(st, bad[0]), slot_of(st, slots[7]) + 9);
	gmm_store_free(st);
	free(in);
	free(pages);
}
END_TEST

START_TEST(a_slot_released_under_a_read_is_not_reused_before_it_ends)
{
	struct gmm_store *st = make((struct gmm_store_file_config){.capacity_bytes = 1 << 20});
	unsigned char *pages = help_pages(256), *in = help_pages(2);
	struct gmm_store_io reads[2], *list[2] = {&reads[0], &reads[1]};
	uint64_t slots[256], fresh[256];

	for (unsigned i = 0; i < 256; i++)
		help_fill_noise(pages + i * GMM_PAGE_BYTES, i);
	ck_assert_uint_eq(help_write(st, pages, 256, slots, NULL), 0);
	for (unsigned i = 0; i < 2; i++)
		reads[i] = (struct gmm_store_io){
			.verb = GMM_STORE_READ, .slot = slots[9], .page = in + i * GMM_PAGE_BYTES};
	ck_assert_int_eq(st->ops->submit(st, list, 2), 0);
	st->ops->release(st, &slots[9], 1);
	st->ops->release(st, &slots[9], 1);
	ck_assert_uint_eq(help_stats(st).n_slots_used, 256);
	help_wait(st, 2);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(reads[i].result, 0);
		ck_assert_int_eq(
			memcmp(in + i * GMM_PAGE_BYTES, pages + 9 * GMM_PAGE_BYTES, GMM_PAGE_BYTES),
			0);
	}
	ck_assert_uint_eq(help_stats(st).n_slots_used, 255);
	ck_assert_uint_eq(help_write(st, pages, 1, fresh, NULL), 0);
	ck_assert_uint_eq(slot_of(st, fresh[0]), slot_of(st, slots[9]));
	ck_assert_int_eq(st->ops->submit(st, list, 2), 0);
	gmm_store_free(st); /* waits */
	free(in);
	free(pages);
}
END_TEST

START_TEST(reads_of_nothing_are_refused)
{
	struct gmm_store *st = make((struct gmm_store_file_config){0});
	unsigned char *page = help_pages(2);
	struct gmm_store_io io = {.verb = GMM_STORE_READ, .page = page}, *list[] = {&io};
	const uint64_t wild[] = {0, 5, GMM_SLOT_NONE, UINT64_MAX};

	for (unsigned i = 0; i < 4; i++) {
		io.slot = wild[i];
		ck_assert_int_eq(st->ops->submit(st, list, 1), -EINVAL);
	}
	st->ops->release(st, wild, 4);
	io.verb = GMM_STORE_WRITE;
	io.page = page + 512;
	ck_assert_int_eq(st->ops->submit(st, list, 1), -EINVAL);
	ck_assert_ptr_null(st->ops->reap(st));
	gmm_store_free(st);
	free(page);
}
END_TEST

static void maintain_all(struct gmm_store *st)
{
	for (unsigned i = 0; i < 200; i++) {
		st->ops->maintain(st);
		usleep(1000);
		ck_assert_ptr_null(st->ops->reap(st));
		if (blocks_bytes(st) < 1 << 20)
			break;
	}
}

static void check_punch(bool no_uring)
{
	struct gmm_store *st = make(
		(struct gmm_store_file_config){.capacity_bytes = 64 << 20, .no_uring = no_uring});
	unsigned char *pages = help_pages(N);
	uint64_t slots[16][N];
	uint64_t full;

	help_fill_noise(pages, 1);
	for (unsigned i = 0; i < 16; i++)
		ck_assert_uint_eq(help_write(st, pages, N, slots[i], NULL), 0);
	full = blocks_bytes(st);
	ck_assert_uint_ge(full, 32 << 20);
	ck_assert_int_eq(st->ops->maintain(st), 0); /* nothing to do */
	for (unsigned i = 0; i < 16; i++)
		st->ops->release(st, slots[i], N);
	maintain_all(st);
	ck_assert_uint_lt(blocks_bytes(st), full / 16);
	ck_assert_uint_eq(((struct file_store *)st)->slots.n_stale, 0); /* and it knows */
	check_round_trip(st, N);
	gmm_store_free(st);
	free(pages);
}

START_TEST(blocks_go_back_to_the_file_system)
{
	check_punch(false);
}
END_TEST

START_TEST(blocks_go_back_without_io_uring)
{
	check_punch(true);
}
END_TEST

START_TEST(bad_paths_are_refused)
{
	const char *dir = fresh_dir();
	char path[96];
	FILE *file;

	ck_assert_int_eq(try_make(dir, 8 << 20), -EISDIR);
	snprintf(path, sizeof(path), "%s/no/where", dir);
	ck_assert_int_eq(try_make(path, 8 << 20), -ENOENT);
	snprintf(path, sizeof(path), "%s/file", dir);
	ck_assert_int_eq(try_make(path, 8 << 20), 0);
	ck_assert_int_eq(access(path, F_OK), -1); /* no name is left behind */
	file = fopen(path, "w");
	fputs("precious", file);
	fclose(file);
	ck_assert_int_eq(try_make(path, 8 << 20), -EEXIST);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(symlink("/nowhere/at/all", path), 0);
	ck_assert_int_eq(try_make(path, 8 << 20), -EEXIST);
	unlink(path);
	ck_assert_int_eq(chmod(dir, 0500), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(try_make(path, 8 << 20), -EACCES);
	ck_assert_int_eq(seteuid(getuid()), 0);
	rmdir(dir);
}
END_TEST

START_TEST(bad_capacities_are_refused)
{
	struct rlimit limit = {.rlim_cur = 4 << 20, .rlim_max = RLIM_INFINITY};

	ck_assert_int_eq(try_make(NULL, 0), -EINVAL);
	ck_assert_int_eq(try_make(NULL, (1 << 20) - 4096), -EINVAL);
	ck_assert_int_eq(try_make(NULL, (1 << 20) + 1), -EINVAL);
	ck_assert_int_eq(try_make(NULL, UINT64_MAX & ~UINT64_C(4095)), -EINVAL);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(try_make(NULL, 8 << 20), -EFBIG);
	ck_assert_int_eq(try_make(NULL, 4 << 20), 0);
}
END_TEST

START_TEST(bookkeeping_grows_with_use)
{
	struct gmm_store *st =
		make((struct gmm_store_file_config){.capacity_bytes = UINT64_C(1) << 32});
	uint64_t before = help_stats(st).metadata_bytes, slots[N];
	void *pages = help_pages(N);

	memset(pages, 3, N * GMM_PAGE_BYTES);
	ck_assert_uint_lt(before, 1 << 20);
	help_write(st, pages, N, slots, NULL);
	ck_assert_uint_le(help_stats(st).metadata_bytes - before, N * 9);
	gmm_store_free(st);
	free(pages);
}
END_TEST

UNIT_MAIN("store_file", pages_come_back_over_io_uring, pages_come_back_without_io_uring,
	  pages_come_back_through_the_page_cache, a_short_queue_only_takes_longer,
	  neighbours_go_out_in_one_operation, a_run_goes_on_across_refills,
	  a_full_store_refuses_and_keeps_what_it_has, a_full_disk_costs_no_page,
	  a_short_write_ends_page_by_page, a_short_write_ends_page_by_page_without_io_uring,
	  a_changed_byte_is_noticed, a_file_cut_short_costs_only_the_pages_in_it,
	  places_that_fail_are_not_used_again, an_error_costs_only_its_page,
	  an_error_costs_only_its_page_without_io_uring,
	  a_slot_released_under_a_read_is_not_reused_before_it_ends, reads_of_nothing_are_refused,
	  blocks_go_back_to_the_file_system, blocks_go_back_without_io_uring, bad_paths_are_refused,
	  bad_capacities_are_refused, bookkeeping_grows_with_use)
