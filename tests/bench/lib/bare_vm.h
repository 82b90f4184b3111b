/* A virtual machine as bare as can be: memory, one or two vCPUs, loops at CPL 3, no VMM.
 *
 * Low memory (code, page tables, arguments, lists) is plain memory of the host and always there.
 * What is measured is the data: memory at BARE_DATA_GPA that the caller made, be it anonymous
 * memory or a space of the library. The guest maps it by 2 MiB pages at the same addresses, with
 * accessed and dirty bits set, so that nothing but the host's own paging is seen. There is no
 * interrupt controller, hence no asynchronous page fault: a vCPU waits for its page.
 *
 * Failures end the program: 77 where there is no usable KVM.
 */
#ifndef BENCH_BARE_VM_H
#define BENCH_BARE_VM_H

#include <linux/kvm.h>
#include <stdbool.h>

#include "guest_code.h"

#define BARE_DATA_GPA  (UINT64_C(1) << 30)
#define BARE_MAX_VCPUS 2u
#define BARE_PAGE      UINT64_C(4096)

struct bare_vm {
	int vm_fd;
	unsigned n_vcpus;
	uint8_t *low;
	uint64_t arena; /* low memory given out up to here */
	struct bare_vcpu {
		int fd;
		struct kvm_run *run;
		uint64_t n_exits; /* returns of KVM_RUN */
	} vcpus[BARE_MAX_VCPUS];
	uint64_t run_bytes; /* of each `run` */
};

/* data: page aligned, congruent to BARE_DATA_GPA modulo 2 MiB. */
void bare_vm_new(struct bare_vm *vm, unsigned n_vcpus, void *data, uint64_t data_bytes);
void bare_vm_free(struct bare_vm *vm);

/* Memory for lists and logs, which guest and host see; its address in the guest to *gva. */
void *bare_vm_alloc(struct bare_vm *vm, uint64_t bytes, uint64_t *gva);

/* Runs a function of guest_code.h on a vCPU, in the calling thread. Fills in args->n_wrong. base 0
 * means the data's beginning. */
void bare_vm_run(struct bare_vm *vm, unsigned vcpu, void (*function)(struct guest_args *),
		 struct guest_args *args);

/* Ends, at its next pass, a function that another thread runs on a vCPU and that writes: its `repeat`
 * becomes 0. */
void bare_vm_stop(struct bare_vm *vm, unsigned vcpu);

/* Anonymous memory for a guest's data, with or without transparent huge pages. */
void *bare_data_new(uint64_t bytes, bool huge);
void bare_data_free(void *data, uint64_t bytes);

#endif
