/* What the kernel has mapped in this process: /proc/self/pagemap, and its PAGEMAP_SCAN (Linux 6.7).
 */
#ifndef MM_PAGEMAP_H
#define MM_PAGEMAP_H

#include <linux/ioctl.h>
#include <stdbool.h>
#include <stdint.h>

/* As in linux/fs.h, which older headers lack: struct page_region, struct pm_scan_arg. */
struct pagemap_region {
	uint64_t start, end, categories;
};

struct pagemap_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

/* Of a page's entry (Documentation/admin-guide/mm/pagemap.rst). */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)

#define PAGEMAP_SCAN_IOCTL _IOWR('f', 16, struct pagemap_scan)
#define PAGEMAP_WRITTEN	   (UINT64_C(1) << 1) /* PAGE_IS_WRITTEN */
#define PAGEMAP_HUGE	   (UINT64_C(1) << 6) /* PAGE_IS_HUGE */

/* A descriptor to ask by, or a negative errno: -EMFILE, -EACCES, -ENOENT (no /proc here). */
int pagemap_open(void);

/* Is there no page at hva, neither in memory nor in swap? False where that cannot be asked. */
bool pagemap_is_empty(int fd, const void *hva);

/* Is the 2 MiB at hva one huge page? Where the kernel does not tell (older, or fd < 0):
 * `otherwise`. */
bool pagemap_is_huge(int fd, const void *hva, bool otherwise);

#endif
