/* Laying the guest's page-frame allocator: see frames.h.
 *
 * The block is no part of the guest's RAM: it must be there whatever the limit, and neither side
 * may wait for it. It takes 0.012 % of the memory that it is for, as far as it is used; address
 * space that nobody touches costs nothing.
 */
#include "vmm/boot/frames.h"

#include <errno.h>
#include <guestmm/frames.h>
#include <string.h>
#include <sys/mman.h>

static void claim(struct gmm_frames *f, uint64_t start, uint64_t end)
{
	if (start < end)
		gmm_frames_claim(f, start / 4096, (end - start) / 4096);
}

int boot_frames_new(struct vm *vm, struct layout *layout, struct boot_frames *out)
{
	struct boot_frames f = {.n_frames = layout->ranges[layout->n_ranges - 1].end / 4096};
	uint64_t last = 0;
	int rc;

	*out = (struct boot_frames){0};
	f.bytes = (gmm_frames_bytes(f.n_frames) + 4095) & ~(size_t)4095;
	if (layout_add_window(layout, f.bytes, &f.gpa))
		return 0;
	f.block = mmap(NULL, f.bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (f.block == MAP_FAILED)
		return -ENOMEM;
	madvise(f.block, f.bytes, MADV_NOHUGEPAGE);
	madvise(f.block, f.bytes, MADV_DONTFORK);
	rc = vm_add_slot(vm, f.gpa, f.bytes, f.block, false);
	if (rc || gmm_frames_init_zeroed(f.block, f.bytes, f.n_frames)) {
		munmap(f.block, f.bytes);
		return rc ? rc : -EINVAL;
	}
	for (unsigned i = 0; i < layout->n_ranges; i++) {
		claim(f.block, last, layout->ranges[i].start);
		last = layout->ranges[i].end;
	}
	claim(f.block, 0, 4096);
	*out = f;
	return 0;
}

void boot_frames_claim(const struct boot_frames *f, struct gmm_boot_range used)
{
	if (f->block)
		claim(f->block, used.start, used.end);
}

void boot_frames_free(struct boot_frames *f)
{
	if (f->block)
		munmap(f->block, f->bytes);
	f->block = NULL;
}
