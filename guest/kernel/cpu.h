/* A processor: its registers as saved, its own data, the instructions C has no word for.
 *
 * Every CPU runs at most one thread for as long as that lives; the struct cpu is thread
 * and processor in one. The kernel's one lock guards everything that is not said to be
 * its CPU's own. Whoever waits for it answers TLB flushes meanwhile.
 */
#ifndef GUEST_KERNEL_CPU_H
#define GUEST_KERNEL_CPU_H

#include "layout.h"

#include <guestmm/abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* entry.S pushes it. `vector` up to `rbx` are there on slow paths only. */
struct regs {
	uint64_t vector;
	uint64_t r15, r14, r13, r12, rbp, rbx;
	uint64_t r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
	uint64_t error; /* error code of a trap, number of a system call */
	uint64_t rip, cs, rflags, rsp, ss;
};
_Static_assert(sizeof(struct regs) == 22 * 8, "entry.S pushes 22 words");

struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3, iomap;
} __attribute__((packed));
_Static_assert(sizeof(struct tss) == 104, "the processor's layout");

enum cpu_state {
	CPU_OFF,    /* has not arrived yet */
	CPU_IDLE,   /* no thread */
	CPU_BUSY,   /* runs its thread, or the kernel for it */
	CPU_ASLEEP, /* its thread waits: it will flush its TLB before it goes on */
};

struct cpu {
	unsigned index;
	enum cpu_state state;		     /* kernel lock */
	bool flush;			     /* atomic: another CPU wants the TLB flushed */
	bool has_lock;			     /* own */
	uint64_t sig_mask;		     /* own */
	uint64_t alt_stack, alt_stack_bytes; /* own */
	uint64_t clear_child_tid;	     /* own: set to 0 and woken when the thread ends */
	uint64_t futex; /* kernel lock: the word its thread waits on, 0 when woken */
	uint32_t futex_bits;
	struct regs start; /* kernel lock: where a new thread begins */
	uint64_t start_fs;
	struct tss tss;
};

extern struct cpu cpus[N_CPUS];
extern unsigned n_cpus;
extern uint64_t user_rflags; /* flags that programs start with */
extern uint64_t tsc_khz;

void cpu_init(unsigned index, bool has_apic);
/* Sleeps until an interrupt has been served: interrupts are on meanwhile. By the processor
 * (entry.S), or by the VMM where that wants it. */
void cpu_halt(void);
void cpu_wait(void);
/* The same, no longer than until cpu_now_ns() reaches the deadline; may return early. */
void cpu_wait_until(uint64_t deadline_ns);
void cpu_wake(const struct cpu *c);
/* Flushes one page (start + 4 KiB == end), or all of the programs' half, on all CPUs. */
void cpu_flush(uint64_t start, uint64_t end);
void cpu_answer_flush(struct cpu *c);
void cpu_eoi(void);
/* Nanoseconds since some fixed moment. */
uint64_t cpu_now_ns(void);
void kernel_lock(void);
void kernel_unlock(void);
_Noreturn void regs_enter(struct regs *regs);

static inline struct cpu *this_cpu(void)
{
	uint64_t sp;
	__asm__("mov %%rsp, %0" : "=r"(sp));
	return *(struct cpu **)((sp | (STACK_STRIDE - 1)) - 7);
}

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint64_t read_cr2(void)
{
	uint64_t v;
	__asm__ volatile("mov %%cr2, %0" : "=r"(v));
	return v;
}

static inline uint64_t read_cr3(void)
{
	uint64_t v;
	__asm__ volatile("mov %%cr3, %0" : "=r"(v));
	return v;
}

static inline void write_cr3(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}

static inline void invlpg(uint64_t address)
{
	__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
			 : "memory");
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

static inline void cpu_pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

#define MSR_FS_BASE 0xc0000100u

#endif
