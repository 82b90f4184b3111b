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

#endif
