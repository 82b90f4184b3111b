/* A bare virtual machine: see bare_vm.h. */
#include "bare_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <guestmm/pagetable.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

/* Low memory, to the guest at its own address. */
#define LOW_BYTES (UINT64_C(64) << 20)
#define HUGE	  (UINT64_C(2) << 20)
#define GDT	  UINT64_C(0x2000)
#define TSS	  UINT64_C(0x2080)
#define CODE	  UINT64_C(0x10000)
#define CODE_END  UINT64_C(0x20000)
#define ARGS	  UINT64_C(0x20000) /* a page a vCPU */
#define STACKS	  UINT64_C(0x30000) /* 16 KiB a vCPU */
#define TABLES	  UINT64_C(0x100000)
#define ARENA	  UINT64_C(0x200000)

static int open_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		bench_unavailable("/dev/kvm: %s", strerror(errno));
	return fd;
}

static void set_slot(struct bare_vm *vm, unsigned slot, uint64_t gpa, void *hva, uint64_t bytes)
{
	struct kvm_userspace_memory_region r = {.slot = slot,
						.guest_phys_addr = gpa,
						.memory_size = bytes,
						.userspace_addr = (uint64_t)(uintptr_t)hva};

	if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &r))
		bench_die("KVM_SET_USER_MEMORY_REGION: %s", strerror(errno));
}

static void add_vcpu(struct bare_vm *vm, int kvm_fd, unsigned index)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));
	struct bare_vcpu *c = &vm->vcpus[index];

	c->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, index);
	if (c->fd < 0 || !cpuid)
		bench_die("KVM_CREATE_VCPU: %s", strerror(errno));
	cpuid->nent = 256;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) || ioctl(c->fd, KVM_SET_CPUID2, cpuid))
		bench_die("KVM's CPUID: %s", strerror(errno));
	free(cpuid);
	c->run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (c->run == MAP_FAILED)
		bench_die("a vCPU's page: %s", strerror(errno));
}

static int alloc_table(void *user, uint64_t *pa)
{
	uint64_t *next = user;

	if (*next >= ARENA)
		return -1;
	*pa = *next;
	*next += BARE_PAGE;
	return 0;
}

static void make_tables(struct bare_vm *vm, uint64_t data_bytes)
{
	uint64_t next = TABLES, rights = GMM_PT_W | GMM_PT_U | GMM_PT_A | GMM_PT_D;
	struct gmm_pt pt = {.direct = vm->low,
			    .direct_bytes = LOW_BYTES,
			    .alloc = alloc_table,
			    .user = &next,
			    .largest = 2};

	alloc_table(&next, &pt.root);
	if (gmm_pt_map(&pt, 0, 0, LOW_BYTES, rights) ||
	    gmm_pt_map(&pt, BARE_DATA_GPA, BARE_DATA_GPA, (data_bytes + HUGE - 1) & ~(HUGE - 1),
		       rights))
		bench_die("the guest's page tables do not fit");
}

static void make_low(struct bare_vm *vm, uint64_t data_bytes)
{
	static const uint64_t gdt[] = {0,
				       UINT64_C(0x00af9b000000ffff), /* code, data at CPL 0 */
				       UINT64_C(0x00cf93000000ffff),
				       UINT64_C(0x00cff3000000ffff), /* data, code at CPL 3 */
				       UINT64_C(0x00affb000000ffff),
				       0x67 | TSS << 16 | UINT64_C(0x8b) << 40,
				       0};
	size_t code_bytes;
	const void *code = guest_code_start(&code_bytes);

	vm->low = bare_data_new(LOW_BYTES, true);
	vm->arena = ARENA;
	if (code_bytes > CODE_END - CODE)
		bench_die("the guest's code is too long");
	memset(vm->low, 0, LOW_BYTES);
	memcpy(vm->low + GDT, gdt, sizeof(gdt));
	memcpy(vm->low + CODE, code, code_bytes);
	make_tables(vm, data_bytes);
}

void bare_vm_new(struct bare_vm *vm, unsigned n_vcpus, void *data, uint64_t data_bytes)
{
	int kvm_fd = open_kvm(), bytes = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	*vm = (struct bare_vm){.n_vcpus = n_vcpus, .run_bytes = bytes > 0 ? (uint64_t)bytes : 4096};
	do /* it starts a thread, and is interrupted by an io_uring that is just closed */
		vm->vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	while (vm->vm_fd < 0 && errno == EINTR);
	if (vm->vm_fd < 0)
		bench_die("KVM_CREATE_VM: %s", strerror(errno));
	ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000); /* Intel's processors want it */
	make_low(vm, data_bytes);
	set_slot(vm, 0, 0, vm->low, LOW_BYTES);
	set_slot(vm, 1, BARE_DATA_GPA, data, data_bytes);
	for (unsigned i = 0; i < n_vcpus; i++)
		add_vcpu(vm, kvm_fd, i);
	close(kvm_fd);
}

void bare_vm_free(struct bare_vm *vm)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		munmap(vm->vcpus[i].run, vm->run_bytes);
		close(vm->vcpus[i].fd);
	}
	close(vm->vm_fd);
	bare_data_free(vm->low, LOW_BYTES);
}

void *bare_vm_alloc(struct bare_vm *vm, uint64_t bytes, uint64_t *gva)
{
	*gva = vm->arena;
	vm->arena += (bytes + 63) & ~UINT64_C(63);
	if (vm->arena > LOW_BYTES)
		bench_die("the guest's low memory is too small");
	return vm->low + *gva;
}

static void set_registers(const struct bare_vm *vm, unsigned vcpu, uint64_t function)
{
	struct kvm_segment code = {.limit = 0xffffffff,
				   .selector = 0x23,
				   .type = 11,
				   .present = 1,
				   .dpl = 3,
				   .s = 1,
				   .g = 1,
				   .l = 1};
	struct kvm_segment data = code;
	struct kvm_regs regs = {.rip = guest_code_at(guest_entry, CODE),
				.rax = function,
				.rdi = ARGS + vcpu * BARE_PAGE,
				.rsp = STACKS + (vcpu + 1) * 0x4000,
				.rflags = 0x3002}; /* IOPL 3: CPL 3 may use ports */
	struct kvm_sregs s;

	if (ioctl(vm->vcpus[vcpu].fd, KVM_GET_SREGS, &s))
		bench_die("KVM_GET_SREGS: %s", strerror(errno));
	data.selector = 0x1b;
	data.type = 3;
	data.l = 0;
	data.db = 1;
	s.cs = code;
	s.ds = s.es = s.ss = s.fs = s.gs = data;
	s.tr = (struct kvm_segment){
		.base = TSS, .limit = 0x67, .selector = 0x28, .type = 11, .present = 1};
	s.gdt.base = GDT;
	s.gdt.limit = 0x37;
	s.idt.limit = 0; /* an exception, which there must not be, ends the machine */
	s.cr0 = 0x80010033;
	s.cr3 = TABLES;
	s.cr4 = 0x620;
	s.efer = 0x500;
	if (ioctl(vm->vcpus[vcpu].fd, KVM_SET_SREGS, &s) ||
	    ioctl(vm->vcpus[vcpu].fd, KVM_SET_REGS, &regs))
		bench_die("KVM_SET_SREGS, KVM_SET_REGS: %s", strerror(errno));
}

void bare_vm_run(struct bare_vm *vm, unsigned vcpu, void (*function)(struct guest_args *),
		 struct guest_args *args)
{
	struct bare_vcpu *c = &vm->vcpus[vcpu];
	void *at = vm->low + ARGS + vcpu * BARE_PAGE;
	int ret;

	if (!args->base)
		args->base = BARE_DATA_GPA;
	if (!args->repeat)
		args->repeat = 1;
	memcpy(at, args, sizeof(*args));
	set_registers(vm, vcpu, guest_code_at((const void *)(uintptr_t)function, CODE));
	do {
		ret = ioctl(c->fd, KVM_RUN, 0);
		c->n_exits++;
	} while (ret && errno == EINTR);
	if (ret)
		bench_die("KVM_RUN: %s", strerror(errno));
	if (c->run->exit_reason != KVM_EXIT_IO || c->run->io.port != GUEST_PORT_END)
		bench_die("the guest stopped for a reason of its own: exit %u",
			  c->run->exit_reason);
	memcpy(args, at, sizeof(*args));
	if (args->n_wrong)
		bench_die("%llu of the guest's loads were wrong",
			  (unsigned long long)args->n_wrong);
}

void bare_vm_stop(struct bare_vm *vm, unsigned vcpu)
{
	struct guest_args *args = (void *)(vm->low + ARGS + vcpu * BARE_PAGE);

	__atomic_store_n(&args->repeat, 0, __ATOMIC_RELAXED);
}

void *bare_data_new(uint64_t bytes, bool huge)
{
	uintptr_t p = (uintptr_t)mmap(NULL, bytes + HUGE, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t data = (p + HUGE - 1) & ~(HUGE - 1);

	if ((void *)p == MAP_FAILED)
		bench_die("memory: %s", strerror(errno));
	if (data > p)
		munmap((void *)p, data - p);
	munmap((void *)(data + bytes), HUGE - (data - p));
	madvise((void *)data, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return (void *)data;
}

void bare_data_free(void *data, uint64_t bytes)
{
	munmap(data, bytes);
}
