/* The seam, over Linux's system calls. The same file serves the host and the guest: both
 * have <sys/mman.h> and the rest, each its own. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os.h"

#define PAGE_BYTES 4096ul

#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129

enum { LOCK_FREE, LOCK_HELD, LOCK_WAITED_FOR };

/* Most turns that a thread spins for a lock before it sleeps: critical sections are short,
 * and a sleep costs a guest a hundred microseconds. */
#define SPINS 200

static _Thread_local void *thread_slot;

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void *os_map(size_t bytes, size_t align)
{
	char *p = map(bytes), *start;
	size_t spare = align - PAGE_BYTES;

	if (!p || ((uintptr_t)p & (align - 1)) == 0)
		return p;
	munmap(p, bytes);
	if (bytes + spare < bytes)
		return NULL;
	p = map(bytes + spare);
	if (!p)
		return NULL;
	start = (char *)(((uintptr_t)p + align - 1) & ~(align - 1));
	if (start != p)
		munmap(p, (size_t)(start - p));
	if (start + bytes != p + bytes + spare)
		munmap(start + bytes, (size_t)(p + spare - start));
	return start;
}

void os_unmap(void *p, size_t bytes)
{
	munmap(p, bytes);
}

void *os_remap(void *p, size_t old_bytes, size_t bytes)
{
	void *moved = mremap(p, old_bytes, bytes, MREMAP_MAYMOVE);

	return moved == MAP_FAILED ? NULL : moved;
}

int os_purge(void *p, size_t bytes)
{
	return madvise(p, bytes, MADV_DONTNEED);
}

uint64_t os_random(void)
{
	uint64_t value = 0;

	if (syscall(SYS_getrandom, &value, sizeof(value), 0) != (long)sizeof(value))
		value = (uintptr_t)&value * 0x9e3779b97f4a7c15u; /* guards, not secrets */
	return value;
}

void os_lock(uint32_t *lock)
{
	uint32_t seen;

	for (int i = 0; i < SPINS; i++) {
		seen = LOCK_FREE;
		if (__atomic_compare_exchange_n(lock, &seen, LOCK_HELD, false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return;
		__builtin_ia32_pause();
	}
	while (__atomic_exchange_n(lock, LOCK_WAITED_FOR, __ATOMIC_ACQUIRE) != LOCK_FREE)
		syscall(SYS_futex, lock, FUTEX_WAIT_PRIVATE, LOCK_WAITED_FOR, NULL, NULL, 0);
}

void os_unlock(uint32_t *lock)
{
	if (__atomic_exchange_n(lock, LOCK_FREE, __ATOMIC_RELEASE) == LOCK_WAITED_FOR)
		syscall(SYS_futex, lock, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void **os_thread_slot(void)
{
	return &thread_slot;
}

_Noreturn void os_die(const char *message)
{
	ssize_t written = write(2, message, strlen(message));

	(void)written; /* nobody is left to tell */
	abort();
}
