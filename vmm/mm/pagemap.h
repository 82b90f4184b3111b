/* What the kernel has mapped in this process, by PAGEMAP_SCAN (Linux 6.7). */
#ifndef MM_PAGEMAP_H
#define MM_PAGEMAP_H

#include <stdbool.h>

/* A descriptor to ask by, or a negative errno: -EMFILE, -EACCES, -ENOENT (no /proc here). */
int pagemap_open(void);

/* Is the 2 MiB at hva one huge page? Where the kernel does not tell (older, or fd < 0):
 * `otherwise`. */
bool pagemap_is_huge(int fd, const void *hva, bool otherwise);

#endif
