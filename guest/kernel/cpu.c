/* Bringing a processor up, waking it, flushing its TLB, and the kernel's one lock.
 *
 * A TLB flush is asked for by a flag and an interrupt. Who asks holds the kernel lock; who
 * is asked answers from a program (interrupt), from waiting for the lock, or, when it
 * sleeps, before it runs its thread again: nobody waits for a sleeper.
 */
#include "cpu.h"

#include "kernel.h"

#define MSR_APIC_BASE	 0x1bu
#define MSR_STAR	 0xc0000081u
#define MSR_LSTAR	 0xc0000082u
#define MSR_SFMASK	 0xc0000084u
#define MSR_X2APIC_EOI	 0x80bu
#define MSR_X2APIC_SVR	 0x80fu
#define MSR_X2APIC_ICR	 0x830u
#define MSR_X2APIC_TIMER 0x832u
#define MSR_TSC_DEADLINE 0x6e0u
#define TIMER_DEADLINE	 (UINT64_C(2) << 17)
#define APIC_ENABLE	 (UINT64_C(1) << 11)
#define APIC_X2		 (UINT64_C(1) << 10)

#define RFLAGS_IF UINT64_C(0x200)

struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_mid;
	uint32_t offset_high, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "the processor's layout");

struct cpu cpus[N_CPUS];
unsigned n_cpus = 1;
uint64_t user_rflags = 2;
uint64_t tsc_khz;

extern uint64_t gdt[GDT_FIXED + 2 * N_CPUS];
extern char syscall_entries[];
extern const struct {
	uint64_t vector, address;
} trap_entries[], trap_entries_end[];

static struct gate idt[256];
static uint8_t double_fault_stacks[N_CPUS][4096] __attribute__((aligned(16)));
static unsigned lock_word;
static bool has_timer;

static void idt_fill(void)
{
	for (size_t i = 0; &trap_entries[i] != trap_entries_end; i++) {
		uint64_t at = trap_entries[i].address;

		idt[trap_entries[i].vector] = (struct gate){
			.offset_low = (uint16_t)at,
			.selector = KERNEL_CS,
			.type = 0x8e,
			.offset_mid = (uint16_t)(at >> 16),
			.offset_high = (uint32_t)(at >> 32),
		};
	}
	/* A program may execute int3 and into; a double fault finds a stack that works. */
	idt[3].type = 0xee;
	idt[4].type = 0xee;
	idt[8].ist = 1;
}

static void tables_load(struct cpu *c)
{
	uint64_t base = (uint64_t)&c->tss;
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdtr = {sizeof(gdt) - 1, (uint64_t)gdt},
				  idtr = {sizeof(idt) - 1, (uint64_t)idt};
	size_t slot = GDT_FIXED + 2 * (size_t)c->index;

	c->tss.rsp[0] = STACKS + ((uint64_t)c->index + 1) * STACK_STRIDE - STACK_TOP_ROOM;
	c->tss.ist[0] = (uint64_t)double_fault_stacks[c->index] + sizeof(double_fault_stacks[0]);
	c->tss.iomap = sizeof(c->tss); /* no port for programs */
	gdt[slot] = (sizeof(c->tss) - 1) | (base & 0xffffff) << 16 | UINT64_C(0x89) << 40 |
		    (base >> 24 & 0xff) << 56;
	gdt[slot + 1] = base >> 32;
	__asm__ volatile("lgdt %0" : : "m"(gdtr));
	__asm__ volatile("lidt %0" : : "m"(idtr));
	__asm__ volatile("push %0; lea 1f(%%rip), %%rax; push %%rax; lretq; 1:"
			 :
			 : "i"(KERNEL_CS)
			 : "rax", "memory");
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs" : : "r"(0));
	__asm__ volatile("mov %0, %%ss" : : "r"(KERNEL_SS));
	__asm__ volatile("ltr %w0" : : "r"(TSS_FIRST + 16 * c->index));
}

static uint32_t cpuid_ecx(uint32_t leaf)
{
	uint32_t c = 0;

	__asm__ volatile("cpuid" : "+a"(leaf), "+c"(c) : : "rbx", "rdx");
	return c;
}

void cpu_init(unsigned index, bool has_apic)
{
	struct cpu *c = &cpus[index];
	uint64_t cr0;

	c->index = index;
	*(struct cpu **)(STACKS + (uint64_t)(index + 1) * STACK_STRIDE - 8) = c;
	if (index == 0)
		idt_fill();
	tables_load(c);
	/* The zero page and the programs' images are read-only for the kernel too. */
	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0 | 0x10000));
	wrmsr(MSR_STAR, (uint64_t)KERNEL_CS << 32);
	wrmsr(MSR_LSTAR, (uint64_t)syscall_entries + 64 * (uint64_t)index);
	wrmsr(MSR_SFMASK, 0x47700); /* AC, NT, IOPL, DF, IF, TF */
	if (has_apic) {
		wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_ENABLE | APIC_X2);
		wrmsr(MSR_X2APIC_SVR, 0x100 | VECTOR_SPURIOUS);
		user_rflags = 2 | RFLAGS_IF;
		has_timer = cpuid_ecx(1) >> 24 & 1;
		if (has_timer)
			wrmsr(MSR_X2APIC_TIMER, TIMER_DEADLINE | VECTOR_WAKE);
	}
}

void cpu_eoi(void)
{
	wrmsr(MSR_X2APIC_EOI, 0);
}

void cpu_wake(const struct cpu *c)
{
	wrmsr(MSR_X2APIC_ICR, (uint64_t)c->index << 32 | 0x4000 | VECTOR_WAKE);
}

void cpu_answer_flush(struct cpu *c)
{
	if (__atomic_load_n(&c->flush, __ATOMIC_RELAXED)) {
		write_cr3(read_cr3());
		__atomic_store_n(&c->flush, false, __ATOMIC_RELEASE);
	}
}

void cpu_flush(uint64_t start, uint64_t end)
{
	struct cpu *self;

	if (end - start == 4096)
		invlpg(start);
	else
		write_cr3(read_cr3());
	if (n_cpus == 1)
		return;
	self = this_cpu();
	for (unsigned i = 0; i < n_cpus; i++) {
		if (&cpus[i] == self || cpus[i].state != CPU_BUSY)
			continue;
		__atomic_store_n(&cpus[i].flush, true, __ATOMIC_SEQ_CST);
		cpu_wake(&cpus[i]);
	}
	for (unsigned i = 0; i < n_cpus; i++)
		while (cpus[i].state == CPU_BUSY && &cpus[i] != self &&
		       __atomic_load_n(&cpus[i].flush, __ATOMIC_ACQUIRE))
			cpu_pause();
}

/* Nested in itself (a page fault of the kernel on a program's memory): the inner one
 * does nothing; see fault_fast. */
void kernel_lock(void)
{
	struct cpu *self;

	if (n_cpus == 1)
		return;
	self = this_cpu();
	while (__atomic_exchange_n(&lock_word, 1, __ATOMIC_ACQUIRE)) {
		cpu_answer_flush(self);
		cpu_pause();
	}
	self->has_lock = true;
}

void kernel_unlock(void)
{
	if (balloon_is_due())
		balloon_work();
	if (n_cpus == 1)
		return;
	this_cpu()->has_lock = false;
	__atomic_store_n(&lock_word, 0, __ATOMIC_RELEASE);
}

uint64_t cpu_now_ns(void)
{
	uint64_t tsc = rdtsc(), ms = tsc / tsc_khz;

	return ms * 1000000 + (tsc % tsc_khz) * 1000000 / tsc_khz;
}

void cpu_wait(void)
{
	if (boot.flags & GMM_BOOT_IDLE)
		host_wait();
	else
		cpu_halt();
}

void cpu_wait_until(uint64_t deadline_ns)
{
	if (has_timer) {
		wrmsr(MSR_TSC_DEADLINE, deadline_ns / 1000000 * tsc_khz +
						deadline_ns % 1000000 * tsc_khz / 1000000 + 1);
		cpu_wait();
		wrmsr(MSR_TSC_DEADLINE, 0);
	} else if (user_rflags & RFLAGS_IF) {
		__asm__ volatile("sti; pause; cli" : : : "memory");
	} else {
		cpu_pause();
	}
}
