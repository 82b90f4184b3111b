/* The host's KVM: opening it, and what it can do. */
#ifndef VMM_KVM_HOST_H
#define VMM_KVM_HOST_H

#include "vmm/kvm/vm.h"

/* Opens /dev/kvm and checks what is needed. Has said what is missing and what to do about
 * it. Errors: -ENODEV (none that can be used), -ENOTSUP (lacks something). */
int host_open(int *kvm_fd);

/* Fills in vm->cpuid and what follows from it. */
int host_get_cpuid(struct vm *vm);

/* The CPUID that vCPU `index` sees, malloc()ed; NULL without memory. */
struct kvm_cpuid2 *host_make_cpuid(const struct vm *vm, unsigned index);

/* Is this a processor whose threads share predictions of returns, with both threads of a core in
 * use or to be had? KVM then warns of guests that halt without an exit (the kernel's
 * admin-guide/hw-vuln/cross-thread-rsb.rst). True, too, where the kernel does not tell. */
bool host_has_smt_rsb(void);

/* The same by other files: what the kernel says of threads, and of the processor. */
bool host_tells_smt_rsb(const char *smt_control, const char *cpuinfo);

#endif
