/* Files for floors: without a name, in the folder where the library puts its swap files, past the
 * page cache. */
#ifndef BENCH_SCRATCH_H
#define BENCH_SCRATCH_H

#include <stdint.h>

/* An empty file of this size, as a swap file begins. */
int scratch_new(uint64_t bytes);

/* A file of n pages as guest_fill() fills them. */
int scratch_new_filled(uint64_t n_pages, uint64_t n_noise);

/* One page. */
void scratch_read(int fd, uint64_t page, void *to);

#endif
