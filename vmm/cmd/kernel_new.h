/* What newer kernels offer and older headers lack. */
#ifndef VMM_CMD_KERNEL_NEW_H
#define VMM_CMD_KERNEL_NEW_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>
#include <stdint.h>

/* Linux 6.1 */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

/* userfaultfd features. The headers name them as ints; these are the bits of uffdio_api.features.
 */
#define KERNEL_UFFD_WP		 (UINT64_C(1) << 0)  /* Linux 5.7 */
#define KERNEL_UFFD_EVENT_REMOVE (UINT64_C(1) << 3)  /* Linux 4.11 */
#define KERNEL_UFFD_THREAD_ID	 (UINT64_C(1) << 8)  /* Linux 4.14 */
#define KERNEL_UFFD_MINOR_SHMEM	 (UINT64_C(1) << 10) /* Linux 5.14 */
#define KERNEL_UFFD_POISON	 (UINT64_C(1) << 14) /* Linux 6.6 */
#define KERNEL_UFFD_WP_ASYNC	 (UINT64_C(1) << 15) /* Linux 6.7 */
#define KERNEL_UFFD_MOVE	 (UINT64_C(1) << 16) /* Linux 6.8 */

/* ioctl of /proc/PID/pagemap, Linux 6.7: struct pm_scan_arg of twelve 64-bit fields, the
 * first of which is its size. */
struct kernel_pm_scan_arg {
	__u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	__u64 category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define KERNEL_PAGEMAP_SCAN    _IOWR('f', 16, struct kernel_pm_scan_arg)
#define KERNEL_PAGE_IS_PRESENT (1u << 3)

_Static_assert(sizeof(struct kernel_pm_scan_arg) == 96, "layout of the kernel's pm_scan_arg");

#endif
