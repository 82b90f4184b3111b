/* Stalls: how long vCPUs waited for memory, as the kernel's PSI counts it.
 *
 * `some`: at least one thread waits; `full`: as many wait as there are vCPUs. A wait begins
 * when a fault needs a read or a frame and ends when the page is in place. Averages over
 * 10, 60 and 300 s decay exponentially, updated every STALL_PERIOD_NS (kernel/sched/psi.c).
 */
#ifndef MM_STALL_H
#define MM_STALL_H

#include <stdint.h>

#define STALL_PERIOD_NS UINT64_C(2000000000)

struct stall {
	uint32_t n_vcpus, n_waiting;
	uint64_t since_ns;		     /* of the last change */
	uint64_t some_ns, full_ns;	     /* totals */
	uint64_t period_ns;		     /* when this averaging period began */
	uint64_t period_some_ns, period_full_ns; /* totals then */
	double some_avg[3], full_avg[3];     /* percent */
};

void stall_init(struct stall *s, uint32_t n_vcpus, uint64_t now);

/* n threads begin to wait (n > 0), or n end (n < 0). */
void stall_change(struct stall *s, uint64_t now, int32_t n);

/* Brings totals and averages up to now. */
void stall_update(struct stall *s, uint64_t now);

#endif
