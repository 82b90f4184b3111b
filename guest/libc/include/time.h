/* Clocks. */
#ifndef GUEST_TIME_H
#define GUEST_TIME_H

#include <stdint.h>

/* Nanoseconds of the monotonic clock. A system call: not for inner loops. */
uint64_t clock_ns(void);

#endif
