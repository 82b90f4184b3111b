/* Between the files of the libc. */
#ifndef GUEST_LIBC_INTERNAL_H
#define GUEST_LIBC_INTERNAL_H

#include <stddef.h>

int main(int argc, char **argv);

/* Lays a thread's static storage and control block at the end of [memory, memory + bytes);
 * returns the thread pointer, which is also the highest address a stack may use. */
void *tls_lay(void *memory, size_t bytes);

/* Thread-local bytes and the control block after them. */
size_t tls_bytes(void);

#endif
