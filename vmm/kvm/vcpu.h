/* Virtual CPUs: one thread each, which runs the guest and handles its exits. */
#ifndef VMM_KVM_VCPU_H
#define VMM_KVM_VCPU_H

#include "vmm/kvm/vm.h"

struct vcpu {
	struct vm *vm;
	unsigned index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool started; /* under vm->lock */
	_Atomic uint64_t n_exits;
	/* Time in KVM_RUN. Outside of it, the sum; inside, the sum less the time of entry, and the
	 * top bit: one word, so that whoever reads it sees time that never goes back. */
	_Atomic uint64_t run_clock;
	volatile bool in_guest, poisoned; /* this thread and its signal handler */
};

/* Makes vCPU `index` of vm with its CPUID. Has said why on failure. */
int vcpu_init(struct vcpu *vcpu, struct vm *vm, unsigned index);
void vcpu_fini(struct vcpu *vcpu);

/* The thread's body. */
void *vcpu_thread(void *vcpu);

/* Signals that the vCPU threads need. Before the first of them starts. */
int vcpu_install_signals(void);

/* Nanoseconds spent in KVM_RUN until now, a stay that goes on included. Any thread. */
uint64_t vcpu_run_ns(const struct vcpu *vcpu);

/* Makes the vCPU leave guest mode and look at vm->attention. Under vm->lock. */
void vcpu_kick(struct vcpu *vcpu);

/* General registers, while the vCPU's own thread handles an exit. */
int vcpu_get_regs(struct vcpu *vcpu, struct kvm_regs *regs);
int vcpu_set_regs(struct vcpu *vcpu, const struct kvm_regs *regs);

/* Likewise: it sleeps from now on, until there is an interrupt for it. -ENOSYS where the guest is
 * to use `hlt`; what else goes wrong has ended the guest, and was told. */
int vcpu_idle(struct vcpu *vcpu);

/* Where the guest is, as one line of text: for messages. */
#define VCPU_TEXT_BYTES 320
const char *vcpu_describe(struct vcpu *vcpu, char text[VCPU_TEXT_BYTES]);

#endif
