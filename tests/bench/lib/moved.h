/* Memory as the library's guests have it: pages of 2 MiB that userfaultfd has moved in. For floors
 * that tell what the kernel takes for such memory, with nobody keeping books on it. */
#ifndef BENCH_MOVED_H
#define BENCH_MOVED_H

#include <stdbool.h>
#include <stdint.h>

struct moved {
	void *data;
	uint64_t bytes;
	int fd; /* the userfaultfd with which the data is registered */
};

/* Can this kernel move pages? From Linux 6.8 on. */
bool moved_is_possible(void);

/* bytes: a multiple of 2 MiB. All of it is there, and zero. */
void moved_new(struct moved *m, uint64_t bytes);
void moved_free(struct moved *m);

/* Gives [0, bytes) back to the host, by one call for each `step` bytes. */
void moved_drop(struct moved *m, uint64_t bytes, uint64_t step);

#endif
