/* What <linux/kvm.h> of Linux 6.1 does not have yet. */
#ifndef VMM_KVM_COMPAT_H
#define VMM_KVM_COMPAT_H

#include <linux/kvm.h>

#ifndef KVM_CAP_MEMORY_FAULT_INFO /* Linux 6.8 */
#define KVM_EXIT_MEMORY_FAULT	  39
#define KVM_CAP_MEMORY_FAULT_INFO 232
#endif

/* The layout of kvm_run's part for KVM_EXIT_MEMORY_FAULT; it begins where `hw` does. */
struct compat_memory_fault {
	__u64 flags;
	__u64 gpa;
	__u64 size;
};

#endif
