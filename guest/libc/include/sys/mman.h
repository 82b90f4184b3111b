/* Mappings. Failures: MAP_FAILED or -1, and errno. */
#ifndef GUEST_SYS_MMAN_H
#define GUEST_SYS_MMAN_H

#include <stddef.h>
#include <unistd.h>

#define PROT_NONE  0
#define PROT_READ  1
#define PROT_WRITE 2

#define MAP_SHARED	0x01
#define MAP_PRIVATE	0x02
#define MAP_FIXED	0x10
#define MAP_ANONYMOUS	0x20
#define MAP_NORESERVE	0x4000
#define MAP_FAILED	((void *)-1)
#define MREMAP_MAYMOVE	1
#define MADV_DONTNEED	4
#define MADV_NOHUGEPAGE 15

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
int munmap(void *at, size_t n);
int mprotect(void *at, size_t n, int prot);
int madvise(void *at, size_t n, int advice);
void *mremap(void *at, size_t old_n, size_t n, int flags, ...);

#endif
