/* The balloon, as a program asks for it. */
#ifndef GUEST_BALLOON_H
#define GUEST_BALLOON_H

#include <stdint.h>

/* Asks the kernel to give up this many bytes in all, 0 for none. Returns the bytes that are
 * given up now, or a negative errno: -ENOSYS on a kernel without a balloon. */
long balloon_set(uint64_t bytes);

#endif
