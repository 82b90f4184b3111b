/* Threads: whose faults a userfaultfd tells of.
 *
 * With asynchronous page faults KVM lets a worker of the kernel's wait for a page: the message then
 * names that worker, any of many, and says that it wants to write, whatever the guest wants.
 * Only this process's own threads are what they seem. The lately seen are remembered. Under the
 * space's lock.
 */
#ifndef MM_THREADS_H
#define MM_THREADS_H

#include <stdbool.h>
#include <stdint.h>

#define THREADS_N 32u

struct threads {
	struct {
		int32_t tid; /* 0: nothing is remembered here */
		bool is_own;
	} seen[THREADS_N];
};

/* Is tid a thread of this process? 0 is nobody's. */
bool threads_has(struct threads *t, int32_t tid);

#endif
