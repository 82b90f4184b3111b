/* Which CPUs the guest and the worker that serves its faults run on: where a fault is served beside
 * the vCPU that waits for it, nobody has to be woken on another CPU. */
#ifndef VMM_CMD_PLACEMENT_H
#define VMM_CMD_PLACEMENT_H

#include <guestmm/worker.h>
#include <sched.h>
#include <stdatomic.h>

#include "vmm/cmd/fault_cpu.h"
#include "vmm/kvm/vm.h"

/* --pin: a CPU, or one of these */
#define PLACEMENT_AUTO (-1)
#define PLACEMENT_OFF  (-2)

/* --fault-cpu: a CPU, or one of these */
#define PLACEMENT_FAULTS_AUTO	(-1)
#define PLACEMENT_FAULTS_SAME	(-2)
#define PLACEMENT_FAULTS_SPIN	(-3)
#define PLACEMENT_FAULTS_AS_PIN (-4) /* not given: auto, unless --pin says something */

enum placement_choice {
	PLACEMENT_ANY,	/* the scheduler decides */
	PLACEMENT_SAME, /* worker and first vCPU share one */
	PLACEMENT_SPIN, /* the worker polls */
	PLACEMENT_CPU,	/* the worker has one of its own */
};

struct placement {
	struct vm *vm;
	struct gmm_worker *worker;
	int pin, faults; /* as asked for */
	enum placement_choice choice;
	struct fault_cpu measured; /* all 0: it was not */
	atomic_int cpu;		   /* shared, or the worker's own; -1: none */
	cpu_set_t allowed;
	uint64_t busy[CPU_SETSIZE], own; /* ns, as of the last look */
};

/* Decides, which may take some milliseconds of measuring. Before the guest runs. */
void placement_choose(struct placement *p, int pin, int faults, unsigned n_vcpus);

/* After vm_start(). */
void placement_start(struct placement *p, struct vm *vm, struct gmm_worker *worker);

/* About once a second: a shared CPU is changed where another has become much freer. */
void placement_tick(struct placement *p);

/* "any", "same", "spin", "cpu" */
const char *placement_name(const struct placement *p);

#endif
