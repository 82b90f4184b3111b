/* How it is found out that a page was not written since it was read: row 17.
 *
 * Ours: its checksum, which is kept to verify it anyway, is made again when it is to leave; the
 * guest notices nothing. Floor: the kernel's asynchronous write protection (UFFD_FEATURE_WP_ASYNC),
 * set when the page arrives, and asked for by PAGEMAP_SCAN when it is to leave; the guest's first
 * write faults. Half of the pages are written, and all of them have to be found. No goal: a row
 * that tells why the library does the one and not the other.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <xxhash.h>

#include "lib/accesses.h"
#include "lib/bare_vm.h"
#include "lib/floor_uffd.h"
#include "lib/harness.h"
#include "lib/placement.h"
#include "vmm/mm/pagemap.h"

#define N_PAGES	      16384u
#define N_PAGES_QUICK 1024u
#define APART	      2u /* every other page is written */

#ifndef UFFD_FEATURE_WP_ASYNC /* Linux 6.7; older headers lack it */
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

/* Guest memory that is there and was written, and the order in which pages leave. */
struct memory {
	struct bare_vm vm;
	char *data;
	uint64_t n_pages;
	uint32_t *order;
	struct accesses writes;
};

static void memory_new(struct memory *m, bool quick)
{
	struct guest_args fill = {.n_noise = 0};

	m->n_pages = quick ? N_PAGES_QUICK : N_PAGES;
	m->data = bare_data_new(m->n_pages * BARE_PAGE, false);
	m->order = malloc(m->n_pages * sizeof(*m->order));
	if (!m->order)
		bench_die("memory");
	for (uint64_t i = 0; i < m->n_pages; i++)
		m->order[i] = (uint32_t)i;
	bench_shuffle(m->order, m->n_pages, 17);
	bare_vm_new(&m->vm, 1, m->data, m->n_pages * BARE_PAGE);
	fill.n = m->n_pages;
	bare_vm_run(&m->vm, 0, guest_fill, &fill);
	accesses_new(&m->writes, &m->vm, BARE_DATA_GPA, m->n_pages / APART, 0, APART);
	m->writes.run.write = m->writes.run.zero = 1;
}

static void memory_free(struct memory *m)
{
	bare_vm_free(&m->vm);
	bare_data_free(m->data, m->n_pages * BARE_PAGE);
	free(m->order);
}

static char *memory_page(const struct memory *m, uint64_t i)
{
	return m->data + m->order[i] * BARE_PAGE;
}

static void result(struct memory *m, uint64_t n_found, uint64_t arm_ns, uint64_t look_ns,
		   struct bench_sample *out)
{
	if (n_found != m->n_pages / APART)
		bench_die("%llu pages found written, not %llu", (unsigned long long)n_found,
			  (unsigned long long)(m->n_pages / APART));
	out->value[0] = (double)(arm_ns + look_ns) / (double)m->n_pages;
	out->value[1] = bench_ticks_ns(bench_percentile(m->writes.log, m->writes.n, 0.5));
	bench_count(out, "arm_ns_a_page", arm_ns / m->n_pages);
	bench_count(out, "look_ns_a_page", look_ns / m->n_pages);
}

static void sums_run(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	uint64_t n_found = 0, *sums, began;
	struct memory m;

	(void)row;
	memory_new(&m, quick);
	sums = malloc(m.n_pages * sizeof(*sums));
	if (!sums)
		bench_die("memory");
	for (uint64_t i = 0; i < m.n_pages; i++) /* as reading them in does */
		sums[i] = XXH3_64bits(memory_page(&m, i), BARE_PAGE);
	bench_begin(out);
	bare_vm_run(&m.vm, 0, guest_by_list, &m.writes.run);
	began = bench_now_ns();
	for (uint64_t i = 0; i < m.n_pages; i++)
		n_found += XXH3_64bits(memory_page(&m, i), BARE_PAGE) != sums[i];
	began = bench_now_ns() - began;
	bench_end(out);
	result(&m, n_found, 0, began, out);
	free(sums);
	memory_free(&m);
}

static int protect_new(const struct memory *m)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC};
	struct uffdio_register reg = {
		.range = {(uint64_t)(uintptr_t)m->data, m->n_pages * BARE_PAGE},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int fd = floor_uffd_open(O_CLOEXEC);

	if (ioctl(fd, UFFDIO_API, &api))
		bench_unavailable("no asynchronous write protection before Linux 6.7");
	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		bench_die("UFFDIO_REGISTER: %s", strerror(errno));
	return fd;
}

static void protect(int fd, char *page)
{
	struct uffdio_writeprotect wp = {.range = {(uint64_t)(uintptr_t)page, BARE_PAGE},
					 .mode = UFFDIO_WRITEPROTECT_MODE_WP};

	if (ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
		bench_die("UFFDIO_WRITEPROTECT: %s", strerror(errno));
}

static bool is_written(int pagemap, const char *page)
{
	struct pagemap_region found;
	struct pagemap_scan scan = {
		.size = sizeof(scan),
		.start = (uintptr_t)page,
		.end = (uintptr_t)page + BARE_PAGE,
		.vec = (uintptr_t)&found,
		.vec_len = 1,
		.category_mask = PAGEMAP_WRITTEN,
		.return_mask = PAGEMAP_WRITTEN,
	};
	int n = ioctl(pagemap, PAGEMAP_SCAN_IOCTL, &scan);

	if (n < 0)
		bench_die("PAGEMAP_SCAN: %s", strerror(errno));
	return n > 0;
}

static void protect_run(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	int fd, pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t n_found = 0, arm, look;
	struct memory m;

	(void)row;
	memory_new(&m, quick);
	fd = protect_new(&m);
	bench_begin(out);
	arm = bench_now_ns();
	for (uint64_t i = 0; i < m.n_pages; i++)
		protect(fd, memory_page(&m, i));
	arm = bench_now_ns() - arm;
	bare_vm_run(&m.vm, 0, guest_by_list, &m.writes.run);
	look = bench_now_ns();
	for (uint64_t i = 0; i < m.n_pages; i++)
		n_found += is_written(pagemap, memory_page(&m, i));
	look = bench_now_ns() - look;
	bench_end(out);
	result(&m, n_found, arm, look, out);
	memory_free(&m);
	close(pagemap);
	close(fd);
}

static const struct bench_row rows[] = {
	{.number = 17,
	 .title = "is a page clean",
	 .against = "UFFDIO_WRITEPROTECT, PAGEMAP_SCAN, a page a call",
	 .metrics = {{"to find out", "ns/page", 0, 0}, {"guest's write, p50", "ns", 0, 0}},
	 .ours = sums_run,
	 .floor = protect_run},
};

int main(int argc, char **argv)
{
	placement_pin(placement_at(0)->vcpu);
	return bench_main(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
