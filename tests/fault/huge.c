/* Huge frames: filled in order, taken as one, split where a part goes, put together again; and
 * whatever becomes of them the guest reads what it wrote, and the host has no more frames than
 * the pool counts.
 */
#include <liburing.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "pagemap.h"
#include "vm.h"

#define BLOCK 512u

static int pagemap_fd = -1;

static struct vm *huge_vm(uint64_t mem_mib, uint64_t limit_mib)
{
	struct vm *vm;

	unit_need_huge_pages();
	vm = vm_new(GMM_ENGINE_MOVE, NULL, mem_mib, limit_mib, mem_mib);

	for (uint64_t p = 0; p < BLOCK + 1; p++)
		*vm_word(vm, p) = p + 1;
	return vm;
}

static void fill(struct vm *vm, uint64_t from, uint64_t to)
{
	for (uint64_t p = from; p < to; p++)
		*vm_word(vm, p) = p + 1;
}

static void verify(struct vm *vm, uint64_t from, uint64_t to)
{
	for (uint64_t p = from; p < to; p++)
		ck_assert_uint_eq(*vm_word(vm, p), p + 1);
}

static bool is_huge(const struct vm *vm, uint64_t page)
{
	if (pagemap_fd < 0)
		pagemap_fd = pagemap_open();
	/* a kernel that does not tell is believed */
	return pagemap_is_huge(pagemap_fd, (const char *)vm->mem + (page << 12), true);
}

/* Host memory behind [page, page + n): KiB, by mincore(). */
static uint64_t present(const struct vm *vm, uint64_t page, uint64_t n)
{
	unsigned char *there = calloc(n, 1);
	uint64_t sum = 0;

	ck_assert_int_eq(mincore((char *)vm->mem + (page << 12), n << 12, there), 0);
	for (uint64_t i = 0; i < n; i++)
		sum += there[i] & 1;
	free(there);
	return sum;
}

/* Linux 6.14 and later (CONFIG_PT_RECLAIM): where single pages were, a huge one can be again. */
static bool frees_page_tables(void)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	ck_assert_int_eq(uname(&u), 0);
	ck_assert_int_eq(sscanf(u.release, "%u.%u", &major, &minor), 2);
	return major > 6 || (major == 6 && minor >= 14);
}

static unsigned n_huge(const struct vm *vm, uint64_t from, uint64_t to)
{
	unsigned n = 0;

	for (uint64_t p = from; p < to; p += BLOCK)
		n += is_huge(vm, p);
	return n;
}

/* AnonHugePages of the whole process, from smaps_rollup, in pages. */
static uint64_t host_pages(const char *what)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	char line[256];
	unsigned long kib = 0;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, what, strlen(what)) == 0)
			kib = strtoul(line + strlen(what), NULL, 10);
	fclose(f);
	return kib / 4;
}

START_TEST(memory_filled_in_order_gets_huge_frames)
{
	struct vm *vm = huge_vm(256, 128);
	struct gmm_stats stats;

	fill(vm, 0, PAGES(96));
	stats = vm_stats(vm);
	/* a kernel before 6.14 gives only the blocks behind the one that faulted */
	ck_assert_uint_ge(stats.huge.filled, frees_page_tables() ? 40 : 36);
	ck_assert_uint_eq(stats.huge_bytes, (stats.huge.filled + stats.huge.gathered) * 2 * MIB);
	ck_assert_uint_lt(stats.faults.demand_zero, 200);
	ck_assert_uint_le(stats.resident_peak_bytes, 128 * MIB);
	ck_assert(is_huge(vm, PAGES(64)));
	ck_assert_uint_ge(host_pages("AnonHugePages:"), PAGES(60));
	verify(vm, 0, PAGES(96));
	vm_free(vm, true);
}
END_TEST

START_TEST(random_first_touches_get_single_frames)
{
	struct vm *vm = huge_vm(1024, 128);
	uint64_t before = vm_stats(vm).resident_bytes, seed = 1;

	for (unsigned i = 0; i < 1000; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		*vm_word(vm, BLOCK * 8 + (seed >> 33) % (vm->n_pages - BLOCK * 8)) = 1;
	}
	ck_assert_uint_lt(vm_stats(vm).resident_bytes - before, 24 * MIB);
	vm_free(vm, true);
}
END_TEST

START_TEST(more_than_the_limit_leaves_and_comes_back)
{
	struct vm *vm = huge_vm(256, 64);
	struct gmm_stats stats;

	fill(vm, 0, PAGES(192));
	verify(vm, 0, PAGES(192));
	stats = vm_stats(vm);
	ck_assert_uint_gt(stats.huge.taken, 0);
	ck_assert_uint_gt(stats.reclaim.written, PAGES(100));
	ck_assert_uint_le(stats.resident_peak_bytes, 64 * MIB);
	vm_free(vm, true);
}
END_TEST

/* The kernel keeps a huge page for as long as a part of it is mapped: frames given up must be
 * gone for the host, too. */
START_TEST(a_part_given_up_frees_its_frames)
{
	struct vm *vm = huge_vm(256, 128);
	uint64_t huge_before, rss, used;
	unsigned n;

	fill(vm, 0, PAGES(64));
	n = n_huge(vm, 8 * BLOCK, 24 * BLOCK);
	ck_assert_uint_ge(n, frees_page_tables() ? 16 : 12);
	huge_before = host_pages("AnonHugePages:");
	used = vm_stats(vm).resident_bytes;
	rss = host_pages("Rss:");
	for (uint64_t b = 8; b < 24; b++) /* all but the last page of each block */
		ck_assert_int_eq(gmm_space_discard(vm->space, (gmm_gfn){b * BLOCK}, BLOCK - 1), 0);
	ck_assert_uint_eq(vm_stats(vm).huge.split, n);
	/* give or take a huge frame that is kept ready */
	ck_assert_uint_le(vm_stats(vm).resident_bytes, used - (15 * (BLOCK - 1) << 12) + MIB);
	ck_assert_uint_le(host_pages("AnonHugePages:"), huge_before - (n - 1) * BLOCK);
	ck_assert_uint_le(host_pages("Rss:"), rss - 14 * BLOCK);
	ck_assert_uint_eq(present(vm, 8 * BLOCK, 16 * BLOCK), 16);
	for (uint64_t b = 8; b < 24; b++) {
		ck_assert_uint_eq(*vm_word(vm, b * BLOCK + 100), 0);
		verify(vm, (b + 1) * BLOCK - 1, (b + 1) * BLOCK);
	}
	verify(vm, 24 * BLOCK, PAGES(64));
	vm_free(vm, true);
}
END_TEST

START_TEST(a_block_given_up_is_fresh_again)
{
	struct vm *vm = huge_vm(256, 128);
	uint64_t filled;

	fill(vm, 0, PAGES(64));
	filled = vm_stats(vm).huge.filled;
	ck_assert_int_eq(gmm_space_discard(vm->space, (gmm_gfn){PAGES(16)}, PAGES(32)), 0);
	ck_assert_uint_eq(present(vm, PAGES(16), PAGES(32)), 0);
	for (uint64_t p = PAGES(16); p < PAGES(48); p++)
		ck_assert_uint_eq(*vm_word(vm, p), 0);
	fill(vm, PAGES(16), PAGES(48));
	if (frees_page_tables())
		ck_assert_uint_ge(vm_stats(vm).huge.filled, filled + 16);
	verify(vm, 0, PAGES(64));
	vm_free(vm, true);
}
END_TEST

/* A page pinned by the kernel keeps its whole huge page: what is given up beside it cannot leave,
 * but reads as zero all the same. */
START_TEST(beside_a_pinned_page_what_is_given_up_reads_as_zero)
{
	struct vm *vm = huge_vm(256, 128);
	uint64_t page = PAGES(32) + 7;
	struct io_uring ring;
	struct iovec iov;
	void *hva;

	fill(vm, 0, PAGES(64));
	ck_assert_int_eq(gmm_space_hold(vm->space, (gmm_gpa){page << 12}, 4096, true, &hva), 0);
	if (io_uring_queue_init(4, &ring, 0))
		UNIT_SKIP("no io_uring to pin a page with");
	iov = (struct iovec){hva, 4096};
	ck_assert_int_eq(io_uring_register_buffers(&ring, &iov, 1), 0);
	ck_assert_int_eq(gmm_space_discard(vm->space, (gmm_gfn){PAGES(32)}, 100), 0);
	for (uint64_t p = PAGES(32); p < PAGES(32) + 100; p++)
		ck_assert_uint_eq(*vm_word(vm, p), p == page ? p + 1 : 0);
	vm_evict_all_but(vm, 4 * MIB);
	io_uring_queue_exit(&ring);
	gmm_space_release(vm->space, (gmm_gpa){page << 12}, 4096);
	verify(vm, page, page + 1);
	verify(vm, PAGES(32) + 100, PAGES(64));
	verify(vm, 0, PAGES(32));
	vm_free(vm, true);
}
END_TEST

/* Blocks filled page by page, in no order, become huge where frames are plenty. */
START_TEST(whole_blocks_are_put_together)
{
	struct vm *vm = vm_new(GMM_ENGINE_MOVE, NULL, 256, 128, 256);
	uint64_t first = PAGES(64);

	for (uint64_t i = 0; i < 4 * BLOCK; i++) { /* an odd stride meets every page once */
		uint64_t p = first + i * 1001 % (4 * BLOCK);

		*vm_word(vm, p) = p + 1;
	}
	for (int i = 0; i < 1000 && vm_stats(vm).huge_bytes < 4 * 2 * MIB; i++) {
		sleep_ms(10);
		verify(vm, first + (uint64_t)i % 2048, first + (uint64_t)i % 2048 + 1);
	}
	if (!frees_page_tables())
		UNIT_SKIP("this kernel keeps empty page tables (before 6.14)");
	ck_assert_uint_ge(vm_stats(vm).huge.gathered, 4);
	for (unsigned b = 0; b < 4; b++)
		ck_assert(is_huge(vm, first + b * BLOCK));
	verify(vm, first, first + 4 * BLOCK);
	ck_assert_uint_le(vm_stats(vm).resident_peak_bytes, 128 * MIB);
	vm_free(vm, true);
}
END_TEST

/* A store that takes nothing: blocks that left as one come back page by page. */
START_TEST(nothing_is_lost_to_a_store_that_fails)
{
	struct vm *vm = huge_vm(256, 128);

	fill(vm, 0, PAGES(100));
	vm->fail_writes = EIO;
	gmm_space_reclaim(vm->space, PAGES(32));
	for (int i = 0; i < 2000 && vm_stats(vm).reclaim.failed < 10; i++)
		sleep_ms(2);
	ck_assert_uint_ge(vm_stats(vm).reclaim.failed, 10);
	verify(vm, 0, PAGES(100));
	vm->fail_writes = 0;
	verify(vm, 0, PAGES(100));
	vm_free(vm, true);
}
END_TEST

START_TEST(the_copy_engine_has_none)
{
	struct vm *vm = vm_new(GMM_ENGINE_COPY, NULL, 256, 128, 256);

	fill(vm, 0, PAGES(32));
	ck_assert_uint_eq(vm_stats(vm).huge.filled, 0);
	ck_assert_uint_eq(vm_stats(vm).huge_bytes, 0);
	vm_free(vm, true);
}
END_TEST

UNIT_MAIN_TIMEOUT("huge", 120, memory_filled_in_order_gets_huge_frames,
		  random_first_touches_get_single_frames, more_than_the_limit_leaves_and_comes_back,
		  a_part_given_up_frees_its_frames, a_block_given_up_is_fresh_again,
		  beside_a_pinned_page_what_is_given_up_reads_as_zero,
		  whole_blocks_are_put_together, nothing_is_lost_to_a_store_that_fails,
		  the_copy_engine_has_none)
