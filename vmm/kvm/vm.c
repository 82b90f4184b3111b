/* Virtual machines: creation, memory slots, interrupts, and how all vCPUs stop together.
 *
 * Stopping: whoever wants the vCPUs out of the guest sets the reason under the lock, then
 * `attention`, then kicks. A vCPU clears its immediate_exit before it looks at
 * `attention`, and the kicker sets them in the other order, so no kick is lost.
 * Lock: vm->lock is a leaf: only pthread functions are called with it held.
 */
#include "vmm/kvm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "vmm/kvm/compat.h"
#include "vmm/kvm/host.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/say.h"

/* Where KVM may put what Intel CPUs need for real mode: in the MMIO hole, below the
 * firmware's place. Three pages and one. */
#define TSS_ADDRESS	     0xfffbd000ul
#define IDENTITY_MAP_ADDRESS 0xfffbc000ull

static int refused(const char *what)
{
	int err = errno;

	say("KVM refuses %s: %s.", what, strerror(err));
	return err == ENOMEM ? -ENOMEM : -EIO;
}

static int make_chips(struct vm *vm, bool pc_timer)
{
	const uint64_t identity = IDENTITY_MAP_ADDRESS;
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};

	if (ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_TSS_ADDR) > 0 &&
	    ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDRESS) < 0)
		return refused("the address of the task state");
	if (ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_IDENTITY_MAP_ADDR) > 0 &&
	    ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return refused("the address of the identity map");
	if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return refused("in-kernel interrupt chips");
	if (pc_timer && ioctl(vm->fd, KVM_CREATE_PIT2, &pit) < 0)
		return refused("a timer");
	return 0;
}

/* Where a guest has no paravirtual interface for asynchronous page faults KVM halts the vCPU, and a
 * worker of the kernel's waits for the page in place of its thread: that brings nothing, but every
 * fault switches from thread to thread two times more. KVM does without where `hlt` does not leave
 * the guest (kvm_can_do_async_pf() in arch/x86/kvm/x86.c): then the vCPU's own thread waits.
 *
 * What that takes: signals must get the thread out, which old kernels cannot (FOLL_INTERRUPTIBLE;
 * the capability that is asked for came later, in Linux 6.8). A vCPU hears no interrupt while it
 * waits: no other vCPU may wait for its answer with what serves the fault in hand, so there is no
 * other. And on processors with X86_BUG_SMT_RSB a guest that halts by itself can steer what the
 * core's other thread speculates on. */
static bool keep_faults_on_threads(struct vm *vm, unsigned n_vcpus)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_DISABLE_EXITS,
				     .args = {KVM_X86_DISABLE_EXITS_HLT}};
	int can = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_DISABLE_EXITS);

	return n_vcpus == 1 && can > 0 && can & KVM_X86_DISABLE_EXITS_HLT &&
	       ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MEMORY_FAULT_INFO) > 0 &&
	       !host_has_smt_rsb() && ioctl(vm->fd, KVM_ENABLE_CAP, &cap) == 0;
}

static int make_vm_fd(struct vm *vm)
{
	do
		vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	while (vm->fd < 0 && errno == EINTR);
	return vm->fd < 0 ? refused("a new VM") : 0;
}

static int make_vcpus(struct vm *vm, unsigned n)
{
	int max = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	int run_bytes = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (max > 0 && n > (unsigned)max) {
		say("%u vCPUs are more than this host's KVM allows (%d): ask for fewer.", n, max);
		return -ENOTSUP;
	}
	if (run_bytes < (int)sizeof(struct kvm_run))
		return refused("a vCPU's shared page");
	vm->run_bytes = (size_t)run_bytes;
	vm->vcpus = calloc(n, sizeof(vm->vcpus[0]));
	if (!vm->vcpus)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		vm->vcpus[i].fd = -1;
	vm->n_vcpus = n;
	for (unsigned i = 0; i < n; i++) {
		int rc = vcpu_init(&vm->vcpus[i], vm, i);

		if (rc)
			return rc;
	}
	return 0;
}

static int vm_init(struct vm *vm, const struct vm_config *config)
{
	int rc, khz, sync;

	rc = host_open(&vm->kvm_fd);
	if (rc)
		return rc;
	vm->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->end_fd < 0)
		return -errno;
	vm->n_vcpus = config->n_vcpus;
	rc = make_vm_fd(vm);
	if (!rc)
		rc = host_get_cpuid(vm);
	if (!rc)
		rc = make_chips(vm, config->pc_timer);
	if (rc)
		return rc;
	vm->must_idle = config->guest_idles && keep_faults_on_threads(vm, config->n_vcpus);
	sync = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);
	vm->has_sync_regs = sync > 0 && sync & (int)KVM_SYNC_X86_REGS;
	rc = make_vcpus(vm, config->n_vcpus);
	if (rc)
		return rc;
	khz = ioctl(vm->vcpus[0].fd, KVM_GET_TSC_KHZ, 0);
	vm->tsc_khz = khz > 0 ? (uint32_t)khz : 0;
	return 0;
}

int vm_new(const struct vm_config *config, struct vm **out)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	pthread_condattr_t attr;
	int rc;

	if (!vm)
		return -ENOMEM;
	vm->kvm_fd = vm->fd = vm->late_fd = vm->end_fd = -1;
	vm->handlers = *config->handlers;
	vm->user = config->user;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&vm->changed, &attr);
	pthread_condattr_destroy(&attr);
	rc = vm_init(vm, config);
	if (rc) {
		vm_free(vm);
		return rc;
	}
	*out = vm;
	return 0;
}

/* Kernels close in ascending or in descending order: a second descriptor, higher than the
 * userfaultfd's, beside the first, which is lower, holds the VM in both. */
int vm_outlive(struct vm *vm)
{
	vm->late_fd = fcntl(vm->fd, F_DUPFD_CLOEXEC, 0);
	return vm->late_fd < 0 ? -errno : 0;
}

struct vm *vm_free(struct vm *vm)
{
	const int fds[] = {vm ? vm->fd : -1, vm ? vm->late_fd : -1, vm ? vm->kvm_fd : -1,
			   vm ? vm->end_fd : -1};

	if (!vm)
		return NULL;
	for (unsigned i = 0; vm->vcpus && i < vm->n_vcpus; i++)
		vcpu_fini(&vm->vcpus[i]);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->lock);
	free(vm->vcpus);
	free(vm->cpuid);
	free(vm);
	return NULL;
}

int vm_add_slot(struct vm *vm, uint64_t gpa, uint64_t bytes, void *hva, bool read_only)
{
	struct kvm_userspace_memory_region slot = {
		.slot = vm->n_slots,
		.flags = read_only ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)hva,
	};

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return refused("a memory slot");
	vm->n_slots++;
	return 0;
}

int vm_start(struct vm *vm)
{
	int rc = vcpu_install_signals();

	if (rc)
		return rc;
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];
		int err;

		pthread_mutex_lock(&vm->lock);
		err = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
		if (!err) {
			vcpu->started = true;
			vm->n_threads++;
		}
		pthread_mutex_unlock(&vm->lock);
		if (err) {
			say("cannot start a thread for vCPU %u: %s.", i, strerror(err));
			vm_end(vm, VM_STATUS_FAILED);
			return -err;
		}
	}
	return 0;
}

static void kick_all(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	atomic_store(&vm->attention, true);
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		vcpu_kick(&vm->vcpus[i]);
	pthread_mutex_unlock(&vm->lock);
}

void vm_end(struct vm *vm, int status)
{
	const uint64_t one = 1;
	bool first;

	pthread_mutex_lock(&vm->lock);
	first = !vm->ended;
	if (first) {
		vm->ended = true;
		vm->status = status;
		atomic_store(&vm->attention, true);
	}
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	if (!first)
		return;
	kick_all(vm);
	if (write(vm->end_fd, &one, sizeof(one)) < 0)
		say("cannot tell of the guest's end: %s.", strerror(errno));
}

bool vm_has_ended(struct vm *vm)
{
	bool ended;

	pthread_mutex_lock(&vm->lock);
	ended = vm->ended;
	pthread_mutex_unlock(&vm->lock);
	return ended;
}

int vm_status(struct vm *vm)
{
	int status;

	pthread_mutex_lock(&vm->lock);
	status = vm->status;
	pthread_mutex_unlock(&vm->lock);
	return status;
}

static struct timespec deadline_in(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

int vm_join(struct vm *vm, unsigned timeout_ms)
{
	const struct timespec until = deadline_in(timeout_ms);
	int err = 0;

	pthread_mutex_lock(&vm->lock);
	while (vm->n_threads && !err)
		err = pthread_cond_timedwait(&vm->changed, &vm->lock, &until);
	err = vm->n_threads ? ETIMEDOUT : 0;
	for (unsigned i = 0; i < vm->n_vcpus && !err; i++) {
		if (vm->vcpus[i].started) /* it does not take the lock any more */
			pthread_join(vm->vcpus[i].thread, NULL);
		vm->vcpus[i].started = false;
	}
	pthread_mutex_unlock(&vm->lock);
	return -err;
}

int vm_pause(struct vm *vm, unsigned timeout_ms)
{
	const struct timespec until = deadline_in(timeout_ms);
	int err = 0;

	pthread_mutex_lock(&vm->lock);
	vm->paused = true;
	pthread_mutex_unlock(&vm->lock);
	kick_all(vm);
	pthread_mutex_lock(&vm->lock);
	while (vm->n_parked < vm->n_threads && !vm->ended && !err)
		err = pthread_cond_timedwait(&vm->changed, &vm->lock, &until);
	pthread_mutex_unlock(&vm->lock);
	return -err;
}

void vm_resume(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->paused = false;
	if (!vm->ended)
		atomic_store(&vm->attention, false);
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

int vm_raise_vector(struct vm *vm, unsigned apic_id, uint8_t vector)
{
	struct kvm_msi msi = {
		.address_lo = 0xfee00000u | apic_id << 12,
		.data = vector,
	};

	if (ioctl(vm->fd, KVM_SIGNAL_MSI, &msi) < 0)
		return -errno;
	if (vm->must_idle) { /* its thread may wait for a page, and hears nothing but signals */
		pthread_mutex_lock(&vm->lock);
		vcpu_kick(&vm->vcpus[apic_id]);
		pthread_mutex_unlock(&vm->lock);
	}
	return 0;
}

void vm_set_irq(struct vm *vm, unsigned irq, bool high)
{
	struct kvm_irq_level level = {.irq = irq, .level = high};

	if (ioctl(vm->fd, KVM_IRQ_LINE, &level) < 0)
		say("cannot raise interrupt %u: %s.", irq, strerror(errno));
}
