/* Where the vCPU's thread and the thread that answers its faults run. */
#ifndef BENCH_PLACEMENT_H
#define BENCH_PLACEMENT_H

#include <stdbool.h>

struct placement {
	const char *name;  /* same, other, spin */
	int vcpu, handler; /* CPUs */
	bool spins;	   /* the handler looks for work without sleeping */
};

/* The i-th placement that this machine has; NULL past the last one. The first is always there:
 * both on one CPU. */
const struct placement *placement_at(unsigned i);

/* Pins the calling thread. */
void placement_pin(int cpu);

#endif
