/* Page maps: see pagemap.h. The structures are those of linux/fs.h, which older headers lack. */
#include "pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <guestmm/types.h>

struct pagemap_region {
	uint64_t start, end, categories;
};

struct pagemap_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define PAGEMAP_SCAN_IOCTL _IOWR('f', 16, struct pagemap_scan)
#define PAGEMAP_HUGE	   (UINT64_C(1) << 6) /* PAGE_IS_HUGE */

int pagemap_open(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
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
