/* The move engine: frames are flipped between the bay and the guest by UFFDIO_MOVE.
 *
 * No copy, no allocation, and the pool's count of frames does not change. The bay must be
 * registered with the userfaultfd that moves (mm/userfaultfd.c, validate_move_areas(), Linux
 * 6.8); registered for write protection only, its own first touches stay ordinary faults.
 */
#include "engine.h"

#include <errno.h>
#include <string.h>

/* The kernel answers EAGAIN when it lost a race for a page lock; it is rare and short. */
#define MOVE_TRIES 16

static int move_bytes(struct engine *e, char *to, char *from, size_t bytes, size_t *done)
{
	int ret = 0;

	*done = 0;
	for (int i = 0; i < MOVE_TRIES && *done < bytes; i++) {
		size_t now;

		ret = uffd_move(e->uffd, to + *done, from + *done, bytes - *done, &now);
		*done += now;
		if (ret != -EAGAIN && ret != 0)
			break;
	}
	return *done == bytes ? 0 : ret == -EAGAIN ? -EBUSY : ret;
}

static int move_setup(struct engine *e)
{
	return uffd_register(e->uffd, e->bay->base, (size_t)BAY_SLOTS << GMM_PAGE_SHIFT,
			     UFFDIO_REGISTER_MODE_WP);
}

/* How many of slots[0..n) stand side by side from the first on. */
static unsigned move_run(const bay_slot *slots, unsigned n)
{
	unsigned len = 1;

	while (len < n && slots[len] == slots[len - 1] + 1)
		len++;
	return len;
}

static int move_fill_run(struct engine *e, char *hva, const bay_slot *slots, unsigned n,
			 unsigned *done)
{
	size_t bytes;
	int ret =
		move_bytes(e, hva, bay_hva(e->bay, slots[0]), (size_t)n << GMM_PAGE_SHIFT, &bytes);

	*done = (unsigned)(bytes >> GMM_PAGE_SHIFT);
	for (unsigned i = 0; i < *done && i < n; i++)
		bay_put_vacant(e->bay, slots[i]); /* NOLINT: all n slots are set by the caller */
	return ret;
}

static int move_fill_zero(struct engine *e, char *hva, unsigned n, unsigned *done)
{
	bay_slot slots[ENGINE_BATCH_MAX];
	unsigned have = 0, len;
	int ret = 0;

	*done = 0;
	if (n > ENGINE_BATCH_MAX)
		n = ENGINE_BATCH_MAX;
	if (n > e->bay->zero.n)
		bay_populate(e->bay, n - e->bay->zero.n);
	while (have < n && (slots[have] = bay_get_zero(e->bay)) != BAY_NONE)
		have++;
	for (unsigned i = 0; i < have && ret == 0; i += len) {
		unsigned now;

		len = move_run(&slots[i], have - i);
		ret = move_fill_run(e, hva + ((size_t)i << GMM_PAGE_SHIFT), &slots[i], len, &now);
		*done += now;
	}
	for (unsigned i = *done; i < have; i++)
		bay_put_zero(e->bay, slots[i]);
	return ret ? ret : *done == n ? 0 : -ENOMEM;
}

static int move_install(struct engine *e, char *hva, bay_slot slot)
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
	ret = move_install(e, hva, other);
	if (ret)
		bay_put_dirty(e->bay, other);
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

		len = move_run(&slots[i], n - i);
		ret = move_bytes(e, bay_hva(e->bay, slots[i]), hva + ((size_t)i << GMM_PAGE_SHIFT),
				 (size_t)len << GMM_PAGE_SHIFT, &bytes);
		*done += (unsigned)(bytes >> GMM_PAGE_SHIFT);
	}
	for (unsigned i = *done; i < n; i++)
		bay_put_vacant(e->bay, slots[i]);
	return ret;
}

const struct engine_ops engine_move = {
	.name = "move",
	.features = UFFD_FEATURE_MOVE | UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	.setup = move_setup,
	.fill_zero = move_fill_zero,
	.install = move_install,
	.install_copy = move_install_copy,
	.extract = move_extract,
};
