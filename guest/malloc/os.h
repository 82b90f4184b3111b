/* The seam: all that malloc wants from the system beneath it. */
#ifndef GUEST_MALLOC_OS_H
#define GUEST_MALLOC_OS_H

#include <stddef.h>
#include <stdint.h>

/* Fresh memory that reads as zero, aligned to `align` (a power of two, pages at least);
 * NULL where there is none. */
void *os_map(size_t bytes, size_t align);
void os_unmap(void *p, size_t bytes);

/* Grows or shrinks a mapping, moving it where it must; NULL where it cannot. */
void *os_remap(void *p, size_t old_bytes, size_t bytes);

/* Gives the memory back but keeps the addresses: they read as zero. 0, or -1 where the
 * content is as it was. */
int os_purge(void *p, size_t bytes);

uint64_t os_random(void);

/* A lock is a zeroed word. Held briefly; waiters sleep. */
void os_lock(uint32_t *lock);
void os_unlock(uint32_t *lock);

/* This thread's one pointer, NULL at first. */
void **os_thread_slot(void);

/* Tells the user and ends like abort(). */
_Noreturn void os_die(const char *message);

#endif
