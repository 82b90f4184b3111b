/* The block that the guest kernel's page frames come from, and the VMM takes free ones out of: see
 * GMM_BOOT_FRAMES in abi.h. */
#ifndef VMM_BOOT_FRAMES_H
#define VMM_BOOT_FRAMES_H

#include <stddef.h>

#include "vmm/boot/layout.h"
#include "vmm/kvm/vm.h"

struct boot_frames {
	void *block; /* NULL: there is none */
	size_t bytes;
	uint64_t n_frames;
	uint64_t gpa;
};

/* Lays a block for all RAM of the layout: memory of the VMM's own, behind RAM. What is no RAM is
 * claimed in it. 0 without a block where no guest-physical addresses are left. -ENOMEM, or KVM's
 * error, which has been said. */
int boot_frames_new(struct vm *vm, struct layout *layout, struct boot_frames *out);

/* Claims RAM that is in use before the guest runs. */
void boot_frames_claim(const struct boot_frames *f, struct gmm_boot_range used);

/* After the virtual machine is gone. */
void boot_frames_free(struct boot_frames *f);

#endif
