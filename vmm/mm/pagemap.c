/* Page maps: see pagemap.h. */
#include "pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <guestmm/types.h>

int pagemap_open(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

bool pagemap_is_empty(int fd, const void *hva)
{
	uint64_t entry;
	off_t at = (off_t)((uintptr_t)hva / GMM_PAGE_BYTES * sizeof(entry));

	return fd >= 0 && pread(fd, &entry, sizeof(entry), at) == (ssize_t)sizeof(entry) &&
	       !(entry & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED));
}

bool pagemap_is_huge(int fd, const void *hva, bool otherwise)
{
	struct pagemap_region found[2];
	struct pagemap_scan scan = {
		.size = sizeof(scan),
		.start = (uintptr_t)hva,
		.end = (uintptr_t)hva + GMM_HUGE_BYTES,
		.vec = (uintptr_t)found,
		.vec_len = 2,
		.category_mask = PAGEMAP_HUGE,
		.return_mask = PAGEMAP_HUGE,
	};
	int n = fd < 0 ? -1 : ioctl(fd, PAGEMAP_SCAN_IOCTL, &scan);

	if (n < 0)
		return otherwise;
	return n == 1 && found[0].end - found[0].start == GMM_HUGE_BYTES;
}
