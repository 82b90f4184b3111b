/* First touches: rows 1, 2, 3.
 *
 * ours   guest memory is a space of the library with a limit that is no limit
 * floor  1: the same by a thread that answers each message by a copy of a zero page
 *        2, 3: anonymous memory of the host's, of which the kernel serves the faults
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/accesses.h"
#include "lib/bare_vm.h"
#include "lib/floor_uffd.h"
#include "lib/harness.h"
#include "lib/managed.h"
#include "lib/placement.h"

#define MIB UINT64_C(1048576)

/* ---- Row 1: one page a fault ---- */

/* Pages stand 16 to 48 apart, so that none is another's neighbour, and each access is a fault. */
#define APART	       32u
#define N_WARM	       256u
#define N_FAULTS       4096u
#define N_FAULTS_QUICK 512u

static uint64_t n_faults(bool quick)
{
	return quick ? N_FAULTS_QUICK : N_FAULTS;
}

static void touch_ours(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const uint64_t n = n_faults(quick), bytes = accesses_bytes(n, N_WARM, APART);
	struct accesses t;
	struct managed m;
	struct bare_vm vm;

	managed_new(&m, bytes, bytes + 64 * MIB, NULL, row->arg);
	bare_vm_new(&vm, 1, m.data, bytes);
	accesses_new(&t, &vm, BARE_DATA_GPA, n, N_WARM, APART);
	t.warm.write = t.run.write = 1;
	bare_vm_run(&vm, 0, guest_by_list, &t.warm);
	managed_mark(&m);
	bench_begin(out);
	bare_vm_run(&vm, 0, guest_by_list, &t.run);
	bench_end(out);
	managed_count(&m, out);
	accesses_result(&t, out);
	managed_detach(&m);
	bare_vm_free(&vm);
	managed_free(&m);
}

static void touch_floor(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const uint64_t n = n_faults(quick), bytes = accesses_bytes(n, N_WARM, APART);
	void *data = bare_data_new(bytes, false);
	struct floor_uffd f = {.where = row->arg};
	struct accesses t;
	struct bare_vm vm;
	uint64_t n_before;

	floor_uffd_start(&f, data, bytes);
	bare_vm_new(&vm, 1, data, bytes);
	accesses_new(&t, &vm, BARE_DATA_GPA, n, N_WARM, APART);
	t.warm.write = t.run.write = 1;
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

/* ---- Rows 2 and 3: all of it, in order ---- */

#define FILL_BYTES	 (1024 * MIB)
#define FILL_BYTES_QUICK (16 * MIB)

static uint64_t fill_bytes(bool quick)
{
	return quick ? FILL_BYTES_QUICK : FILL_BYTES;
}

/* Where this machine is a virtual machine whose memory grows as it is touched, and whose free
 * memory goes back to the hypervisor after two seconds (virtio's free page reporting), the first to
 * touch it again would pay for that. Both sides find memory that is there. */
static void fill_warm(uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		bench_die("memory: %s", strerror(errno));
	madvise(at, bytes, MADV_HUGEPAGE);
	memset(at, 1, bytes);
	munmap(at, bytes);
}

static void fill_run(struct bare_vm *vm, uint64_t bytes, struct bench_sample *out)
{
	struct guest_args args = {.n = bytes / BARE_PAGE, .write = 1};

	bench_begin(out);
	bare_vm_run(vm, 0, guest_in_order, &args);
	bench_end(out);
	out->value[0] = (double)out->elapsed_ns / (double)args.n;
}

static void fill_ours(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const uint64_t bytes = fill_bytes(quick);
	struct managed m;
	struct bare_vm vm;

	(void)row;
	fill_warm(bytes);
	managed_new(&m, bytes, bytes + 64 * MIB, NULL, placement_at(0));
	bare_vm_new(&vm, 1, m.data, bytes);
	managed_mark(&m);
	fill_run(&vm, bytes, out);
	managed_count(&m, out);
	managed_detach(&m);
	bare_vm_free(&vm);
	managed_free(&m);
}

/* row->arg: huge pages, or NULL. */
static void fill_floor(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	const uint64_t bytes = fill_bytes(quick);
	struct bare_vm vm;
	void *data;

	fill_warm(bytes);
	data = bare_data_new(bytes, row->arg != NULL);
	bare_vm_new(&vm, 1, data, bytes);
	fill_run(&vm, bytes, out);
	bare_vm_free(&vm);
	bare_data_free(data, bytes);
}

static struct bench_row rows[8];
static unsigned n_rows;

static void add_rows(void)
{
	const struct placement *where;

	for (unsigned i = 0; (where = placement_at(i)) != NULL; i++)
		rows[n_rows++] = (struct bench_row){.number = 1,
						    .title = "first touch, a random page a fault",
						    .variant = where->name,
						    .against = "userfaultfd: read, UFFDIO_COPY",
						    .metrics = {{"p50", "ns", 1.10, '<'},
								{"mean", "ns", 1.10, '<'},
								{"p99", "ns", 0, 0}},
						    .ours = touch_ours,
						    .floor = touch_floor,
						    .arg = where};
	rows[n_rows++] = (struct bench_row){.number = 2,
					    .title = "first touch of 1 GiB in order",
					    .variant = "small",
					    .against = "anonymous memory, 4 KiB pages",
					    .metrics = {{"time", "ns/page", 0.15, '<'}},
					    .ours = fill_ours,
					    .floor = fill_floor};
	rows[n_rows] = rows[n_rows - 1];
	rows[n_rows].number = 3;
	rows[n_rows].variant = "huge";
	rows[n_rows].against = "anonymous memory, transparent huge pages";
	rows[n_rows].metrics[0].target = 1.25;
	rows[n_rows++].arg = rows;
}

int main(int argc, char **argv)
{
	/* This thread is the vCPU. Threads that it makes begin on its CPU and move away. */
	placement_pin(placement_at(0)->vcpu);
	add_rows();
	return bench_main(argc, argv, rows, n_rows);
}
