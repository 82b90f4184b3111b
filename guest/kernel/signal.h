/* Linux's numbers and layouts for signals on x86-64, as far as programs here see them. */
#ifndef GUEST_KERNEL_SIGNAL_H
#define GUEST_KERNEL_SIGNAL_H

#include <stdint.h>

enum {
	SIGILL = 4,
	SIGTRAP = 5,
	SIGABRT = 6,
	SIGBUS = 7,
	SIGFPE = 8,
	SIGKILL = 9,
	SIGSEGV = 11,
	SIGSTOP = 19,
	N_SIGNALS = 64,
};

enum {
	SI_KERNEL = 0x80,
	ILL_ILLOPN = 2,
	FPE_INTDIV = 1,
	FPE_FLTINV = 7,
	SEGV_MAPERR = 1,
	SEGV_ACCERR = 2,
	BUS_ADRALN = 1,
	BUS_MCEERR_AR = 4,
	TRAP_BRKPT = 1,
	TRAP_TRACE = 2,
};

#define SA_RESTORER  UINT64_C(0x04000000)
#define SA_ONSTACK   UINT64_C(0x08000000)
#define SA_NODEFER   UINT64_C(0x40000000)
#define SA_RESETHAND UINT64_C(0x80000000)

struct sig_action {
	uint64_t handler; /* 0 default, 1 ignore */
	uint64_t flags;
	uint64_t restorer;
	uint64_t mask;
};
_Static_assert(sizeof(struct sig_action) == 32, "Linux's layout");

struct sig_stack {
	uint64_t sp;
	uint32_t flags, reserved;
	uint64_t bytes;
};

struct sig_context {
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip,
		rflags;
	uint16_t cs, gs, fs, ss;
	uint64_t error, trap, old_mask, cr2, fpstate;
	uint64_t reserved[8];
};
_Static_assert(sizeof(struct sig_context) == 256, "Linux's layout");

struct sig_frame {
	uint64_t restorer;
	struct {
		uint64_t flags, link;
		struct sig_stack stack;
		struct sig_context context;
		uint64_t mask;
	} uc;
	struct {
		int32_t number, error, code, reserved;
		uint64_t address;
		uint8_t rest[104];
	} info;
};
_Static_assert(sizeof(struct sig_frame) == 8 + 304 + 128, "Linux's layout");

#endif
