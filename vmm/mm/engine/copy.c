/* The copy engine, for kernels before UFFDIO_MOVE (5.15 and later).
 *
 * In: UFFDIO_COPY, which allocates a frame, charged before. Out: write-protect, copy, then
 * MADV_DONTNEED. A guest write between protection and discard blocks in the kernel, becomes an
 * event, and finds the page EVICTING: a rescue. Demand-zero copies a zero page rather than using
 * UFFDIO_ZEROPAGE, whose shared page a later write would replace with a frame that nobody
 * charged. The bay's floor keeps buffers to evict through, even where the limit is reached.
 */
#include "engine.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define COPY_BUFFERS 16u

static const _Alignas(4096) char copy_zero_page[GMM_PAGE_BYTES];

static int copy_setup(struct engine *e)
{
	if (bay_populate(e->bay, COPY_BUFFERS) < COPY_BUFFERS)
		return -ENOMEM;
	e->bay->floor = COPY_BUFFERS;
	return 0;
}

/* One frame for the guest; a free buffer is given back to the host for it if need be. */
static bool copy_charge(struct engine *e)
{
	if (pool_charge(e->bay->member, 1))
		return true;
	return bay_trim(e->bay, 1, true) && pool_charge(e->bay->member, 1);
}

static int copy_in(struct engine *e, char *hva, const char *from)
{
	size_t done;
	int ret;

	if (!copy_charge(e))
		return -ENOMEM;
	ret = engine_copy_pages(e, hva, from, GMM_PAGE_BYTES, &done);
	if (ret)
		pool_uncharge(e->bay->member, 1);
	return ret;
}

static int copy_fill_zero(struct engine *e, char *hva, unsigned n, unsigned *done)
{
	int ret = 0;

	for (*done = 0; *done < n; (*done)++) {
		ret = copy_in(e, hva + ((size_t)*done << GMM_PAGE_SHIFT), copy_zero_page);
		if (ret)
			break;
	}
	return ret;
}

static int copy_install_copy(struct engine *e, char *hva, bay_slot slot)
{
	return copy_in(e, hva, bay_hva(e->bay, slot));
}

/* Where the limit leaves no second frame for the copy, the buffer's own charge passes to the
 * guest: the content waits in a page of the caller's stack, the buffer goes, then the copy comes.
 */
static int copy_pass_on(struct engine *e, char *hva, char *from)
{
	_Alignas(4096) char page[GMM_PAGE_BYTES];
	size_t done;
	int ret;

	memcpy(page, from, GMM_PAGE_BYTES);
	if (madvise(from, GMM_PAGE_BYTES, MADV_DONTNEED))
		return -errno;
	ret = engine_copy_pages(e, hva, page, GMM_PAGE_BYTES, &done);
	if (ret) /* the frame comes back for the content; its charge never went */
		memcpy(from, page, GMM_PAGE_BYTES);
	return ret;
}

static int copy_install_last(struct engine *e, char *hva, bay_slot slot)
{
	int ret = copy_pass_on(e, hva, bay_hva(e->bay, slot));

	if (ret == 0)
		bay_hand_over(e->bay, slot);
	return ret;
}

static int copy_install(struct engine *e, char *hva, bay_slot slot)
{
	int ret = copy_in(e, hva, bay_hva(e->bay, slot));

	if (ret == -ENOMEM)
		return copy_install_last(e, hva, slot);
	if (ret == 0)
		bay_put_dirty(e->bay, slot);
	return ret;
}

/* Slots side by side, by one call if the limit has frames for all the copies; *done: how many. */
static int copy_in_run(struct engine *e, char *hva, const bay_slot *slots, unsigned n,
		       unsigned *done)
{
	size_t bytes;
	int ret;

	*done = 0;
	if (n == 1 || !pool_charge(e->bay->member, n)) {
		ret = copy_install(e, hva, slots[0]);
		*done = ret == 0;
		return ret;
	}
	ret = engine_copy_pages(e, hva, bay_hva(e->bay, slots[0]), (size_t)n << GMM_PAGE_SHIFT,
				&bytes);
	*done = (unsigned)(bytes >> GMM_PAGE_SHIFT);
	pool_uncharge(e->bay->member, n - *done);
	for (unsigned i = 0; i < *done; i++)
		bay_put_dirty(e->bay, slots[i]);
	return *done ? 0 : ret; /* EAGAIN tells that it was a part; why, the rest will tell */
}

static int copy_install_run(struct engine *e, char *hva, const bay_slot *slots, unsigned n,
			    unsigned *done)
{
	int ret = 0;

	for (*done = 0; *done < n && ret == 0;) {
		unsigned len = bay_run(&slots[*done], n - *done), now;

		ret = copy_in_run(e, hva + ((size_t)*done << GMM_PAGE_SHIFT), &slots[*done], len,
				  &now);
		*done += now;
	}
	return ret;
}

static int copy_extract_one(struct engine *e, char *hva, bay_slot *out)
{
	bay_slot slot = bay_get_last(e->bay);

	if (slot == BAY_NONE)
		return -ENOMEM;
	memcpy(bay_hva(e->bay, slot), hva, GMM_PAGE_BYTES);
	if (engine_discard(e, hva, 1)) {
		bay_put_dirty(e->bay, slot);
		return -EBUSY;
	}
	*out = slot;
	return 0;
}

static int copy_extract(struct engine *e, char *hva, unsigned n, bay_slot *slots, unsigned *done)
{
	int ret = uffd_protect(e->uffd, hva, (size_t)n << GMM_PAGE_SHIFT, true);

	*done = 0;
	if (ret)
		return ret == -EAGAIN ? -EBUSY : ret;
	while (*done < n && ret == 0) {
		ret = copy_extract_one(e, hva + ((size_t)*done << GMM_PAGE_SHIFT), &slots[*done]);
		if (ret == 0)
			(*done)++;
	}
	if (*done < n) /* what stays must be writable again; this also wakes writers */
		uffd_protect(e->uffd, hva + ((size_t)*done << GMM_PAGE_SHIFT),
			     (size_t)(n - *done) << GMM_PAGE_SHIFT, false);
	return ret;
}

/* The copy is charged before it is there, the guest's own goes then. */
static int copy_lay_aside(struct engine *e, char *hva, char *aside)
{
	int ret;

	if (!pool_charge(e->bay->member, 1))
		return -ENOMEM;
	ret = uffd_protect(e->uffd, hva, GMM_PAGE_BYTES, true);
	if (ret == 0) {
		memcpy(aside, hva, GMM_PAGE_BYTES);
		if (engine_discard(e, hva, 1) == 0)
			return 0;
		uffd_protect(e->uffd, hva, GMM_PAGE_BYTES, false);
		madvise(aside, GMM_PAGE_BYTES, MADV_DONTNEED);
	}
	pool_uncharge(e->bay->member, 1);
	return -EBUSY;
}

const struct engine_ops engine_copy = {
	.name = "copy",
	.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	.setup = copy_setup,
	.fill_zero = copy_fill_zero,
	.install = copy_install,
	.install_run = copy_install_run,
	.install_copy = copy_install_copy,
	.extract = copy_extract,
	.lay_aside = copy_lay_aside,
	.bring_back = copy_pass_on,
};
