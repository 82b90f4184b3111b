/* How many system calls of the kinds that matter the process has made, the library's included: the
 * linker leads them through here (--wrap). Of io_uring's own calls the store's statistics tell. */
#ifndef BENCH_SYSCALLS_H
#define BENCH_SYSCALLS_H

#include <stdint.h>

#define SYSCALLS_N 8u

struct syscalls {
	uint64_t n[SYSCALLS_N];
};

void syscalls_get(struct syscalls *out);
const char *syscalls_name(unsigned i);

#endif
