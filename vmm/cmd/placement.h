/* Which CPU the guest runs on: where a fault is served beside the vCPU that waits for it, nobody
 * has to be woken on another CPU. */
#ifndef VMM_CMD_PLACEMENT_H
#define VMM_CMD_PLACEMENT_H

#include <guestmm/worker.h>
#include <sched.h>

#include "vmm/kvm/vm.h"

#define PLACEMENT_AUTO (-1)
#define PLACEMENT_OFF  (-2)

struct placement {
	struct vm *vm;
	struct gmm_worker *worker;
	int where; /* as asked for */
	int cpu;   /* as chosen; -1: none */
	cpu_set_t allowed;
	uint64_t busy[CPU_SETSIZE], own; /* ns, as of the last look */
};

/* After vm_start(). `where`: a CPU, PLACEMENT_AUTO or PLACEMENT_OFF. */
void placement_start(struct placement *p, struct vm *vm, struct gmm_worker *worker, int where);

/* About once a second: moves on where another CPU has become much freer. */
void placement_tick(struct placement *p);

#endif
