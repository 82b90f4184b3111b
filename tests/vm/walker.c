/* What gmm_pt_walk and gmm_pt_fault say of an access is what the processor does.
 *
 * A bare virtual machine, no VMM: page tables made by the builder and then damaged at random
 * (entries without P, W, U, with NX, with reserved bits, at every level) are given to a vCPU, which
 * reads, writes and fetches at CPL 3 and CPL 0. Each access either goes through, at the
 * physical address that the walker names, or faults with the error code that it foretells.
 *
 * Two instructions make one access and then an `out`; handlers of #PF and #GP are an `out` to
 * another port. Every page holds at its beginning the code of an `out` (what a fetch comes upon),
 * then its own address.
 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <guestmm/pagetable.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_BYTES  (UINT64_C(32) << 20)
#define HUGE_BYTES (UINT64_C(2) << 20) /* the host's huge pages */
#define TABLES	   UINT64_C(0x100000)  /* page tables from here to 4 MiB */
#define TARGETS	   UINT64_C(0x400000)  /* pages that are accessed, from here to the end */
#define STUBS	   UINT64_C(0x1000)    /* mapped for all, at the same address; likewise: */
#define SYSTEM	   UINT64_C(0x2000)    /* GDT, IDT, TSS: CPL 0 */
#define STACK	   UINT64_C(0x4000)    /* CPL 0, its top */

#define OFF_READ  0x00
#define OFF_WRITE 0x10
#define OFF_PF	  0x20
#define OFF_GP	  0x30
#define PORT_DONE 0x10
#define PORT_PF	  0x11
#define PORT_GP	  0x12

struct vm {
	int vm_fd, vcpu_fd;
	uint8_t *ram;
	struct kvm_run *run;
	struct gmm_pt pt;
	uint64_t next_table;
	uint64_t seed;
	bool low_only; /* CPL 3 gets nowhere above the middle of the address space, whatever is
			  mapped */
	bool emulated; /* a reserved bit faults without saying that something is present */
};

enum outcome { DONE, PAGE_FAULT, GENERAL_PROTECTION };

static void skip(const char *what)
{
	printf("skipped: %s: %s\n", what, strerror(errno));
	exit(77);
}

static void fail(const char *what)
{
	printf("failed: %s\n", what);
	exit(1);
}

static uint64_t rng(struct vm *vm)
{
	vm->seed ^= vm->seed << 13;
	vm->seed ^= vm->seed >> 7;
	vm->seed ^= vm->seed << 17;
	return vm->seed * UINT64_C(2685821657736338717);
}

/* ---- The machine ---- */

static void set_cpuid(struct vm *vm, int kvm_fd)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	c->nent = 256;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, c) || ioctl(vm->vcpu_fd, KVM_SET_CPUID2, c))
		skip("KVM's CPUID");
	vm->pt.phys_bits = 36;
	for (unsigned i = 0; i < c->nent; i++) {
		if (c->entries[i].function == 0x80000008)
			vm->pt.phys_bits = c->entries[i].eax & 0xff;
		if (c->entries[i].function == 0x80000001 && (c->entries[i].edx >> 26 & 1))
			vm->pt.mode |= GMM_PT_PAGE_1G;
	}
	free(c);
}

/* Gives the guest its memory; again, to make KVM forget all it derived from the page tables in it:
 * a KVM that shadows them does not see what is written to them from here. */
static void set_ram(struct vm *vm)
{
	struct kvm_userspace_memory_region region = {.userspace_addr =
							     (uint64_t)(uintptr_t)vm->ram};

	ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION,
	      &region); /* of size 0: deleted, if it is there */
	region.memory_size = RAM_BYTES;
	if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region))
		skip("KVM_SET_USER_MEMORY_REGION");
}

/* Memory of which the upper half is in huge pages of the host, where it gives them. */
static uint8_t *make_ram(void)
{
	uintptr_t p = (uintptr_t)mmap(NULL, RAM_BYTES + HUGE_BYTES, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *ram = (uint8_t *)((p + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));

	if ((void *)p == MAP_FAILED)
		skip("memory");
	madvise(ram, RAM_BYTES / 2, MADV_NOHUGEPAGE);
	madvise(ram + RAM_BYTES / 2, RAM_BYTES / 2, MADV_HUGEPAGE);
	return ram;
}

static void make_vm(struct vm *vm)
{
	int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), bytes;

	if (kvm_fd < 0)
		skip("/dev/kvm");
	vm->vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0)
		skip("KVM_CREATE_VM");
	ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000); /* Intel's processors want it */
	vm->ram = make_ram();
	vm->vcpu_fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, 0);
	bytes = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (vm->vcpu_fd < 0 || bytes <= 0)
		skip("KVM_CREATE_VCPU");
	vm->run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
	if (vm->run == MAP_FAILED)
		skip("the vCPU's page");
	set_cpuid(vm, kvm_fd);
	close(kvm_fd);
}

static void put64(struct vm *vm, uint64_t pa, uint64_t value)
{
	memcpy(vm->ram + pa, &value, 8);
}

static void set_gate(struct vm *vm, unsigned vector, uint64_t to)
{
	uint64_t gate = SYSTEM + 0x400 + vector * 16;

	put64(vm, gate,
	      (to & 0xffff) | UINT64_C(8) << 16 | UINT64_C(0x8e00) << 32 | (to >> 16) << 48);
	put64(vm, gate + 8, to >> 32);
}

static void set_system(struct vm *vm)
{
	static const uint8_t read[] = {0x48, 0x8b, 0x18, 0xe6, PORT_DONE};  /* mov (%rax),%rbx */
	static const uint8_t write[] = {0x48, 0x89, 0x18, 0xe6, PORT_DONE}; /* mov %rbx,(%rax) */
	static const uint8_t pf[] = {0xe6, PORT_PF}, gp[] = {0xe6, PORT_GP};
	uint64_t gdt = SYSTEM, tss = SYSTEM + 0x80;

	memcpy(vm->ram + STUBS + OFF_READ, read, sizeof(read));
	memcpy(vm->ram + STUBS + OFF_WRITE, write, sizeof(write));
	memcpy(vm->ram + STUBS + OFF_PF, pf, sizeof(pf));
	memcpy(vm->ram + STUBS + OFF_GP, gp, sizeof(gp));
	put64(vm, gdt + 0x08, UINT64_C(0x00af9b000000ffff)); /* CPL 0 code */
	put64(vm, gdt + 0x10, UINT64_C(0x00cf93000000ffff));
	put64(vm, gdt + 0x18, UINT64_C(0x00cff3000000ffff));
	put64(vm, gdt + 0x20, UINT64_C(0x00affb000000ffff)); /* CPL 3 code */
	put64(vm, gdt + 0x28, UINT64_C(0x67) | (tss & 0xffffff) << 16 | UINT64_C(0x8b) << 40);
	put64(vm, gdt + 0x30, 0);
	put64(vm, tss + 4, STACK);
	set_gate(vm, 14, STUBS + OFF_PF);
	set_gate(vm, 13, STUBS + OFF_GP);
	for (uint64_t pa = TARGETS; pa < RAM_BYTES; pa += 4096) {
		put64(vm, pa, UINT64_C(0xf400) << 16 | PORT_DONE << 8 | 0xe6);
		put64(vm, pa + 8, pa);
	}
}

static void set_registers(struct vm *vm, uint64_t rip, uint64_t rax, uint64_t rbx, bool user)
{
	struct kvm_regs regs = {
		.rip = rip, .rax = rax, .rbx = rbx, .rsp = STACK - 256, .rflags = 0x3002};
	struct kvm_sregs s;
	struct kvm_segment code = {.limit = 0xffffffff, .present = 1, .s = 1, .g = 1, .l = 1};
	struct kvm_segment data;

	if (ioctl(vm->vcpu_fd, KVM_GET_SREGS, &s))
		fail("KVM_GET_SREGS");
	code.type = 11;
	code.dpl = user ? 3 : 0;
	code.selector = user ? 0x23 : 0x08;
	data = code;
	data.type = 3;
	data.l = 0;
	data.db = 1;
	data.selector = user ? 0x1b : 0x10;
	s.cs = code;
	s.ds = s.es = s.ss = s.fs = s.gs = data;
	s.tr = (struct kvm_segment){
		.base = SYSTEM + 0x80, .limit = 0x67, .selector = 0x28, .type = 11, .present = 1};
	s.gdt.base = SYSTEM;
	s.gdt.limit = 0x37;
	s.idt.base = SYSTEM + 0x400;
	s.idt.limit = 0xfff;
	s.cr0 = 0x80000033 | (vm->pt.mode & GMM_PT_WP ? 0x10000 : 0);
	s.cr3 = vm->pt.root;
	s.cr4 = 0x620;
	s.cr2 = 0;
	s.efer = 0x500 | (vm->pt.mode & GMM_PT_NXE ? 0x800 : 0);
	if (ioctl(vm->vcpu_fd, KVM_SET_SREGS, &s) || ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs))
		fail("KVM_SET_SREGS, KVM_SET_REGS");
}

/* Runs up to the first `out`. */
static enum outcome run(struct vm *vm, unsigned *code, uint64_t *rbx, uint64_t *cr2)
{
	struct kvm_regs regs;
	struct kvm_sregs s;

	while (ioctl(vm->vcpu_fd, KVM_RUN, 0))
		if (errno != EINTR)
			fail("KVM_RUN");
	if (vm->run->exit_reason != KVM_EXIT_IO) {
		printf("exit %u\n", vm->run->exit_reason);
		fail("the vCPU stopped for a reason of its own");
	}
	if (ioctl(vm->vcpu_fd, KVM_GET_REGS, &regs) || ioctl(vm->vcpu_fd, KVM_GET_SREGS, &s))
		fail("KVM_GET_REGS");
	*rbx = regs.rbx;
	*cr2 = s.cr2;
	if (vm->run->io.port == PORT_DONE)
		return DONE;
	if (regs.rsp >= STACK || regs.rsp < STACK - 4096)
		fail("the handler's stack");
	memcpy(code, vm->ram + regs.rsp, 4);
	return vm->run->io.port == PORT_PF ? PAGE_FAULT : GENERAL_PROTECTION;
}

/* ---- Tables ---- */

static int alloc_table(void *user, uint64_t *pa)
{
	struct vm *vm = user;

	if (vm->next_table >= TARGETS)
		return -1;
	*pa = vm->next_table;
	vm->next_table += 4096;
	memset(vm->ram + *pa, 0, 4096);
	return 0;
}

static bool in_ram(void *user, uint64_t pa, uint64_t bytes)
{
	(void)user;
	(void)bytes;
	return pa < RAM_BYTES;
}

static void map(struct vm *vm, uint64_t va, uint64_t pa, uint64_t bytes, uint64_t flags)
{
	if (gmm_pt_map(&vm->pt, va, pa, bytes, flags))
		fail("gmm_pt_map");
}

/* Bases of what is accessed: each has its own upper tables, so that damage stays there. */
static const uint64_t bases[] = {UINT64_C(0x8000000000), UINT64_C(0x10000000000),
				 UINT64_C(0x7f8000000000), UINT64_C(0xffff800000000000),
				 UINT64_C(0xffffff8000000000)};
#define N_BASES (sizeof(bases) / sizeof(bases[0]))

static uint64_t some_flags(struct vm *vm)
{
	return rng(vm) & (GMM_PT_W | GMM_PT_U | (vm->pt.mode & GMM_PT_NXE ? GMM_PT_NX : 0));
}

/* Damages one entry on the way to va. */
static void damage(struct vm *vm, uint64_t va)
{
	unsigned stop = 1 + (unsigned)rng(vm) % 4, bit;
	struct gmm_pt_result w;
	uint64_t entry, table = vm->pt.root;

	for (unsigned level = 4;; level--) {
		w.entry_pa = table + gmm_pt_index(va, level) * 8;
		memcpy(&entry, vm->ram + w.entry_pa, 8);
		if (level == stop || !(entry & GMM_PT_P) || gmm_pt_is_leaf(entry, level))
			break;
		table = entry & GMM_PT_ADDR;
		if (table < TABLES || table >= TARGETS)
			return;
	}
	bit = (unsigned[]){
		0, 1, 2, 1, 2, 63, 63, 7, 51, vm->pt.phys_bits, 20, 13, 52, 62}[rng(vm) % 14];
	if (bit == 62 || bit == 52) /* ignored ones, to see that they are */
		entry |= UINT64_C(1) << bit;
	else
		entry ^= UINT64_C(1) << (bit < 52 || bit == 63 ? bit : 51);
	put64(vm, w.entry_pa, entry);
}

static void make_tables(struct vm *vm)
{
	vm->next_table = TABLES;
	alloc_table(vm, &vm->pt.root);
	map(vm, STUBS, STUBS, 4096, GMM_PT_U);
	map(vm, SYSTEM, SYSTEM, STACK - SYSTEM, GMM_PT_W);
	for (unsigned i = 0; i < N_BASES; i++) {
		map(vm, bases[i], TARGETS, 16 * 4096,
		    some_flags(vm)); /* 2 MiB apart: small pages */
		if (gmm_pt_protect(&vm->pt, bases[i] + 4096, 8192, some_flags(vm)))
			fail("gmm_pt_protect");
		map(vm, bases[i] + (8 << 20), TARGETS, 4 << 20, some_flags(vm));
		if (gmm_pt_protect(&vm->pt, bases[i] + (9 << 20), 4096, some_flags(vm)))
			fail("gmm_pt_protect");
		map(vm, bases[i] + (UINT64_C(1) << 30), 0, UINT64_C(1) << 30, some_flags(vm));
	}
	for (unsigned i = 0, n = (unsigned)rng(vm) % 4; i < n * N_BASES; i++) {
		static const uint64_t at[] = {0, 4096, 8 << 20, 9 << 20, 10 << 20, 1 << 30};

		damage(vm, bases[rng(vm) % N_BASES] + at[rng(vm) % 6]);
	}
}

/* ---- One access ---- */

static uint64_t some_address(struct vm *vm)
{
	uint64_t page = bases[rng(vm) % N_BASES];

	switch (rng(vm) % 8) {
	case 0:
	case 1:
		page += rng(vm) % 20 * 4096;
		break;
	case 2:
	case 3:
		page += (8 << 20) + rng(vm) % 1024 * 4096;
		break;
	case 4:
		page += (9 << 20) + rng(vm) % 2 * 4096;
		break;
	case 5:
	case 6:
		page += (UINT64_C(1) << 30) + TARGETS + rng(vm) % 4096 * 4096;
		break;
	default:
		page = rng(vm) % 4 ? page + (UINT64_C(3) << 30)
				   : UINT64_C(0x800000000000) + (rng(vm) % 99 << 12);
	}
	return page;
}

static void describe(const struct vm *vm, uint64_t va, unsigned kind, const struct gmm_pt_result *w,
		     enum outcome got, unsigned code, uint64_t cr2)
{
	printf("va %llx access %x mode %x: walker: stop %d level %u entry %llx rights %llx pa "
	       "%llx; "
	       "processor: outcome %d code %x cr2 %llx\n",
	       (unsigned long long)va, kind, vm->pt.mode, (int)w->stop, w->level,
	       (unsigned long long)w->entry, (unsigned long long)w->rights,
	       (unsigned long long)w->pa, (int)got, code, (unsigned long long)cr2);
	fail("walker and processor disagree");
}

static unsigned n_seen[5], n_seen_level[4], n_skipped;

static void one_access(struct vm *vm)
{
	unsigned kind = (rng(vm) % 2 ? GMM_PT_FAULT_USER : 0), code = 0, said = 0;
	uint64_t va = some_address(vm), nonce = rng(vm), rbx = 0, cr2 = 0, value;
	unsigned verb = (unsigned)rng(vm) % 3;
	struct gmm_pt_result w;
	enum outcome want, got;

	kind |= verb == 1 ? GMM_PT_FAULT_WRITE : verb == 2 ? GMM_PT_FAULT_FETCH : 0;
	va += verb == 0 ? 8 : verb == 1 ? 16 : 0;
	gmm_pt_walk(&vm->pt, va, &w);
	if (w.stop == GMM_PT_OUTSIDE || (w.stop == GMM_PT_MAPPED && w.pa < TARGETS) ||
	    (w.stop == GMM_PT_NONCANONICAL && verb == 2) ||
	    (vm->low_only && (kind & GMM_PT_FAULT_USER) && va >> 63)) {
		n_skipped++; /* device memory, our own tables, or an address that RIP cannot hold */
		return;
	}
	want = w.stop == GMM_PT_NONCANONICAL		? GENERAL_PROTECTION
	       : gmm_pt_fault(&vm->pt, &w, kind, &said) ? PAGE_FAULT
							: DONE;
	set_registers(vm, verb == 2 ? va : STUBS + (verb ? OFF_WRITE : OFF_READ), va, nonce,
		      kind & GMM_PT_FAULT_USER);
	got = run(vm, &code, &rbx, &cr2);
	if (vm->emulated && w.stop == GMM_PT_RESERVED)
		said &= ~(unsigned)GMM_PT_FAULT_P;
	if (got != want || (got == PAGE_FAULT && (code != said || cr2 != va)))
		describe(vm, va, kind, &w, got, code, cr2);
	memcpy(&value, vm->ram + (w.stop == GMM_PT_MAPPED ? w.pa : 0), 8);
	if (got == DONE &&
	    ((verb == 0 && rbx != (w.pa & ~UINT64_C(4095))) || (verb == 1 && value != nonce)))
		describe(vm, va, kind, &w, got, code, cr2);
	n_seen[w.stop]++;
	if (got == DONE)
		n_seen_level[w.level]++;
}

/* QEMU's emulator (7.2) is the processor below: its faults by reserved bits come without P, where
 * the manuals of both makers want it. */
static bool in_qemus_emulator(void)
{
	unsigned eax, name[3];

	__cpuid(1, eax, name[0], name[1], name[2]);
	if (!(name[1] >> 31)) /* no hypervisor */
		return false;
	__cpuid(0x40000000, eax, name[0], name[1], name[2]);
	return memcmp(name, "TCGTCGTCGTCG", 12) == 0;
}

/* kvm_pvm, a KVM without EPT or NPT for hosts that are guests themselves, keeps the upper half of
 * the address space to itself while it runs CPL 3: accesses there fault as if nothing were mapped,
 * or go through where it emulates them (Linux 6.18). */
static void find_quirks(struct vm *vm)
{
	const bool unknown = access("/sys/module", F_OK) != 0;

	vm->low_only = unknown || access("/sys/module/kvm_pvm", F_OK) == 0;
	if (vm->low_only)
		printf("%s: accesses of CPL 3 to the upper half are not compared\n",
		       unknown ? "no /sys/module, so this may be kvm_pvm" : "kvm_pvm");
	vm->emulated = in_qemus_emulator();
	if (vm->emulated)
		printf("QEMU's emulator: faults by reserved bits are compared without bit P\n");
	if (!(vm->pt.mode & GMM_PT_PAGE_1G))
		printf("this KVM offers no 1 GiB pages: not compared\n");
}

/* ---- What the host maps below ---- */

static bool file_says(const char *path, const char *text)
{
	char line[128] = "";
	FILE *f = fopen(path, "re");

	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	return strstr(line, text) != NULL;
}

/* One of KVM's numbers about the virtual machine; -1 where KVM does not tell. */
static long long kvm_number(int fd, const char *name)
{
	struct kvm_stats_header h;
	struct kvm_stats_desc *d;
	long long value = -1;
	size_t bytes;

	if (fd < 0 || pread(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) || h.name_size > 4096)
		return -1;
	bytes = sizeof(*d) + h.name_size;
	d = calloc(1, bytes + 1);
	for (unsigned i = 0; d && i < h.num_desc && value < 0; i++) {
		if (pread(fd, d, bytes, (off_t)(h.desc_offset + i * bytes)) != (ssize_t)bytes)
			break;
		if (strcmp((char *)(d + 1), name) == 0 &&
		    pread(fd, &value, sizeof(value), (off_t)(h.data_offset + d->offset)) !=
			    (ssize_t)sizeof(value))
			value = -1;
	}
	free(d);
	return value;
}

/* How much of the guest's memory is in huge pages of the host, by /proc/self/smaps; -1: it does not
 * say. */
static long long huge_bytes(const struct vm *vm)
{
	uintptr_t first = (uintptr_t)vm->ram, start, end;
	bool inside = false;
	long long kib, sum = -1;
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start >= first && end <= first + RAM_BYTES;
		else if (inside && sscanf(line, "AnonHugePages: %lld kB", &kib) == 1)
			sum = (sum < 0 ? 0 : sum) + kib * 1024;
	}
	if (f)
		fclose(f);
	return sum;
}

/* Under nested paging the walks above went through entries for small and for huge host pages, and
 * the huge ones map huge pages. */
static void check_host_pages(const struct vm *vm)
{
	int fd = ioctl(vm->vm_fd, KVM_GET_STATS_FD, 0);
	long long small = kvm_number(fd, "pages_4k"), huge = kvm_number(fd, "pages_2m");
	long long bytes = huge_bytes(vm);
	bool nested = file_says("/sys/module/kvm_amd/parameters/npt", "Y") ||
		      file_says("/sys/module/kvm_amd/parameters/npt", "1") ||
		      file_says("/sys/module/kvm_intel/parameters/ept", "Y");

	printf("mapped by the host, %s nested paging: 4K %lld, 2M %lld; in huge pages: %lld "
	       "bytes\n",
	       nested ? "with" : "without", small, huge, bytes);
	if (fd >= 0)
		close(fd);
	if (file_says("/sys/kernel/mm/transparent_hugepage/enabled", "[never]"))
		return;
	if (nested && huge >= 0 && (small < 1 || huge < 1))
		fail("not both kinds of host pages were in use");
	if (nested && bytes >= 0 && bytes < (long long)HUGE_BYTES * (huge > 0 ? huge : 1))
		fail("fewer huge pages hold the guest's memory than KVM maps");
}

int main(void)
{
	struct vm vm = {.seed = 20221123, .pt = {.mode = GMM_PT_NXE | GMM_PT_WP}};
	unsigned has_1g;

	make_vm(&vm);
	has_1g = vm.pt.mode & GMM_PT_PAGE_1G;
	vm.pt.direct = vm.ram;
	vm.pt.direct_bytes = RAM_BYTES;
	vm.pt.alloc = alloc_table;
	vm.pt.inside = in_ram;
	vm.pt.user = &vm;
	find_quirks(&vm);
	for (unsigned round = 0; round < 120; round++) {
		vm.pt.mode = has_1g | (round % 8 == 5 ? 0 : GMM_PT_NXE) |
			     (round % 4 == 3 ? 0 : GMM_PT_WP);
		memset(vm.ram, 0, TABLES);
		set_system(&vm);
		make_tables(&vm);
		set_ram(&vm);
		for (unsigned i = 0; i < 60; i++)
			one_access(&vm);
	}
	printf("accesses by where the walk stopped: mapped %u (4K %u, 2M %u, 1G %u went through), "
	       "not present %u, "
	       "reserved bits %u, not canonical %u; not made %u\n",
	       n_seen[GMM_PT_MAPPED], n_seen_level[1], n_seen_level[2], n_seen_level[3],
	       n_seen[GMM_PT_NOT_PRESENT], n_seen[GMM_PT_RESERVED], n_seen[GMM_PT_NONCANONICAL],
	       n_skipped);
	check_host_pages(&vm);
	if (n_seen_level[1] < 50 || n_seen_level[2] < 50 || (has_1g && n_seen_level[3] < 50) ||
	    n_seen[GMM_PT_NOT_PRESENT] < 50 || n_seen[GMM_PT_RESERVED] < 20 ||
	    n_seen[GMM_PT_NONCANONICAL] < 5)
		fail("too few of a kind to have seen anything");
	return 0;
}
