/* Pages that come back from a store: rows 4, 5, 6.
 *
 * ours   the guest's memory was evicted, all of it; the guest reads it again
 * floor  4: a thread that answers each message by a page that it reads from a file, past the page
 * cache 5: a loop that reads that file, page after page, without any guest 6: a thread that answers
 * each message by a page that it decompresses with lz4 Frames are not short: nothing has to leave
 * so that a page can come.
 */
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/accesses.h"
#include "lib/bare_vm.h"
#include "lib/floor_uffd.h"
#include "lib/harness.h"
#include "lib/managed.h"
#include "lib/placement.h"
#include "lib/scratch.h"

#define MIB	    UINT64_C(1048576)
#define SPARE	    (64 * MIB) /* of the limit, above the guest's memory */
#define BYTES	    (64 * MIB)
#define BYTES_QUICK (4 * MIB)
#define N_WARM	    64u
#define NOISE_ALL   511u
#define NOISE_HALF  256u

/* What a row has of its own. */
struct medium {
	const char *store;
	uint64_t n_noise;
	const void *(*fetch)(void *user, uint64_t page, void *buffer);
};

static uint64_t guest_bytes(bool quick)
{
	return quick ? BYTES_QUICK : BYTES;
}

/* ---- A random page a fault ---- */

#define APART 4u

/* A quarter of the pages. */
static uint64_t n_faults(bool quick)
{
	return guest_bytes(quick) / BARE_PAGE / APART - N_WARM;
}

/* A guest whose pages are all in the store. */
static void swapped_new(struct managed *m, struct bare_vm *vm, const struct medium *medium,
			uint64_t bytes)
{
	managed_new(m, bytes, bytes + SPARE, managed_store(medium->store, 2 * bytes),
		    placement_at(0));
	bare_vm_new(vm, 1, m->data, bytes);
	managed_fill(vm, bytes, medium->n_noise);
	managed_swap_out(m, bytes);
}

static void swapped_free(struct managed *m, struct bare_vm *vm)
{
	managed_detach(m);
	bare_vm_free(vm);
	managed_free(m);
}

static void random_ours(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const uint64_t bytes = guest_bytes(quick);
	struct accesses t;
	struct managed m;
	struct bare_vm vm;

	swapped_new(&m, &vm, row->arg, bytes);
	accesses_new(&t, &vm, BARE_DATA_GPA, n_faults(quick), N_WARM, APART);
	bare_vm_run(&vm, 0, guest_by_list, &t.warm);
	managed_mark(&m);
	bench_begin(out);
	bare_vm_run(&vm, 0, guest_by_list, &t.run);
	bench_end(out);
	managed_count(&m, out);
	accesses_result(&t, out);
	swapped_free(&m, &vm);
}

/* Compressed pages, made once: each as the library's store would have it. */
struct compressed {
	char *bytes[BYTES / 4096];
	int n_bytes[BYTES / 4096];
};

static struct compressed *compressed_new(uint64_t n_pages)
{
	struct compressed *c = calloc(1, sizeof(*c));
	uint64_t page[512];
	char buffer[LZ4_COMPRESSBOUND(4096)];

	for (uint64_t i = 0; c && i < n_pages; i++) {
		guest_fill_page(page, i, NOISE_HALF);
		c->n_bytes[i] =
			LZ4_compress_default((char *)page, buffer, sizeof(page), sizeof(buffer));
		c->bytes[i] = malloc((size_t)c->n_bytes[i]);
		if (c->bytes[i])
			memcpy(c->bytes[i], buffer, (size_t)c->n_bytes[i]);
	}
	if (!c || !c->bytes[n_pages - 1])
		bench_die("out of memory");
	return c;
}

static const void *fetch_compressed(void *user, uint64_t page, void *buffer)
{
	static struct compressed *all;

	if (!all)
		all = compressed_new(*(uint64_t *)user);
	if (LZ4_decompress_safe(all->bytes[page], buffer, all->n_bytes[page], 4096) != 4096)
		bench_die("lz4 does not give back what it took");
	return buffer;
}

/* The file is the same in all runs: it is only read. */
static int floor_file(uint64_t n_pages)
{
	static int fd = -1;

	if (fd < 0)
		fd = scratch_new_filled(n_pages, NOISE_ALL);
	return fd;
}

static const void *fetch_read(void *user, uint64_t page, void *buffer)
{
	scratch_read(floor_file(*(uint64_t *)user), page, buffer);
	return buffer;
}

static void random_floor(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const struct medium *medium = row->arg;
	const uint64_t bytes = guest_bytes(quick);
	uint64_t n_pages = bytes / BARE_PAGE, n_before;
	void *data = bare_data_new(bytes, false);
	struct floor_uffd f = {.where = placement_at(0), .fetch = medium->fetch, .user = &n_pages};
	struct accesses t;
	struct bare_vm vm;

	floor_uffd_start(&f, data, bytes);
	bare_vm_new(&vm, 1, data, bytes);
	accesses_new(&t, &vm, BARE_DATA_GPA, n_faults(quick), N_WARM, APART);
	bare_vm_run(&vm, 0, guest_by_list, &t.warm);
	n_before = f.n_faults;
	bench_begin(out);
	bare_vm_run(&vm, 0, guest_by_list, &t.run);
	bench_end(out);
	bench_count(out, "messages", f.n_faults - n_before);
	accesses_result(&t, out);
	bare_vm_free(&vm);
	floor_uffd_stop(&f);
	bare_data_free(data, bytes);
}

/* ---- In order ---- */

static double mib_a_second(uint64_t bytes, uint64_t ns)
{
	return (double)bytes / (double)MIB / ((double)ns / 1e9);
}

static void order_ours(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const uint64_t bytes = guest_bytes(quick);
	struct guest_args load = {.n = bytes / BARE_PAGE};
	struct managed m;
	struct bare_vm vm;

	swapped_new(&m, &vm, row->arg, bytes);
	managed_mark(&m);
	bench_begin(out);
	bare_vm_run(&vm, 0, guest_in_order, &load);
	bench_end(out);
	managed_count(&m, out);
	out->value[0] = mib_a_second(bytes, out->elapsed_ns);
	swapped_free(&m, &vm);
}

static void order_floor(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const uint64_t bytes = guest_bytes(quick), n_pages = bytes / BARE_PAGE;
	const int fd = floor_file(n_pages);
	void *page = aligned_alloc(BARE_PAGE, BARE_PAGE);

	(void)row;
	if (!page)
		bench_die("out of memory");
	bench_begin(out);
	for (uint64_t i = 0; i < n_pages; i++)
		scratch_read(fd, i, page);
	bench_end(out);
	out->value[0] = mib_a_second(bytes, out->elapsed_ns);
	free(page);
}

static const struct medium in_file = {"file", NOISE_ALL, fetch_read};
static const struct medium in_ram = {"ram", NOISE_HALF, fetch_compressed};

#define FAULT_METRICS(most)                                                                        \
	{                                                                                          \
		{"p50", "ns", most, '<'}, {"mean", "ns", 0, 0},                                    \
		{                                                                                  \
			"p99", "ns", 0, 0                                                          \
		}                                                                                  \
	}

static const struct bench_row rows[] = {
	{.number = 4,
	 .title = "swap-in from a file, a random page a fault",
	 .against = "userfaultfd: read, O_DIRECT pread, UFFDIO_COPY",
	 .metrics = FAULT_METRICS(1.10),
	 .ours = random_ours,
	 .floor = random_floor,
	 .arg = &in_file},
	{.number = 5,
	 .title = "swap-in from a file, in order",
	 .against = "O_DIRECT pread of 4 KiB, one after another",
	 .metrics = {{"throughput", "MiB/s", 8, '>'}},
	 .ours = order_ours,
	 .floor = order_floor,
	 .arg = &in_file},
	{.number = 6,
	 .title = "swap-in from memory, a random page a fault",
	 .against = "userfaultfd: read, LZ4_decompress_safe, UFFDIO_COPY",
	 .metrics = FAULT_METRICS(1.25),
	 .ours = random_ours,
	 .floor = random_floor,
	 .arg = &in_ram},
};

int main(int argc, char **argv)
{
	placement_pin(placement_at(0)->vcpu);
	return bench_main(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
