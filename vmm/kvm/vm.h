/* Virtual machines: the KVM side. What memory holds and what devices do is others' matter. */
#ifndef VMM_KVM_VM_H
#define VMM_KVM_VM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit statuses of the contract. */
enum {
	VM_STATUS_ABORTED = 128 + 6, /* the guest kernel broke */
	VM_STATUS_BUS = 128 + 7,     /* poisoned memory, or memory that is not there */
	VM_STATUS_FAILED = 125,	     /* guestmm or KVM failed */
};

struct vm;
struct vcpu;

/* One access to a port; `count` items of `size` bytes at `data`. */
struct vm_io {
	uint16_t port;
	uint8_t size;
	bool in;
	uint32_t count;
	uint8_t *data;
};

struct vm_mmio {
	uint64_t gpa;
	uint32_t bytes;
	bool write;
	uint8_t *data;
};

/* Called by the vCPU's thread. An `in` leaves its answer in data. is_poisoned() says whether the
 * guest has touched memory whose content is lost: what it breaks by is then no fault of its own.
 * KVM tells a page table that is lost as a page that is not mapped, for one. */
struct vm_handlers {
	void (*io)(void *user, struct vcpu *vcpu, const struct vm_io *io);
	void (*mmio)(void *user, struct vcpu *vcpu, const struct vm_mmio *mmio);
	bool (*is_poisoned)(void *user);
};

struct vm_config {
	unsigned n_vcpus;
	bool pc_timer;	  /* an 8254 for kernels that expect a PC */
	bool guest_idles; /* it knows another way to sleep than `hlt`: vcpu_idle() */
	const struct vm_handlers *handlers;
	void *user;
};

struct vm {
	int kvm_fd, fd;
	int late_fd; /* of the VM, too: see vm_outlive() */
	size_t run_bytes;
	unsigned n_slots;
	struct kvm_cpuid2 *cpuid;
	unsigned phys_bits;
	bool has_1g_pages, has_x2apic, has_sync_regs;
	bool must_idle; /* `hlt` does not leave the guest; a fault waits on its vCPU's thread */
	uint32_t tsc_khz;

	struct vm_handlers handlers;
	void *user;
	struct vcpu *vcpus;
	unsigned n_vcpus;

	int end_fd;	       /* eventfd: readable once the guest has ended */
	atomic_bool attention; /* ended or paused: vCPUs look under the lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	bool ended, paused;
	int status;
	unsigned n_threads, n_parked;
};

/* Makes a VM with vCPUs that do not run yet. On failure it has said why; errors: -ENODEV
 * (the host has no KVM that this user may use), -ENOTSUP, -ENOMEM, -EIO. */
int vm_new(const struct vm_config *config, struct vm **out);

/* Frees a VM whose vCPU threads have ended. Takes NULL, returns NULL. */
struct vm *vm_free(struct vm *vm);

/* Makes sure that the VM outlives every descriptor that is open now, even where the process is
 * killed and the kernel closes them: it takes a VM apart only after the asynchronous page faults of
 * its vCPUs, where it has any, and these end when the userfaultfd is closed. */
int vm_outlive(struct vm *vm);

/* Shows [hva, hva + bytes) to the guest at gpa. Has said why on failure. */
int vm_add_slot(struct vm *vm, uint64_t gpa, uint64_t bytes, void *hva, bool read_only);

/* Starts the vCPU threads. */
int vm_start(struct vm *vm);

/* Ends the guest with this status; the first call decides. Any thread. */
void vm_end(struct vm *vm, int status);
bool vm_has_ended(struct vm *vm);
int vm_status(struct vm *vm);

/* Waits until every vCPU thread has ended, at most timeout_ms. -ETIMEDOUT. */
int vm_join(struct vm *vm, unsigned timeout_ms);

/* Stops every vCPU outside guest mode; -ETIMEDOUT where one is stuck (it stops as soon as
 * it can). Not from a vCPU's thread. */
int vm_pause(struct vm *vm, unsigned timeout_ms);
void vm_resume(struct vm *vm);

/* Raises an edge interrupt: a vector at a local APIC, or a pin of the interrupt chips. */
int vm_raise_vector(struct vm *vm, unsigned apic_id, uint8_t vector);
void vm_set_irq(struct vm *vm, unsigned irq, bool high);

#endif
