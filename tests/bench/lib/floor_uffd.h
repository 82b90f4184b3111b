/* The floor of everything that goes through userfaultfd: a thread that reads one message and
 * answers it by one ioctl, and does nothing else. */
#ifndef BENCH_FLOOR_UFFD_H
#define BENCH_FLOOR_UFFD_H

#include <pthread.h>
#include <stdint.h>

#include "placement.h"

struct floor_uffd {
	int fd;
	char *base;
	uint64_t bytes;
	const struct placement *where;
	/* Content for a page; NULL: zeros. Called by the thread; returns a page, which it may have
	 * made in `buffer`. */
	const void *(*fetch)(void *user, uint64_t page, void *buffer);
	void *user;

	pthread_t thread;
	void *last, *buffer; /* a page whose touch ends the thread; room for fetch */
	uint64_t n_faults;
};

/* Takes over [base, base + bytes). fetch, user, where are set before. */
void floor_uffd_start(struct floor_uffd *f, void *base, uint64_t bytes);
void floor_uffd_stop(struct floor_uffd *f);

/* A userfaultfd, by system call, or by the device file where only that is permitted. Ends the
 * program, 77, where there is none. */
int floor_uffd_open(int flags);

#endif
