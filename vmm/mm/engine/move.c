/* The move engine: frames are flipped between the bay and the guest by UFFDIO_MOVE.
 *
 * No copy, no allocation, and the pool's count of frames does not change. The bay must be
 * registered with the userfaultfd that moves (mm/userfaultfd.c, validate_move_areas(), Linux
 * 6.8); registered for write protection only, its own first touches stay ordinary faults.
 *
 * A huge page moves as one entry if both addresses are multiples of 2 MiB and the destination has
 * no page table yet (move_splits_huge_pmd(), Linux 6.8); else the kernel splits it and moves 512
 * entries, which is right but slow. So nothing here depends on pages being huge.
 */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fatal.h"
#include "pagemap.h"

/* The kernel answers EAGAIN when it lost a race for a page lock; it is rare and short. */
#define MOVE_TRIES 16

/* Linux from 6.18 on may move pages and then say that their destination is filled: where it lost a
 * race for the first of them (its accessed bit was cleared meanwhile, say), tried again and had it,
 * it takes the EAGAIN of before for the answer and tries a third time (move_pages() in
 * mm/userfaultfd.c, since it moves pages in batches). Then the source is empty, and who waits was
 * not woken. */
static int move_once(struct engine *e, char *to, char *from, size_t bytes, size_t *done)
{
	int ret = engine_move_pages(e, to, from, bytes, done);

	if (ret != -EEXIST || *done || !pagemap_is_empty(e->pagemap, from))
		return ret;
	uffd_wake(e->uffd, to, GMM_PAGE_BYTES);
	*done = GMM_PAGE_BYTES;
	return bytes == GMM_PAGE_BYTES ? 0 : -EAGAIN;
}

static int move_bytes(struct engine *e, char *to, char *from, size_t bytes, size_t *done)
{
	unsigned tries = MOVE_TRIES;
	int ret = 0;

	*done = 0;
	while (*done < bytes && tries) {
		size_t now;

		ret = move_once(e, to + *done, from + *done, bytes - *done, &now);
		*done += now;
		if (ret != -EAGAIN && ret != 0)
			break;
		tries -= now == 0;
	}
	return *done == bytes ? 0 : ret == -EAGAIN ? -EBUSY : ret;
}

/* Moving one page away makes the kernel split the huge page it is part of. */
static int move_split(struct engine *e, char *hva)
{
	bay_slot slot;
	size_t done;
	int ret = bay_get_vacant(e->bay, 1, &slot), back = -EBUSY;

	if (ret)
		return ret;
	ret = move_bytes(e, bay_hva(e->bay, slot), hva, GMM_PAGE_BYTES, &done);
	for (unsigned i = 0; ret == 0 && back && i < 1000; i++)
		back = move_bytes(e, hva, bay_hva(e->bay, slot), GMM_PAGE_BYTES, &done);
	CHECK(ret || back == 0, "a page just split off cannot be put back (%d)", back);
	bay_put_vacant(e->bay, slot);
	return ret;
}

static int move_split_bay(void *user, char *hva)
{
	return move_split(user, hva);
}

static int move_register(void *user, char *hva, size_t bytes)
{
	const struct engine *e = user;

	return uffd_register(e->uffd, hva, bytes, UFFDIO_REGISTER_MODE_WP);
}

/* Whoever switched transparent huge pages off gets none. */
static bool move_host_has_huge(void)
{
	int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
	char text[128] = "";
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	return n > 0 && !strstr(text, "[never]");
}

static int move_setup(struct engine *e)
{
	struct bay *b = e->bay;

	b->split = move_split_bay;
	b->renewed = move_register;
	b->user = e;
	if (move_host_has_huge())
		bay_enable_huge(b);
	return move_register(e, b->base, (size_t)BAY_ALL << GMM_PAGE_SHIFT);
}

static int move_fill_run(struct engine *e, char *hva, const bay_slot *slots, unsigned n,
			 unsigned *done)
{
	size_t bytes;
	int ret =
		move_bytes(e, hva, bay_hva(e->bay, slots[0]), (size_t)n << GMM_PAGE_SHIFT, &bytes);

	*done = (unsigned)(bytes >> GMM_PAGE_SHIFT);
	bay_put_vacant_run(e->bay, slots[0], *done);
	return ret;
}

/* One page alone is copied, from a page of zeros, where the limit has a frame for it. It costs
 * the kernel no more, and takes nothing out of a page table: a move does, and where a vCPU's thread
 * has another CPU that CPU is interrupted for it. False: nothing was done. */
static bool move_copy_zero(struct engine *e, char *hva)
{
	static const char zeros[GMM_PAGE_BYTES] __attribute__((aligned(4096)));
	size_t done;

	if (!pool_charge(e->bay->member, 1))
		return false;
	if (engine_copy_pages(e, hva, zeros, GMM_PAGE_BYTES, &done) == 0)
		return true;
	pool_uncharge(e->bay->member, 1);
	return false;
}

static int move_fill_zero(struct engine *e, char *hva, unsigned n, unsigned *done)
{
	bay_slot slots[ENGINE_BATCH_MAX];
	unsigned have = 0, len;
	int ret = 0;

	*done = n == 1 && move_copy_zero(e, hva);
	if (*done)
		return 0;
	if (n > ENGINE_BATCH_MAX)
		n = ENGINE_BATCH_MAX;
	if (n > e->bay->n_zero)
		bay_populate(e->bay, n - e->bay->n_zero);
	while (have < n && (slots[have] = bay_get_zero(e->bay)) != BAY_NONE)
		have++;
	for (unsigned i = 0; i < have && ret == 0; i += len) {
		unsigned now;

		len = bay_run(&slots[i], have - i);
		ret = move_fill_run(e, hva + ((size_t)i << GMM_PAGE_SHIFT), &slots[i], len, &now);
		*done += now;
	}
	for (unsigned i = *done; i < have; i++)
		bay_put_zero(e->bay, slots[i]);
	return ret ? ret : *done == n ? 0 : -ENOMEM;
}

static int move_flip(struct engine *e, char *hva, bay_slot slot)
{
	size_t done;
	int ret = move_bytes(e, hva, bay_hva(e->bay, slot), GMM_PAGE_BYTES, &done);

	if (ret == 0)
		bay_put_vacant(e->bay, slot);
	return ret;
}

/* A frame under O_DIRECT write is pinned and cannot be moved: its content goes into another. */
static int move_install_copy(struct engine *e, char *hva, bay_slot slot)
{
	bay_slot other = bay_get_any(e->bay);
	int ret;

	if (other == BAY_NONE)
		return -ENOMEM;
	memcpy(bay_hva(e->bay, other), bay_hva(e->bay, slot), GMM_PAGE_BYTES);
	ret = move_flip(e, hva, other);
	if (ret)
		bay_put_dirty(e->bay, other);
	return ret;
}

/* A page that is part of a huge one is copied as well: splitting takes a hundred times as long, and
 * fails where another part of it is pinned. */
static int move_install(struct engine *e, char *hva, bay_slot slot)
{
	int ret = -ENOMEM;

	if (bay_is_whole(e->bay, slot))
		ret = move_install_copy(e, hva, slot);
	if (ret == 0)
		bay_put_dirty(e->bay, slot);
	return ret == -ENOMEM ? move_flip(e, hva, slot) : ret;
}

static int move_install_run(struct engine *e, char *hva, const bay_slot *slots, unsigned n,
			    unsigned *done)
{
	int ret = 0;

	for (*done = 0; *done < n && ret == 0;) {
		char *at = hva + ((size_t)*done << GMM_PAGE_SHIFT);
		unsigned len = bay_run(&slots[*done], n - *done), now;

		if (len > 1 && slots[*done] + len <= BAY_SLOTS) {
			ret = move_fill_run(e, at, &slots[*done], len, &now);
			*done += now;
		} else {
			ret = move_install(e, at, slots[*done]);
			*done += ret == 0;
		}
	}
	return ret;
}

static int move_extract(struct engine *e, char *hva, unsigned n, bay_slot *slots, unsigned *done)
{
	int ret = bay_get_vacant(e->bay, n, slots);
	unsigned len;

	*done = 0;
	if (ret)
		return ret;
	for (unsigned i = 0; i < n && ret == 0; i += len) {
		size_t bytes;

		len = bay_run(&slots[i], n - i);
		ret = move_bytes(e, bay_hva(e->bay, slots[i]), hva + ((size_t)i << GMM_PAGE_SHIFT),
				 (size_t)len << GMM_PAGE_SHIFT, &bytes);
		*done += (unsigned)(bytes >> GMM_PAGE_SHIFT);
	}
	for (unsigned i = *done; i < n; i++)
		bay_put_vacant(e->bay, slots[i]);
	return ret;
}

/* 512 slots have been moved to hva. Where the kernel had to move single pages, the slots have a
 * page table now and are returned one by one, which makes the bay renew them. */
static bool move_huge_done(struct engine *e, const char *hva, bay_slot first)
{
	if (pagemap_is_huge(e->pagemap, hva, true)) {
		bay_put_vacant_huge(e->bay, first);
		return true;
	}
	for (unsigned i = 0; i < GMM_HUGE_PAGES; i++)
		bay_put_vacant(e->bay, first + i);
	return false;
}

static int move_fill_zero_huge(struct engine *e, char *hva, unsigned *done, bool *one)
{
	bay_slot first = bay_get_zero_huge(e->bay);
	size_t bytes;
	int ret;

	*done = 0;
	*one = false;
	if (first == BAY_NONE)
		return -ENOMEM;
	ret = move_bytes(e, hva, bay_hva(e->bay, first), GMM_HUGE_BYTES, &bytes);
	*done = (unsigned)(bytes >> GMM_PAGE_SHIFT);
	if (ret == 0)
		*one = move_huge_done(e, hva, first);
	for (unsigned i = 0; i < GMM_HUGE_PAGES && ret; i++)
		if (i < *done)
			bay_put_vacant(e->bay, first + i);
		else
			bay_put_zero(e->bay, first + i);
	return ret;
}

static int move_extract_huge(struct engine *e, char *hva, bay_slot *first, unsigned *done)
{
	size_t bytes;
	int ret;

	*done = 0;
	*first = bay_get_vacant_huge(e->bay);
	if (*first == BAY_NONE)
		return -ENOSPC;
	ret = move_bytes(e, bay_hva(e->bay, *first), hva, GMM_HUGE_BYTES, &bytes);
	*done = (unsigned)(bytes >> GMM_PAGE_SHIFT);
	if (*done == 0)
		bay_put_vacant_huge(e->bay, *first);
	else
		for (unsigned i = *done; i < GMM_HUGE_PAGES; i++)
			bay_put_vacant(e->bay, *first + i);
	return ret;
}

/* All of the bytes, or none. */
static int move_whole(struct engine *e, char *to, char *from, size_t bytes)
{
	size_t went, back;
	int ret = move_bytes(e, to, from, bytes, &went);

	if (ret && went) /* some went: they come back */
		CHECK(move_bytes(e, from, to, went, &back) == 0,
		      "pages just moved cannot be moved back (%d)", ret);
	return ret;
}

static int move_install_huge(struct engine *e, char *hva, bay_slot first, bool *one)
{
	int ret = move_whole(e, hva, bay_hva(e->bay, first), GMM_HUGE_BYTES);

	if (ret == 0)
		*one = move_huge_done(e, hva, first);
	return ret;
}

static int move_prepare_aside(struct engine *e, char *aside, size_t bytes)
{
	return move_register(e, aside, bytes);
}

static int move_lay_aside(struct engine *e, char *hva, char *aside)
{
	return move_whole(e, aside, hva, GMM_PAGE_BYTES);
}

static int move_bring_back(struct engine *e, char *hva, char *aside)
{
	return move_whole(e, hva, aside, GMM_PAGE_BYTES);
}

static int move_lay_block_aside(struct engine *e, char *hva, char *aside)
{
	return move_whole(e, aside, hva, GMM_HUGE_BYTES);
}

/* Where single pages were moved, a page table is left at `aside`, and goes: see move_huge_done().
 */
static int move_bring_block_back(struct engine *e, char *hva, char *aside, bool *one)
{
	int ret = move_whole(e, hva, aside, GMM_HUGE_BYTES);

	if (ret)
		return ret;
	*one = pagemap_is_huge(e->pagemap, hva, true);
	if (!*one)
		madvise(aside, GMM_HUGE_BYTES, MADV_DONTNEED);
	return 0;
}

const struct engine_ops engine_move = {
	.name = "move",
	.features = UFFD_FEATURE_MOVE | UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	.setup = move_setup,
	.fill_zero = move_fill_zero,
	.install = move_install,
	.install_run = move_install_run,
	.install_copy = move_install_copy,
	.extract = move_extract,
	.fill_zero_huge = move_fill_zero_huge,
	.extract_huge = move_extract_huge,
	.install_huge = move_install_huge,
	.split = move_split,
	.prepare_aside = move_prepare_aside,
	.lay_aside = move_lay_aside,
	.bring_back = move_bring_back,
	.lay_block_aside = move_lay_block_aside,
	.bring_block_back = move_bring_block_back,
};
