/* What a program may ask about where it runs. */
#ifndef GUEST_SYSTEM_H
#define GUEST_SYSTEM_H

#include <stdint.h>

/* CPUs that this process may use, at least 1. */
unsigned system_n_cpus(void);

/* Bytes of memory in all and free; 0, or a negative errno. */
int system_memory(uint64_t *total_bytes, uint64_t *free_bytes);

/* Page faults of this process so far: 0, or a negative errno. */
int system_faults(uint64_t *minor, uint64_t *major);

/* The size of an open file: 0, or a negative errno. */
int system_file_bytes(int fd, uint64_t *bytes);

#endif
