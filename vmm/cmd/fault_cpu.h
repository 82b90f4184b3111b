/* Where the thread that serves faults is fastest: measured, since no two hosts are alike. */
#ifndef VMM_CMD_FAULT_CPU_H
#define VMM_CMD_FAULT_CPU_H

#include <stdint.h>

enum fault_cpu_kind {
	FAULT_CPU_SAME,	 /* on the CPU of the thread that waits */
	FAULT_CPU_OTHER, /* asleep on another */
	FAULT_CPU_SPIN,	 /* awake on another, polling */
	FAULT_CPU_N_KINDS
};

extern const char *const fault_cpu_names[FAULT_CPU_N_KINDS];

struct fault_cpu {
	uint64_t ns[FAULT_CPU_N_KINDS]; /* of a fault, from touch to go on; 0: not measured */
};

/* Measures each kind with a small space of its own and real faults, on this thread's CPU and on
 * another; some milliseconds in all. Returns 0, or a negative errno where that cannot be done
 * (-ENODEV: there is one CPU only); what could be measured is in *out even then. */
int fault_cpu_measure(struct fault_cpu *out);

#endif
