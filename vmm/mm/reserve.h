/* Memory that is reserved at once, reads as zero, and costs only what is touched. */
#ifndef MM_RESERVE_H
#define MM_RESERVE_H

#include <stddef.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

/* NULL where there is no address space for it. */
static inline void *reserve_map(size_t bytes)
{
	void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* The same at a multiple of `align`, a power of two. */
static inline void *reserve_aligned(size_t bytes, size_t align)
{
	char *p = reserve_map(bytes + align);
	size_t skip = p ? -(size_t)p & (align - 1) : 0;

	if (!p)
		return NULL;
	if (skip)
		munmap(p, skip);
	munmap(p + skip + bytes, align - skip);
	return p + skip;
}

static inline void reserve_unmap(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes ? bytes : 1);
}

#endif
