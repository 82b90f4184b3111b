/* Pages that leave: rows 7, 8, 10, 11.
 *
 *  7  512 MiB of noise are evicted to a file; floor: io_uring writes as much to such a file, in
 *     order
 *  8  the limit is lowered by 1 GiB, and as much of the guest's memory is zero, or is given to the
 *     balloon; floor: madvise(MADV_DONTNEED) of as much memory with pages of the same size
 * 10  how long faults take while 512 MiB are written back; floor: the same faults while nothing
 *     else happens
 * 11  bookkeeping; floor: the number of pages
 * Row 8 stands a second time for pages of 2 MiB, with floors that have no goal but tell why the
 * first ones' are missed: memory that userfaultfd has moved in, dropped in steps as the library has
 * to, and read before, where only reading tells that it is zero.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/accesses.h"
#include "lib/bare_vm.h"
#include "lib/harness.h"
#include "lib/managed.h"
#include "lib/moved.h"
#include "lib/placement.h"
#include "lib/scratch.h"

#define MIB   UINT64_C(1048576)
#define SPARE (64 * MIB)

/* ---- Row 7: to a file ---- */

#define OUT_BYTES	(512 * MIB)
#define OUT_BYTES_QUICK (8 * MIB)
#define NOISE		511u
#define DEPTH		8u
#define WRITE_BYTES	MIB

static uint64_t out_bytes(bool quick)
{
	return quick ? OUT_BYTES_QUICK : OUT_BYTES;
}

static double mib_a_second(uint64_t bytes, uint64_t ns)
{
	return (double)bytes / (double)MIB / ((double)ns / 1e9);
}

static void out_ours(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const uint64_t bytes = out_bytes(quick);
	struct managed m;
	struct bare_vm vm;

	(void)row;
	managed_new(&m, bytes, bytes + SPARE, managed_store("file", 2 * bytes), placement_at(0));
	bare_vm_new(&vm, 1, m.data, bytes);
	managed_fill(&vm, bytes, NOISE);
	managed_mark(&m);
	bench_begin(out);
	managed_swap_out(&m, bytes);
	bench_end(out);
	managed_count(&m, out);
	out->value[0] = mib_a_second(bytes, out->elapsed_ns);
	managed_detach(&m);
	bare_vm_free(&vm);
	managed_free(&m);
}

/* Keeps DEPTH writes under way until all is written. */
static void write_all(int fd, char *data, uint64_t bytes)
{
	struct io_uring ring;
	uint64_t next = 0, n_under_way = 0;

	if (io_uring_queue_init(DEPTH, &ring, 0))
		bench_unavailable("no io_uring here");
	while (next < bytes || n_under_way) {
		struct io_uring_cqe *cqe;

		while (next < bytes && n_under_way < DEPTH) {
			io_uring_prep_write(io_uring_get_sqe(&ring), fd, data + next,
					    (unsigned)WRITE_BYTES, next);
			next += WRITE_BYTES;
			n_under_way++;
		}
		if (io_uring_submit_and_wait(&ring, 1) < 0 || io_uring_wait_cqe(&ring, &cqe))
			bench_die("io_uring: %s", strerror(errno));
		if (cqe->res != (int)WRITE_BYTES)
			bench_die("writing to a file: %s", strerror(-cqe->res));
		io_uring_cqe_seen(&ring, cqe);
		n_under_way--;
	}
	io_uring_queue_exit(&ring);
}

static void out_floor(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const uint64_t bytes = out_bytes(quick);
	int fd = scratch_new(2 * bytes);
	char *data = bare_data_new(bytes, false);

	(void)row;
	for (uint64_t page = 0; page < bytes / BARE_PAGE; page++)
		guest_fill_page((uint64_t *)(void *)(data + page * BARE_PAGE), page, NOISE);
	bench_begin(out);
	write_all(fd, data, bytes);
	bench_end(out);
	bench_count(out, "written_bytes", bytes);
	out->value[0] = mib_a_second(bytes, out->elapsed_ns);
	bare_data_free(data, bytes);
	close(fd);
}

/* ---- Row 8: a lower limit ---- */

#define LOWER_BYTES	  (1024 * MIB)
#define LOWER_BYTES_QUICK (16 * MIB)
#define KEPT_BYTES	  (16 * MIB)
#define BALLOON_BATCH	  512u

struct lower {
	bool ballooned, huge;
};

static uint64_t lower_bytes(bool quick)
{
	return quick ? LOWER_BYTES_QUICK : LOWER_BYTES;
}

static bool is_within_limit(struct managed *m, uint64_t unused)
{
	struct gmm_pool_stats stats = {.size = sizeof(stats)};

	(void)unused;
	gmm_pool_stats(m->pool, &stats);
	return stats.used_bytes <= stats.limit_bytes;
}

/* As a guest does, a batch of neighbours at a time. */
static void give_to_balloon(struct managed *m, uint64_t bytes)
{
	struct gmm_balloon_config config = {.size = sizeof(config), .space = m->space};
	struct gmm_balloon *balloon;
	gmm_gfn gfns[BALLOON_BATCH];

	if (gmm_balloon_new(&config, &balloon))
		bench_die("gmm_balloon_new");
	for (uint64_t page = 0; page < bytes / BARE_PAGE; page += BALLOON_BATCH) {
		for (unsigned i = 0; i < BALLOON_BATCH; i++)
			gfns[i].v = BARE_DATA_GPA / BARE_PAGE + page + i;
		if (gmm_balloon_give(balloon, gfns, BALLOON_BATCH) != BALLOON_BATCH)
			bench_die("gmm_balloon_give did not take all pages");
	}
	gmm_balloon_free(balloon);
}

static void lower_ours(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const struct lower *how = row->arg;
	const uint64_t bytes = lower_bytes(quick), all = bytes + KEPT_BYTES;
	struct guest_args touch = {.n = all / BARE_PAGE, .write = 1, .zero = 1};
	struct gmm_pool_stats before = {.size = sizeof(before)};
	struct managed m;
	struct bare_vm vm;
	int ret;

	managed_new(&m, all, all + SPARE, managed_store("file", all), placement_at(0));
	bare_vm_new(&vm, 1, m.data, all);
	bare_vm_run(&vm, 0, guest_in_order, &touch);
	gmm_pool_stats(m.pool, &before);
	managed_mark(&m);
	bench_begin(out);
	if (how->ballooned)
		give_to_balloon(&m, bytes);
	ret = gmm_pool_set_limit(m.pool, before.used_bytes - bytes);
	if (ret)
		bench_die("gmm_pool_set_limit: %s", strerror(-ret));
	managed_wait(&m, is_within_limit, 0);
	bench_end(out);
	managed_count(&m, out);
	out->value[0] = (double)out->elapsed_ns / 1e6;
	managed_detach(&m);
	bare_vm_free(&vm);
	managed_free(&m);
}

static void lower_floor(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const struct lower *how = row->arg;
	const uint64_t bytes = lower_bytes(quick), all = bytes + KEPT_BYTES;
	struct guest_args touch = {.n = all / BARE_PAGE, .write = 1, .zero = 1};
	void *data = bare_data_new(all, how->huge);
	struct bare_vm vm;

	bare_vm_new(&vm, 1, data, all);
	bare_vm_run(&vm, 0, guest_in_order, &touch);
	bench_begin(out);
	if (madvise(data, bytes, MADV_DONTNEED))
		bench_die("madvise: %s", strerror(errno));
	bench_end(out);
	out->value[0] = (double)out->elapsed_ns / 1e6;
	bare_vm_free(&vm);
	bare_data_free(data, all);
}

/* Reads all of a page, as who must know whether it is zero. */
static bool is_zero(const uint64_t *page)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < BARE_PAGE / sizeof(*page); i++)
		all |= page[i];
	return all == 0;
}

static void read_zeros(const struct moved *m, uint64_t bytes)
{
	for (uint64_t page = 0; page < bytes / BARE_PAGE; page++)
		if (!is_zero((const uint64_t *)((const char *)m->data + page * BARE_PAGE)))
			bench_die("page %llu is not zero", (unsigned long long)page);
}

/* The machine's share of it: no books, but the same sort of memory, looked at if the library has
 * to, and dropped by as many calls. */
static void lower_in_steps(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const struct lower *how = row->arg;
	const uint64_t bytes = lower_bytes(quick);
	struct guest_args touch = {.n = bytes / BARE_PAGE, .write = 1, .zero = 1};
	struct moved m;
	struct bare_vm vm;

	moved_new(&m, bytes + KEPT_BYTES);
	bare_vm_new(&vm, 1, m.data, m.bytes);
	bare_vm_run(&vm, 0, guest_in_order, &touch);
	bench_begin(out);
	if (!how->ballooned)
		read_zeros(&m, bytes);
	moved_drop(&m, bytes, BALLOON_BATCH * BARE_PAGE);
	bench_end(out);
	out->value[0] = (double)out->elapsed_ns / 1e6;
	bare_vm_free(&vm);
	moved_free(&m);
}

/* ---- Row 11: what bookkeeping takes ---- */

#define BOOK_BYTES	 (128 * MIB)
#define BOOK_BYTES_QUICK (16 * MIB)

/* After a guest of four times its limit has written all its memory and read it again. */
static void book_ours(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const uint64_t bytes = quick ? BOOK_BYTES_QUICK : BOOK_BYTES;
	struct guest_args load = {.n = bytes / BARE_PAGE};
	struct gmm_stats stats = {.size = sizeof(stats)};
	struct managed m;
	struct bare_vm vm;

	managed_new(&m, bytes, bytes / 4, managed_store(row->arg, 2 * bytes), placement_at(0));
	bare_vm_new(&vm, 1, m.data, bytes);
	managed_mark(&m);
	bench_begin(out);
	managed_fill(&vm, bytes, NOISE);
	bare_vm_run(&vm, 0, guest_in_order, &load);
	bench_end(out);
	managed_count(&m, out);
	gmm_space_stats(m.space, &stats);
	out->value[0] = (double)stats.metadata_bytes;
	managed_detach(&m);
	bare_vm_free(&vm);
	managed_free(&m);
}

static void book_floor(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	(void)row;
	out->value[0] = (double)(quick ? BOOK_BYTES_QUICK : BOOK_BYTES) / (double)BARE_PAGE;
}

/* ---- Row 10: faults beside a writeback ---- */

#define APART	    4u	  /* pages: none is another's neighbour */
#define CHUNK	    128u  /* faults between two looks at the writeback */
#define N_TOUCHES   8192u /* at most */
#define N_IDLE	    2048u
#define TOUCH_BYTES accesses_bytes(N_TOUCHES, 0, APART)

static void beside_chunk(struct accesses *a, struct bare_vm *vm)
{
	a->run.n = CHUNK;
	bare_vm_run(vm, 0, guest_by_list, &a->run);
	a->n += CHUNK;
	a->run.list += CHUNK * sizeof(uint32_t);
	a->run.log += CHUNK * sizeof(uint32_t);
}

static void beside_swap_out(struct managed *m, struct bare_vm *vm, uint64_t base)
{
	struct guest_args fill = {.base = base, .n = TOUCH_BYTES / BARE_PAGE, .n_noise = NOISE};

	bare_vm_run(vm, 0, guest_fill, &fill);
	managed_swap_out(m, TOUCH_BYTES);
}

/* Nearly all of it is in the file: the rest may be pages that were touched meanwhile. */
static bool beside_is_over(const struct managed *m, uint64_t bytes)
{
	struct gmm_stats now = {.size = sizeof(now)};

	gmm_space_stats(m->space, &now);
	return now.io.written_bytes - m->before.io.written_bytes >= bytes - bytes / 16;
}

/* arg: from a file, or NULL: first touches. */
static void beside_run(const struct bench_row *row, bool quick, bool writeback,
		       struct bench_sample *out)
{
	const uint64_t bytes = out_bytes(quick), all = bytes + TOUCH_BYTES;
	const uint64_t n_idle = quick ? CHUNK : N_IDLE;
	struct managed m;
	struct bare_vm vm;
	struct accesses a;

	managed_new(&m, all, all + SPARE, managed_store("file", 2 * all), placement_at(0));
	bare_vm_new(&vm, 1, m.data, all);
	accesses_new(&a, &vm, BARE_DATA_GPA + bytes, N_TOUCHES, 0, APART);
	a.n = 0;
	a.run.zero = row->arg == NULL;
	if (row->arg)
		beside_swap_out(&m, &vm, a.run.base);
	managed_fill(&vm, bytes, NOISE);
	managed_mark(&m);
	if (writeback && gmm_space_reclaim(m.space, bytes / BARE_PAGE))
		bench_die("gmm_space_reclaim");
	bench_begin(out);
	do
		beside_chunk(&a, &vm);
	while (a.n < N_TOUCHES && (writeback ? !beside_is_over(&m, bytes) : a.n < n_idle));
	bench_end(out);
	managed_count(&m, out);
	bench_count(out, "accesses", a.n);
	out->value[1] = bench_ticks_ns(bench_percentile(a.log, a.n, 0.5)) / 1e3;
	out->value[0] = bench_ticks_ns(bench_percentile(a.log, a.n, 0.99)) / 1e3;
	managed_detach(&m);
	bare_vm_free(&vm);
	managed_free(&m);
}

static void beside_ours(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	beside_run(row, quick, true, out);
}

static void beside_floor(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	beside_run(row, quick, false, out);
}

static const struct lower zero_small = {false, false}, zero_huge = {false, true};
static const struct lower given_small = {true, false}, given_huge = {true, true};

#define LOWER_ROW(what, how, most, floor_is, floor_fn)                                             \
	{                                                                                          \
		.number = 8, .title = "limit lowered by 1 GiB", .variant = what,                   \
		.against = floor_is, .metrics = {{"time", "ms", most, '<'}}, .ours = lower_ours,   \
		.floor = floor_fn, .arg = &(how)                                                   \
	}

#define DONTNEED "madvise(MADV_DONTNEED), "

#define BESIDE_ROW(what, how)                                                                      \
	{                                                                                          \
		.number = 10, .title = "faults beside a writeback", .variant = what,               \
		.against = "the same, idle",                                                       \
		.metrics = {{"p99", "us", 3, '<'}, {"p50", "us", 0, 0}}, .ours = beside_ours,      \
		.floor = beside_floor, .arg = how                                                  \
	}

static const struct bench_row rows[] = {
	{.number = 7,
	 .title = "eviction of noise to a file",
	 .against = "io_uring: O_DIRECT writes of 1 MiB, 8 under way",
	 .metrics = {{"throughput", "MiB/s", 0.85, '>'}},
	 .ours = out_ours,
	 .floor = out_floor},
	LOWER_ROW("zero, 4 KiB", zero_small, 1.3, DONTNEED "4 KiB pages", lower_floor),
	LOWER_ROW("zero, 2 MiB", zero_huge, 1.3, DONTNEED "2 MiB pages", lower_floor),
	LOWER_ROW("ballooned, 4 KiB", given_small, 1.3, DONTNEED "4 KiB pages", lower_floor),
	LOWER_ROW("ballooned, 2 MiB", given_huge, 1.3, DONTNEED "2 MiB pages", lower_floor),
	{.number = 11,
	 .title = "bookkeeping",
	 .variant = "file",
	 .against = "the guest's pages",
	 .metrics = {{"bytes", "/pages", 16, '<'}},
	 .ours = book_ours,
	 .floor = book_floor,
	 .arg = "file"},
	BESIDE_ROW("first touch", NULL),
	BESIDE_ROW("swap-in", "file"),
#define N_WHY 2u /* the last ones take a kernel that moves pages */
	LOWER_ROW("zero, 2 MiB, why", zero_huge, 0, DONTNEED "2 MiB pages moved in, read before",
		  lower_in_steps),
	LOWER_ROW("ballooned, 2 MiB, why", given_huge, 0, DONTNEED "2 MiB pages moved in, each",
		  lower_in_steps),
};

int main(int argc, char **argv)
{
	placement_pin(placement_at(0)->vcpu);
	return bench_main(argc, argv, rows,
			  sizeof(rows) / sizeof(rows[0]) - (moved_is_possible() ? 0 : N_WHY));
}
