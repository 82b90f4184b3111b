/* Booting kernels that know nothing of guestmm: Linux's bzImage, and ELF files with a PVH note. */
#ifndef VMM_BOOT_LINUX_H
#define VMM_BOOT_LINUX_H

#include "vmm/boot/entry.h"

enum linux_kind { LINUX_NONE, LINUX_BZIMAGE, LINUX_PVH };

struct linux_config {
	struct gmm_space *space;
	struct vm *vm;
	const struct layout *layout;
	struct boot_blob kernel, initrd;
	const char *cmdline;
};

/* What kind of kernel is the file? It may be anything. */
enum linux_kind linux_kind(const void *file, size_t bytes);

/* Loads the kernel and sets vCPU 0's registers; the others wait for it to start them. Has said
 * why on failure: -ENOEXEC, -ENOSPC, -E2BIG (the command line), -EIO, -ENOMEM. */
int linux_load(const struct linux_config *config);

#endif
