/* Guest-physical memory: RAM from 0 up to 3 GiB and on from 4 GiB, the hole between them for
 * devices, windows on files above, each at a 1 GiB boundary so that large host pages and
 * large guest pages are both possible. */
#include "vmm/boot/layout.h"

#include <errno.h>

#define WINDOW_ALIGN  (UINT64_C(1) << 30)
#define MAX_PHYS_BITS 46 /* what the direct map and 4-level page tables hold */

static uint64_t round_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

int layout_init(struct layout *l, uint64_t memory_bytes, unsigned phys_bits)
{
	const uint64_t low =
		memory_bytes < GMM_MMIO_HOLE_START ? memory_bytes : GMM_MMIO_HOLE_START;
	struct layout made = {.memory_bytes = memory_bytes, .n_ranges = 1};

	if (memory_bytes == 0 || memory_bytes % 4096)
		return -EINVAL;
	if (phys_bits > MAX_PHYS_BITS)
		phys_bits = MAX_PHYS_BITS;
	made.end = UINT64_C(1) << phys_bits;
	made.ranges[0].end = low;
	made.next_window = GMM_MMIO_HOLE_END;
	if (memory_bytes > low) {
		if (made.end < GMM_MMIO_HOLE_END ||
		    memory_bytes - low > made.end - GMM_MMIO_HOLE_END)
			return -ERANGE;
		made.n_ranges = 2;
		made.ranges[1].start = GMM_MMIO_HOLE_END;
		made.ranges[1].end = GMM_MMIO_HOLE_END + (memory_bytes - low);
		made.next_window = round_up(made.ranges[1].end, WINDOW_ALIGN);
	}
	*l = made;
	return 0;
}

int layout_add_window(struct layout *l, uint64_t bytes, uint64_t *gpa)
{
	if (l->next_window >= l->end || bytes > l->end - l->next_window)
		return -ERANGE;
	*gpa = l->next_window;
	l->next_window = round_up(l->next_window + bytes, WINDOW_ALIGN);
	return 0;
}

bool layout_is_ram(const struct layout *l, uint64_t gpa, uint64_t bytes)
{
	for (unsigned i = 0; i < l->n_ranges; i++) {
		const struct gmm_boot_range *r = &l->ranges[i];

		if (gpa >= r->start && gpa <= r->end && bytes <= r->end - gpa)
			return true;
	}
	return false;
}
