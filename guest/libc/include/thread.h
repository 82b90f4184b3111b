/* Threads: started, joined, nothing else. The guest kernel runs one a vCPU and
 * never preempts, so there are at most as many as CPUs. */
#ifndef GUEST_THREAD_H
#define GUEST_THREAD_H

#include <stdint.h>

struct thread {
	void (*run)(void *);
	void *arg;
	void *memory; /* stack, with thread-local storage at its top */
	uint32_t tid; /* 0: it has ended (the kernel clears it and wakes the futex) */
};

/* The struct must stay where it is until the join. 0, or a negative errno (-EAGAIN:
 * no CPU is idle). */
int thread_start(struct thread *thread, void (*run)(void *), void *arg);
void thread_join(struct thread *thread);

#endif
