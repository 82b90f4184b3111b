/* Invariant 6 with a real guest: a vCPU of KVM's reads memory of which a part cannot be read back
 * from swap. It gets an error for exactly that part, again and again, never other bytes; all else
 * is whole.
 *
 * The guest is a few instructions in real mode. It stamps each of its pages, then tells what it
 * reads in each, page after page, round after round, through a port. On a host whose KVM emulates
 * such a guest a lost page shows as an access to memory that is not there, elsewhere as an error of
 * KVM_RUN, or as SIGBUS for the thread that is in it.
 */
#include "vm.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define CODE	   0x1000u /* an address */
#define FIRST_PAGE 16u	   /* of those that it stamps and reads */
#define N_DATA	   128u
#define PORT_STAMP 0x10
#define PORT_WORD  0x11

static const uint8_t code[] = {
	0xbb, 0x00,	  0x10,	   /*     mov $0x1000,%bx   the first page's segment */
	0xb9, N_DATA,	  0,	   /*     mov $128,%cx */
	0xb8, 0x01,	  0x00,	   /*     mov $1,%ax */
	0x8e, 0xdb,		   /* 1:  mov %bx,%ds */
	0xa3, 0x00,	  0x00,	   /*     mov %ax,0 */
	0x40,			   /*     inc %ax */
	0x81, 0xc3,	  0,	1, /*     add $0x100,%bx */
	0xe2, 0xf4,		   /*     loop 1b */
	0xe6, PORT_STAMP,	   /*     out %al,$0x10     all are stamped */
	0xbb, 0x00,	  0x10,	   /* 2:  mov $0x1000,%bx */
	0xb9, N_DATA,	  0,	   /*     mov $128,%cx */
	0x8e, 0xdb,		   /* 3:  mov %bx,%ds */
	0xa1, 0x00,	  0x00,	   /*     mov 0,%ax */
	0xe7, PORT_WORD,	   /*     out %ax,$0x11 */
	0x81, 0xc3,	  0,	1, /*     add $0x100,%bx */
	0xe2, 0xf3,		   /*     loop 3b */
	0xeb, 0xeb,		   /*     jmp 2b */
};

struct cpu {
	int vm_fd, fd;
	struct kvm_run *run;
};

static struct kvm_run *volatile running;

/* KVM would try again for ever: it is told to return. */
static void on_bus_error(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	if (info->si_code != BUS_MCEERR_AR)
		_exit(1);
	running->immediate_exit = 1;
}

static struct cpu cpu_new(struct vm *vm, int kvm_fd)
{
	struct kvm_userspace_memory_region region = {.memory_size = vm->n_pages << 12,
						     .userspace_addr = (uintptr_t)vm->mem};
	struct sigaction bus = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
	struct kvm_regs regs = {.rip = CODE, .rflags = 2};
	struct kvm_sregs sregs;
	struct cpu cpu;
	int bytes = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	cpu.vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	ck_assert_int_ge(cpu.vm_fd, 0);
	ioctl(cpu.vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000); /* Intel's processors want it */
	ck_assert_int_eq(ioctl(cpu.vm_fd, KVM_SET_USER_MEMORY_REGION, &region), 0);
	cpu.fd = ioctl(cpu.vm_fd, KVM_CREATE_VCPU, 0);
	ck_assert_int_ge(cpu.fd, 0);
	cpu.run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cpu.fd, 0);
	ck_assert_ptr_ne(cpu.run, MAP_FAILED);
	running = cpu.run;
	ck_assert_int_eq(sigaction(SIGBUS, &bus, NULL), 0);
	ck_assert_int_eq(ioctl(cpu.fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = sregs.cs.selector = 0;
	ck_assert_int_eq(ioctl(cpu.fd, KVM_SET_SREGS, &sregs), 0);
	ck_assert_int_eq(ioctl(cpu.fd, KVM_SET_REGS, &regs), 0);
	return cpu;
}

static void cpu_free(struct cpu *cpu)
{
	close(cpu->fd);
	close(cpu->vm_fd);
}

static uint64_t cpu_page(const struct cpu *cpu)
{
	struct kvm_sregs sregs;

	ck_assert_int_eq(ioctl(cpu->fd, KVM_GET_SREGS, &sregs), 0);
	return sregs.ds.base >> 12;
}

/* Runs to the next `out`: true, with the port and what it wrote. False: the guest touched lost
 * memory, in the page that its DS says. */
static bool cpu_run(struct cpu *cpu, uint16_t *port, uint16_t *word)
{
	int ret = ioctl(cpu->fd, KVM_RUN, 0);

	if (ret < 0) {
		int error = errno;

		ck_assert_msg(error == EFAULT || error == EHWPOISON ||
				      (error == EINTR && cpu->run->immediate_exit),
			      "KVM_RUN: %s", strerror(error));
		cpu->run->immediate_exit = 0;
		return false;
	}
	if (cpu->run->exit_reason == KVM_EXIT_MMIO) {
		ck_assert_uint_eq(cpu->run->mmio.phys_addr >> 12, cpu_page(cpu));
		return false;
	}
	ck_assert_uint_eq(cpu->run->exit_reason, KVM_EXIT_IO);
	*port = cpu->run->io.port;
	memcpy(word, (char *)cpu->run + cpu->run->io.data_offset, sizeof(*word));
	return true;
}

/* Goes on behind the read of a lost page, as a machine check's handler might. */
static void cpu_skip_page(struct cpu *cpu)
{
	struct kvm_regs regs;

	ck_assert_int_eq(ioctl(cpu->fd, KVM_GET_REGS, &regs), 0);
	if (cpu->run->exit_reason == KVM_EXIT_MMIO) { /* the read ends first, whatever it gives */
		cpu->run->immediate_exit = 1;
		ck_assert_int_eq(ioctl(cpu->fd, KVM_RUN, 0), -1);
		cpu->run->immediate_exit = 0;
		ck_assert_int_eq(ioctl(cpu->fd, KVM_GET_REGS, &regs), 0);
	}
	regs.rip = CODE + 36; /* the `add` */
	ck_assert_int_eq(ioctl(cpu->fd, KVM_SET_REGS, &regs), 0);
}

static struct vm *vm_with_code(enum gmm_engine engine, void **hva)
{
	struct vm *vm = vm_new(engine, NULL, 2, 2, 8);

	ck_assert_int_eq(gmm_space_write(vm->space, (gmm_gpa){CODE}, code, sizeof(code)), 0);
	ck_assert_int_eq(gmm_space_hold(vm->space, (gmm_gpa){CODE}, sizeof(code), true, hva), 0);
	return vm;
}

static unsigned n_in_state(struct vm *vm, enum gmm_page_state state)
{
	unsigned n = 0;

	for (uint64_t p = FIRST_PAGE; p < FIRST_PAGE + N_DATA; p++)
		n += vm_state(vm, p) == state;
	return n;
}

/* All data goes to swap, but for what is lost. */
static void evict_data(struct vm *vm)
{
	const unsigned n = N_DATA - n_in_state(vm, GMM_PAGE_POISONED);

	for (int i = 0; i < 5000 && n_in_state(vm, GMM_PAGE_SWAPPED) < n; i++) {
		gmm_space_reclaim(vm->space, vm->n_pages);
		sleep_ms(1);
	}
	ck_assert_uint_eq(n_in_state(vm, GMM_PAGE_SWAPPED), n);
}

/* One round of reads. Each page has its stamp, or is lost: then `lost` says so. */
static unsigned read_round(struct vm *vm, struct cpu *cpu, const bool *lost, unsigned fail_from)
{
	unsigned n_lost = 0;
	uint16_t port, word;

	for (unsigned i = 0; i < N_DATA; i++) {
		if (i == fail_from)
			vm->fail_reads = EIO;
		if (cpu_run(cpu, &port, &word)) {
			ck_assert_uint_eq(port, PORT_WORD);
			ck_assert_msg(word == i + 1, "page %u has %u", i, word);
			ck_assert(!lost || !lost[i]);
			continue;
		}
		vm->fail_reads = 0; /* one read was enough */
		ck_assert_uint_eq(cpu_page(cpu), FIRST_PAGE + i);
		ck_assert_int_eq(vm_state(vm, FIRST_PAGE + i), GMM_PAGE_POISONED);
		ck_assert(!lost || lost[i]);
		cpu_skip_page(cpu);
		n_lost++;
	}
	return n_lost;
}

START_TEST(invariant_6_a_guest_reads_what_it_wrote_or_nothing)
{
	int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	bool lost[N_DATA];
	unsigned n_lost = 0, n_touched;
	struct cpu cpu;
	struct vm *vm;
	uint16_t port, word;
	void *hva;

	if (kvm_fd < 0)
		UNIT_SKIP("/dev/kvm: %s", strerror(errno));
	vm = vm_with_code(engines[_i], &hva);
	cpu = cpu_new(vm, kvm_fd);
	ck_assert(cpu_run(&cpu, &port, &word));
	ck_assert_uint_eq(port, PORT_STAMP);
	evict_data(vm);
	ck_assert_uint_eq(read_round(vm, &cpu, NULL, N_DATA), 0); /* nothing fails: all is there */
	evict_data(vm);
	n_touched = read_round(vm, &cpu, NULL, 40);
	ck_assert_uint_gt(n_touched, 0);
	for (unsigned i = 0; i < N_DATA; i++)
		n_lost += lost[i] = vm_state(vm, FIRST_PAGE + i) == GMM_PAGE_POISONED;
	ck_assert_uint_eq(n_lost, vm_stats(vm).poisoned_pages);
	ck_assert_uint_le(n_lost, N_DATA / 2); /* the page and what was read along with it */
	ck_assert_uint_eq(read_round(vm, &cpu, lost, N_DATA), n_lost); /* the same, no others */
	evict_data(vm);
	ck_assert_uint_eq(read_round(vm, &cpu, lost, N_DATA), n_lost);
	gmm_space_release(vm->space, (gmm_gpa){CODE}, sizeof(code));
	gmm_space_detach(vm->space);
	cpu_free(&cpu);
	vm_free(vm, true);
	close(kvm_fd);
}
END_TEST

UNIT_MAIN_LOOP("guest", N_ENGINES, 60, invariant_6_a_guest_reads_what_it_wrote_or_nothing)
