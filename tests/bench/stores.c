/* Stores against the bare thing they stand on, each in turn, in one run.
 *
 *   write   pages that nothing compresses, in order, to a fresh file: raw io_uring writes of as
 * many bytes each, with as many bytes under way read    one page at a time, at random: pread() with
 * O_DIRECT ram     pages in and out: LZ4 alone, a checksum not included sum     the checksum alone,
 * against memcpy() of a page
 *
 * usage: bench_stores [--quick]      --quick: less data, fewer rounds
 *
 * Each round runs ours and the floor; which goes first alternates. Printed are medians and the
 * median of the rounds' ratios: for throughput ours / floor (more is better), for times too
 * (less is better). Beside them stand events: operations on the device, system calls.
 */
#include <errno.h>
#include <fcntl.h>
#include <guestmm/store.h>
#include <liburing.h>
#include <lz4.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define MAX_ROUNDS 15u
#define MAX_FLIGHT 1024u

static unsigned n_rounds = 9;
static uint64_t n_write_pages = 131072; /* 512 MiB */
static unsigned n_reads = 4000;
static unsigned n_ram_pages = 8192;

static void die(const char *what)
{
	fprintf(stderr, "bench_stores: %s\n", what);
	exit(1);
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const double *values, unsigned n)
{
	double sorted[MAX_ROUNDS];

	memcpy(sorted, values, n * sizeof(*values));
	qsort(sorted, n, sizeof(*sorted), by_value);
	return sorted[n / 2];
}

static void *pages_new(size_t n)
{
	void *pages = aligned_alloc(GMM_PAGE_BYTES, n * GMM_PAGE_BYTES);

	if (!pages)
		die("out of memory");
	memset(pages, 0, n * GMM_PAGE_BYTES);
	return pages;
}

static uint64_t rng(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void fill_noise(char *pages, size_t n)
{
	uint64_t seed = 88172645463325252;

	for (size_t i = 0; i < n * GMM_PAGE_BYTES; i += 8) {
		uint64_t v = rng(&seed);

		memcpy(pages + i, &v, 8);
	}
}

/* Words from a small vocabulary, numbers between: shrinks to about a third, as a heap does. */
static void fill_heap(char *pages, size_t n)
{
	static const char *const words[] = {"page ",  "frame ", "slot ",
					    "guest ", "host ",	"memory "};
	uint64_t seed = 1234567;
	size_t at = 0, end = n * GMM_PAGE_BYTES - 32;

	while (at < end) {
		const char *word = words[rng(&seed) % 6];
		uint64_t v = rng(&seed);

		memcpy(pages + at, word, strlen(word));
		at += strlen(word);
		if (v % 4 == 0) {
			memcpy(pages + at, &v, 8);
			at += 8;
		}
	}
}

/* ---- A measure: ours and the floor, in turn ---- */

struct measure {
	const char *name, *unit;
	double (*ours)(void *), (*floor)(void *);
	void *arg;
};

static void run(const struct measure *m)
{
	double ours[MAX_ROUNDS], bare[MAX_ROUNDS], ratio[MAX_ROUNDS];

	m->ours(m->arg); /* not counted: caches, the file system's first blocks */
	m->floor(m->arg);
	for (unsigned i = 0; i < n_rounds; i++) {
		if (i % 2)
			ours[i] = m->ours(m->arg);
		bare[i] = m->floor(m->arg);
		if (i % 2 == 0)
			ours[i] = m->ours(m->arg);
		ratio[i] = ours[i] / bare[i];
	}
	printf("%-34s %10.2f %10.2f %-7s %6.3f\n", m->name, median(ours, n_rounds),
	       median(bare, n_rounds), m->unit, median(ratio, n_rounds));
	fflush(stdout);
}

/* ---- Sequential writes ---- */

struct write_arg {
	unsigned batch, flight; /* pages */
	bool encrypt;
	char *pages; /* as many as in flight */
	uint64_t n_device_ops;
};

static struct gmm_store *store_new(const char *spec, bool encrypt)
{
	const struct gmm_store_parse_config config = {
		.size = sizeof(config), .encrypt = encrypt, .default_bytes = UINT64_C(1) << 30};
	struct gmm_store *st = NULL;
	char error[256];

	if (gmm_store_parse_with(spec, &config, &st, error, sizeof(error)))
		die(error);
	return st;
}

static void wait_readable(struct gmm_store *st)
{
	struct pollfd pfd = {.fd = st->ops->fd(st), .events = POLLIN};

	if (pfd.fd >= 0)
		while (poll(&pfd, 1, -1) < 0)
			;
}

static double write_ours(void *arg)
{
	struct write_arg *w = arg;
	struct gmm_store *st = store_new("file", w->encrypt);
	static struct gmm_store_io ios[MAX_FLIGHT];
	struct gmm_store_io *idle[MAX_FLIGHT], *list;
	struct gmm_store_stats stats;
	unsigned n_idle = 0;
	uint64_t begun = 0, ended = 0;
	double t = now_ns();

	for (unsigned i = 0; i < w->flight; i++) {
		ios[i] = (struct gmm_store_io){.verb = GMM_STORE_WRITE,
					       .page = w->pages + i * GMM_PAGE_BYTES};
		idle[w->flight - 1 - n_idle++] = &ios[i];
	}
	while (ended < n_write_pages) {
		while (n_idle >= w->batch && begun < n_write_pages) {
			n_idle -= w->batch;
			if (st->ops->submit(st, idle + n_idle, w->batch))
				die("submit failed");
			begun += w->batch;
		}
		wait_readable(st);
		for (list = st->ops->reap(st); list; list = list->next) {
			if (list->result)
				die("a write failed");
			idle[n_idle++] = list;
			ended++;
		}
	}
	t = now_ns() - t;
	st->ops->stats(st, &stats);
	w->n_device_ops = stats.writes;
	gmm_store_free(st);
	return (double)n_write_pages * GMM_PAGE_BYTES / t * 1e3;
}

static int file_new(void)
{
	const char *dir = getenv("TMPDIR");
	int fd = open(dir ? dir : "/var/tmp", O_TMPFILE | O_RDWR | O_DIRECT, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)1 << 30))
		die("no file with O_DIRECT in $TMPDIR or /var/tmp");
	return fd;
}

static double write_raw(void *arg)
{
	const struct write_arg *w = arg;
	unsigned depth = w->flight / w->batch, n_idle = 0, idle[MAX_FLIGHT];
	size_t bytes = w->batch * GMM_PAGE_BYTES;
	uint64_t total = n_write_pages * GMM_PAGE_BYTES, begun = 0, ended = 0;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int fd = file_new();
	double t;

	if (io_uring_queue_init(depth, &ring, 0))
		die("no io_uring");
	for (unsigned i = 0; i < depth; i++)
		idle[n_idle++] = i;
	t = now_ns();
	while (ended < total) {
		while (n_idle && begun < total) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
			unsigned at = idle[--n_idle];

			io_uring_prep_write(sqe, fd, w->pages + at * bytes, (unsigned)bytes, begun);
			io_uring_sqe_set_data64(sqe, at);
			begun += bytes;
		}
		io_uring_submit_and_wait(&ring, 1);
		while (io_uring_peek_cqe(&ring, &cqe) == 0) {
			if (cqe->res != (int)bytes)
				die("a raw write failed");
			idle[n_idle++] = (unsigned)io_uring_cqe_get_data64(cqe);
			ended += bytes;
			io_uring_cqe_seen(&ring, cqe);
		}
	}
	t = now_ns() - t;
	io_uring_queue_exit(&ring);
	close(fd);
	return (double)total / t * 1e3;
}

static void run_write(bool encrypt, unsigned batch, unsigned flight)
{
	struct write_arg w = {.batch = batch, .flight = flight, .encrypt = encrypt};
	char name[64];

	w.pages = pages_new(flight);
	fill_noise(w.pages, flight);
	snprintf(name, sizeof(name), "write%s, %u of %u pages", encrypt ? " encrypted" : "", batch,
		 flight);
	run(&(struct measure){name, "MB/s", write_ours, write_raw, &w});
	printf("%-34s %10llu %10llu\n", "  writes on the device",
	       (unsigned long long)w.n_device_ops, (unsigned long long)(n_write_pages / batch));
	free(w.pages);
}

/* ---- Reads, one at a time ---- */

struct read_arg {
	struct gmm_store *st;
	uint64_t *slots;
	unsigned n;
	int fd;
	char *page;
	uint64_t seed;
	bool spin;
};

static double read_ours(void *arg)
{
	struct read_arg *r = arg;
	struct gmm_store_io io, *list[] = {&io};
	double t = now_ns();

	for (unsigned i = 0; i < n_reads; i++) {
		io = (struct gmm_store_io){.verb = GMM_STORE_READ,
					   .slot = r->slots[rng(&r->seed) % r->n],
					   .page = r->page};
		if (r->st->ops->submit(r->st, list, 1))
			die("submit failed");
		do {
			if (!r->spin)
				wait_readable(r->st);
		} while (!r->st->ops->reap(r->st));
		if (io.result)
			die("a read failed");
	}
	return (now_ns() - t) / n_reads;
}

static double read_raw(void *arg)
{
	struct read_arg *r = arg;
	double t = now_ns();

	for (unsigned i = 0; i < n_reads; i++)
		if (pread(r->fd, r->page, GMM_PAGE_BYTES,
			  (off_t)(rng(&r->seed) % r->n * GMM_PAGE_BYTES)) != (int)GMM_PAGE_BYTES)
			die("a raw read failed");
	return (now_ns() - t) / n_reads;
}

/* Writes n pages, fills slots[]. */
static void store_fill(struct gmm_store *st, char *pages, uint64_t *slots, unsigned n)
{
	struct gmm_store_io *ios = calloc(n, sizeof(*ios)), **list = calloc(n, sizeof(*list)), *io;
	unsigned n_ended = 0;

	if (!ios || !list)
		die("out of memory");
	for (unsigned i = 0; i < n; i++) {
		ios[i] = (struct gmm_store_io){.verb = GMM_STORE_WRITE,
					       .page = pages + i * GMM_PAGE_BYTES};
		list[i] = &ios[i];
	}
	if (st->ops->submit(st, list, n))
		die("submit failed");
	while (n_ended < n) {
		wait_readable(st);
		for (io = st->ops->reap(st); io; io = io->next)
			n_ended++;
	}
	for (unsigned i = 0; i < n; i++) {
		if (ios[i].result)
			die("a write failed");
		slots[i] = ios[i].slot;
	}
	free(list);
	free(ios);
}

static void run_read(bool encrypt)
{
	struct read_arg r = {
		.st = store_new("file", encrypt), .n = n_ram_pages, .fd = file_new(), .seed = 7};
	const char *what = encrypt ? " encrypted" : "";
	char *pages = pages_new(r.n), name[64];

	r.slots = calloc(r.n, sizeof(*r.slots));
	r.page = pages_new(1);
	fill_noise(pages, r.n);
	store_fill(r.st, pages, r.slots, r.n);
	if (pwrite(r.fd, pages, r.n * GMM_PAGE_BYTES, 0) != (ssize_t)(r.n * GMM_PAGE_BYTES))
		die("cannot fill a file");
	snprintf(name, sizeof(name), "read%s, depth 1, polled", what);
	run(&(struct measure){name, "ns", read_ours, read_raw, &r});
	r.spin = true;
	snprintf(name, sizeof(name), "read%s, depth 1, spun for", what);
	run(&(struct measure){name, "ns", read_ours, read_raw, &r});
	gmm_store_free(r.st);
	close(r.fd);
	free(pages);
	free(r.page);
	free(r.slots);
}

/* ---- Compressed memory ---- */

struct ram_arg {
	struct gmm_store *st;
	char *pages, *packed, *out;
	uint64_t *slots;
	int *bytes;
	void *state;
	unsigned n;
};

static double ram_write_ours(void *arg)
{
	struct ram_arg *r = arg;
	double t;

	r->st->ops->release(r->st, r->slots, r->n);
	t = now_ns();
	for (unsigned i = 0; i < r->n; i++) {
		struct gmm_store_io io = {.verb = GMM_STORE_WRITE,
					  .page = r->pages + i * GMM_PAGE_BYTES},
				    *list[] = {&io};

		if (r->st->ops->submit(r->st, list, 1) || !r->st->ops->reap(r->st) || io.result)
			die("a write to ram failed");
		r->slots[i] = io.slot;
	}
	return (now_ns() - t) / r->n;
}

static double ram_write_raw(void *arg)
{
	struct ram_arg *r = arg;
	double t = now_ns();

	for (unsigned i = 0; i < r->n; i++)
		r->bytes[i] = LZ4_compress_fast_extState(
			r->state, r->pages + i * GMM_PAGE_BYTES, r->packed + i * GMM_PAGE_BYTES,
			(int)GMM_PAGE_BYTES, (int)GMM_PAGE_BYTES, 1);
	return (now_ns() - t) / r->n;
}

static double ram_read_ours(void *arg)
{
	struct ram_arg *r = arg;
	double t = now_ns();

	for (unsigned i = 0; i < r->n; i++) {
		struct gmm_store_io io = {.verb = GMM_STORE_READ,
					  .slot = r->slots[i],
					  .page = r->out + i % 64 * GMM_PAGE_BYTES},
				    *list[] = {&io};

		if (r->st->ops->submit(r->st, list, 1) || !r->st->ops->reap(r->st) || io.result)
			die("a read from ram failed");
	}
	return (now_ns() - t) / r->n;
}

static double ram_read_raw(void *arg)
{
	struct ram_arg *r = arg;
	double t = now_ns();

	for (unsigned i = 0; i < r->n; i++)
		if (LZ4_decompress_safe(r->packed + i * GMM_PAGE_BYTES,
					r->out + i % 64 * GMM_PAGE_BYTES, r->bytes[i],
					(int)GMM_PAGE_BYTES) != (int)GMM_PAGE_BYTES)
			die("lz4 failed");
	return (now_ns() - t) / r->n;
}

static double sum_ours(void *arg)
{
	struct ram_arg *r = arg;
	volatile uint64_t sink;
	double t = now_ns();

	for (unsigned i = 0; i < r->n; i++)
		sink = XXH3_64bits(r->pages + i % 64 * GMM_PAGE_BYTES, GMM_PAGE_BYTES);
	(void)sink;
	return (now_ns() - t) / r->n;
}

static double sum_raw(void *arg)
{
	struct ram_arg *r = arg;
	double t = now_ns();

	for (unsigned i = 0; i < r->n; i++) {
		memcpy(r->out, r->pages + i % 64 * GMM_PAGE_BYTES, GMM_PAGE_BYTES);
		__asm__ volatile("" : : "r"(r->out) : "memory");
	}
	return (now_ns() - t) / r->n;
}

static void run_ram(void)
{
	struct ram_arg r = {.st = store_new("ram:1G", false), .n = n_ram_pages};
	struct gmm_store_stats stats;

	r.pages = pages_new(r.n);
	r.packed = pages_new(r.n);
	r.out = pages_new(64);
	r.slots = calloc(r.n, sizeof(*r.slots));
	r.bytes = calloc(r.n, sizeof(*r.bytes));
	r.state = malloc((size_t)LZ4_sizeofState());
	fill_heap(r.pages, r.n);
	memset(r.slots, 0xff, r.n * sizeof(*r.slots));
	run(&(struct measure){"ram write / LZ4 compress", "ns", ram_write_ours, ram_write_raw, &r});
	run(&(struct measure){"ram read / LZ4 decompress", "ns", ram_read_ours, ram_read_raw, &r});
	run(&(struct measure){"checksum / memcpy", "ns", sum_ours, sum_raw, &r});
	r.st->ops->stats(r.st, &stats);
	printf("%-34s %10.1f %%\n", "  of a page's size held",
	       100.0 * (double)stats.held_bytes / r.n / GMM_PAGE_BYTES);
	gmm_store_free(r.st);
	free(r.pages);
	free(r.packed);
	free(r.out);
	free(r.slots);
	free(r.bytes);
	free(r.state);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--quick") == 0) {
			n_rounds = 3;
			n_write_pages = 16384;
			n_reads = 500;
			n_ram_pages = 2048;
		} else {
			die("usage: bench_stores [--quick]");
		}
	}
	printf("%-34s %10s %10s %-7s %6s\n", "", "ours", "floor", "", "ratio");
	run_write(false, 32, 128);
	run_write(false, 128, 512);
	run_write(true, 128, 512);
	run_read(false);
	run_read(true);
	run_ram();
	return 0;
}
