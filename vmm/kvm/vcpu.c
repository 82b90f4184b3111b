/* Virtual CPUs: a thread each, which runs the guest and handles its exits.
 *
 * The guest may do whatever it likes: each exit either goes on or ends this guest with a
 * message that says where it was. Nothing here can end the process.
 *
 * Poisoned memory is told in two ways, by an error of KVM_RUN (EFAULT, EHWPOISON) or by
 * SIGBUS with BUS_MCEERR_AR, which KVM sends to the vCPU's thread before it retries.
 */
#include "vmm/kvm/vcpu.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vmm/kvm/compat.h"
#include "vmm/kvm/host.h"
#include "vmm/say.h"

#define KICK_SIGNAL SIGUSR1

static _Thread_local struct vcpu *this_vcpu;

static void on_kick(int signal)
{
	(void)signal; /* that it interrupts KVM_RUN is all */
}

/* Anything but poisoned guest memory met by KVM_RUN is a bug of ours: die of it. */
static void on_bus_error(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (info->si_code == BUS_MCEERR_AR && this_vcpu && this_vcpu->in_guest) {
		this_vcpu->poisoned = true;
		return;
	}
	sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
	raise(signal);
}

int vcpu_install_signals(void)
{
	struct sigaction kick = {.sa_handler = on_kick};
	struct sigaction bus = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};

	if (sigaction(KICK_SIGNAL, &kick, NULL) || sigaction(SIGBUS, &bus, NULL))
		return -errno;
	return 0;
}

static int set_cpuid(struct vcpu *vcpu)
{
	struct kvm_cpuid2 *cpuid = host_make_cpuid(vcpu->vm, vcpu->index);
	int rc = cpuid ? 0 : -ENOMEM;

	if (cpuid && ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0)
		rc = -errno;
	free(cpuid);
	return rc;
}

int vcpu_init(struct vcpu *vcpu, struct vm *vm, unsigned index)
{
	int rc;

	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (vcpu->fd < 0) {
		rc = -errno;
		say("KVM refuses vCPU %u: %s.", index, strerror(-rc));
		return rc;
	}
	vcpu->run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		rc = -errno;
		say("cannot map what KVM shares with vCPU %u: %s.", index, strerror(-rc));
		return rc;
	}
	if (vm->has_sync_regs)
		vcpu->run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	rc = set_cpuid(vcpu);
	if (rc)
		say("KVM refuses the features of vCPU %u: %s.", index, strerror(-rc));
	return rc;
}

void vcpu_fini(struct vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->vm->run_bytes);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	vcpu->run = NULL;
	vcpu->fd = -1;
}

void vcpu_kick(struct vcpu *vcpu)
{
	if (!vcpu->started)
		return;
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(vcpu->thread, KICK_SIGNAL);
}

int vcpu_get_regs(struct vcpu *vcpu, struct kvm_regs *regs)
{
	if (vcpu->vm->has_sync_regs) {
		*regs = vcpu->run->s.regs.regs;
		return 0;
	}
	return ioctl(vcpu->fd, KVM_GET_REGS, regs) < 0 ? -errno : 0;
}

int vcpu_set_regs(struct vcpu *vcpu, const struct kvm_regs *regs)
{
	if (vcpu->vm->has_sync_regs) {
		vcpu->run->s.regs.regs = *regs;
		vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
		return 0;
	}
	return ioctl(vcpu->fd, KVM_SET_REGS, regs) < 0 ? -errno : 0;
}

const char *vcpu_describe(struct vcpu *vcpu, char text[VCPU_TEXT_BYTES])
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &r) < 0 || ioctl(vcpu->fd, KVM_GET_SREGS, &s) < 0) {
		snprintf(text, VCPU_TEXT_BYTES, "vCPU %u, registers unknown", vcpu->index);
		return text;
	}
	if (!(s.cr0 & 1)) { /* no guest here uses real mode: KVM reset what SVM shut down */
		snprintf(text, VCPU_TEXT_BYTES,
			 "vCPU %u, its registers are lost: an AMD processor does not keep them",
			 vcpu->index);
		return text;
	}
	snprintf(
		text, VCPU_TEXT_BYTES,
		"vCPU %u at CPL %u: rip %#llx rsp %#llx rflags %#llx rax %#llx rbx %#llx rcx %#llx "
		"rdx %#llx rsi %#llx rdi %#llx cr0 %#llx cr2 %#llx cr3 %#llx cr4 %#llx",
		vcpu->index, s.cs.selector & 3u, r.rip, r.rsp, r.rflags, r.rax, r.rbx, r.rcx, r.rdx,
		r.rsi, r.rdi, s.cr0, s.cr2, s.cr3, s.cr4);
	return text;
}

/* Ends the guest with what happened, where, and what it means. */
static void end_with(struct vcpu *vcpu, int status, const char *what)
{
	char where[VCPU_TEXT_BYTES];

	if (vm_has_ended(vcpu->vm))
		return;
	if (status != VM_STATUS_BUS && vcpu->vm->handlers.is_poisoned(vcpu->vm->user)) {
		say("memory of the guest is lost, and it broke by that: %s; it ends as by SIGBUS "
		    "(%s)",
		    what, vcpu_describe(vcpu, where));
		status = VM_STATUS_BUS;
	} else {
		say("%s (%s)", what, vcpu_describe(vcpu, where));
	}
	vm_end(vcpu->vm, status);
}

int vcpu_idle(struct vcpu *vcpu)
{
	struct kvm_mp_state state = {.mp_state = KVM_MP_STATE_HALTED};
	char what[128];
	int rc;

	if (!vcpu->vm->must_idle)
		return -ENOSYS;
	if (ioctl(vcpu->fd, KVM_SET_MP_STATE, &state) == 0)
		return 0;
	rc = -errno;
	snprintf(what, sizeof(what), "KVM cannot let the guest sleep: %s", strerror(-rc));
	end_with(vcpu, VM_STATUS_FAILED, what);
	return rc;
}

static void end_poisoned(struct vcpu *vcpu)
{
	struct compat_memory_fault fault;
	char what[160];

	memcpy(&fault, &vcpu->run->hw, sizeof(fault));
	if (vcpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT)
		snprintf(what, sizeof(what),
			 "the guest touched lost memory at guest-physical %#llx; it ends "
			 "as by SIGBUS",
			 fault.gpa);
	else
		snprintf(what, sizeof(what), "the guest touched lost memory; it ends as by SIGBUS");
	end_with(vcpu, VM_STATUS_BUS, what);
}

static void handle_error(struct vcpu *vcpu, int err)
{
	char what[128];

	switch (err) {
	case EINTR:
	case EAGAIN:
		break;
	case EFAULT:
	case EHWPOISON:
		end_poisoned(vcpu);
		break;
	default:
		snprintf(what, sizeof(what), "KVM cannot run the guest: %s", strerror(err));
		end_with(vcpu, VM_STATUS_FAILED, what);
		break;
	}
}

static void handle_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	const struct vm_io io = {
		.port = run->io.port,
		.size = run->io.size,
		.in = run->io.direction == KVM_EXIT_IO_IN,
		.count = run->io.count,
		.data = (uint8_t *)run + run->io.data_offset,
	};

	vcpu->vm->handlers.io(vcpu->vm->user, vcpu, &io);
}

static void handle_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	const struct vm_mmio mmio = {
		.gpa = run->mmio.phys_addr,
		.bytes = run->mmio.len,
		.write = run->mmio.is_write,
		.data = run->mmio.data,
	};

	vcpu->vm->handlers.mmio(vcpu->vm->user, vcpu, &mmio);
}

static void handle_internal_error(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	char what[192];
	size_t n;

	if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) {
		snprintf(what, sizeof(what), "KVM failed inside (suberror %u)",
			 run->internal.suberror);
		end_with(vcpu, VM_STATUS_FAILED, what);
		return;
	}
	n = (size_t)snprintf(what, sizeof(what),
			     "this host's KVM cannot emulate an instruction of the guest");
	if (run->emulation_failure.ndata >= 3 &&
	    run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) {
		n += (size_t)snprintf(what + n, sizeof(what) - n, ":");
		for (unsigned i = 0; i < run->emulation_failure.insn_size && i < 15; i++)
			n += (size_t)snprintf(what + n, sizeof(what) - n, " %02x",
					      run->emulation_failure.insn_bytes[i]);
	}
	end_with(vcpu, VM_STATUS_FAILED, what);
}

static void handle_system_event(struct vcpu *vcpu)
{
	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
	case KVM_SYSTEM_EVENT_RESET:
		vm_end(vcpu->vm, 0);
		break;
	case KVM_SYSTEM_EVENT_CRASH:
		end_with(vcpu, VM_STATUS_ABORTED, "the guest says that it crashed");
		break;
	default:
		end_with(vcpu, VM_STATUS_FAILED,
			 "KVM tells of a system event that guestmm does not know");
		break;
	}
}

static void handle_fail_entry(struct vcpu *vcpu)
{
	char what[128];

	snprintf(what, sizeof(what), "the CPU refuses to enter the guest (hardware reason %#llx)",
		 vcpu->run->fail_entry.hardware_entry_failure_reason);
	end_with(vcpu, VM_STATUS_FAILED, what);
}

static void handle_exit(struct vcpu *vcpu)
{
	char what[64];

	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO:
		handle_io(vcpu);
		break;
	case KVM_EXIT_MMIO:
		handle_mmio(vcpu);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	case KVM_EXIT_HLT:
		end_with(vcpu, VM_STATUS_ABORTED, "the guest halted for good");
		break;
	case KVM_EXIT_SHUTDOWN:
		end_with(vcpu, VM_STATUS_ABORTED,
			 "the guest kernel faulted while it handled a fault (triple fault)");
		break;
	case KVM_EXIT_FAIL_ENTRY:
		handle_fail_entry(vcpu);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		handle_internal_error(vcpu);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		handle_system_event(vcpu);
		break;
	case KVM_EXIT_MEMORY_FAULT:
		end_poisoned(vcpu);
		break;
	default:
		snprintf(what, sizeof(what),
			 "KVM stopped the guest for reason %u, unknown to guestmm",
			 vcpu->run->exit_reason);
		end_with(vcpu, VM_STATUS_FAILED, what);
		break;
	}
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

#define RUN_CLOCK_INSIDE (UINT64_C(1) << 63)

uint64_t vcpu_run_ns(const struct vcpu *vcpu)
{
	const uint64_t clock = atomic_load_explicit(&vcpu->run_clock, memory_order_relaxed);

	/* Read before the time is, so that the stay cannot begin after it. */
	return clock & RUN_CLOCK_INSIDE ? (clock + now_ns()) & ~RUN_CLOCK_INSIDE : clock;
}

static void enter_clock(struct vcpu *vcpu)
{
	const uint64_t sum = atomic_load_explicit(&vcpu->run_clock, memory_order_relaxed);

	atomic_store_explicit(&vcpu->run_clock, (sum - now_ns()) | RUN_CLOCK_INSIDE,
			      memory_order_relaxed);
}

static void leave_clock(struct vcpu *vcpu)
{
	atomic_store_explicit(&vcpu->run_clock, vcpu_run_ns(vcpu), memory_order_relaxed);
}

static void run_once(struct vcpu *vcpu)
{
	int err;

	vcpu->in_guest = true;
	enter_clock(vcpu);
	err = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;
	leave_clock(vcpu);
	vcpu->in_guest = false;
	atomic_fetch_add_explicit(&vcpu->n_exits, 1, memory_order_relaxed);
	if (vcpu->poisoned)
		end_poisoned(vcpu);
	else if (err)
		handle_error(vcpu, err);
	else
		handle_exit(vcpu);
}

/* Waits while the VM is paused; false once the guest has ended. */
static bool may_run(struct vm *vm)
{
	bool ended;

	if (!atomic_load(&vm->attention))
		return true;
	pthread_mutex_lock(&vm->lock);
	vm->n_parked++;
	pthread_cond_broadcast(&vm->changed);
	while (vm->paused && !vm->ended)
		pthread_cond_wait(&vm->changed, &vm->lock);
	vm->n_parked--;
	ended = vm->ended;
	pthread_mutex_unlock(&vm->lock);
	return !ended;
}

static void allow_kicks(void)
{
	sigset_t set;

	sigfillset(&set);
	sigdelset(&set, KICK_SIGNAL);
	sigdelset(&set, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
}

void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vm *vm = vcpu->vm;
	char name[16];

	snprintf(name, sizeof(name), "vcpu-%u", vcpu->index);
	pthread_setname_np(pthread_self(), name);
	this_vcpu = vcpu;
	allow_kicks();
	for (;;) {
		__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		if (!may_run(vm))
			break;
		run_once(vcpu);
	}
	pthread_mutex_lock(&vm->lock);
	vm->n_threads--;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	return NULL;
}
