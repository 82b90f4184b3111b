/* Booting guestmm's own guest kernel: laying down all it needs, and the vCPUs' first state. */
#ifndef VMM_BOOT_ENTRY_H
#define VMM_BOOT_ENTRY_H

#include <guestmm/guestmm.h>

#include "vmm/boot/frames.h"
#include "vmm/boot/layout.h"
#include "vmm/kvm/vm.h"

struct boot_blob {
	const char *name; /* for messages */
	const void *data;
	size_t bytes; /* 0: there is none */
};

struct boot_config {
	struct gmm_space *space;
	struct vm *vm;
	const struct layout *layout;
	struct boot_blob kernel;
	struct boot_blob program; /* none: a bundled one, named by args[0] */
	unsigned n_args;
	const char *const *args;
	unsigned n_files;
	const struct gmm_boot_file *files;
	const struct boot_frames *frames;
};

/* Loads all of it and sets the vCPUs' registers. *shared_gpa is struct gmm_shared. Has said
 * why on failure: -ENOEXEC (a file is wrong), -ENOSPC (the guest has too little memory),
 * -EIO, -ENOMEM. */
int boot_load(const struct boot_config *config, uint64_t *shared_gpa);

#endif
