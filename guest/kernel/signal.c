/* Signals: what a fault or a kill of itself does to a thread.
 *
 * Frames have Linux's layout. The FPU's state is saved by fxsave and restored on return: the
 * programs' code between is free to use SSE. Signals that are blocked or ignored where a
 * fault needs them, and those without a handler, end the program. Handlers: kernel lock.
 */
#include "signal.h"

#include "kernel.h"

#define TRAP_FLAG      UINT64_C(0x100)
#define DIRECTION_FLAG UINT64_C(0x400)

static struct sig_action actions[N_SIGNALS + 1];
static uint8_t fpu[N_CPUS][512] __attribute__((aligned(64)));

static uint64_t bit(int signal)
{
	return UINT64_C(1) << (signal - 1);
}

static _Noreturn void die(const struct regs *r, int signal, uint64_t address)
{
	if (have_host())
		hostcall(GMM_HC_INVALID, address, (r->error & 0xffffffff) | r->vector << 32,
			 r->rip);
	else
		say("the program ended by signal %u: address 0x%x, rip 0x%x, "
		    "error 0x%x\n",
		    (uint64_t)signal, address, r->rip, r->error);
	process_exit(128 + (unsigned)signal, (unsigned)signal);
}

static void fill_context(struct sig_context *c, const struct regs *r, uint64_t address)
{
	*c = (struct sig_context){
		.r8 = r->r8,
		.r9 = r->r9,
		.r10 = r->r10,
		.r11 = r->r11,
		.r12 = r->r12,
		.r13 = r->r13,
		.r14 = r->r14,
		.r15 = r->r15,
		.rdi = r->rdi,
		.rsi = r->rsi,
		.rbp = r->rbp,
		.rbx = r->rbx,
		.rdx = r->rdx,
		.rax = r->rax,
		.rcx = r->rcx,
		.rsp = r->rsp,
		.rip = r->rip,
		.rflags = r->rflags,
		.cs = USER_CS,
		.ss = USER_SS,
		.error = r->error,
		.trap = r->vector,
		.cr2 = address,
	};
}

/* Builds the frame and lets regs enter the handler. False: the stack is not there. */
static bool push_frame(struct regs *r, int signal, int code, uint64_t address)
{
	struct cpu *c = this_cpu();
	struct sig_action *a = &actions[signal];
	struct sig_frame f = {.restorer = a->restorer};
	uint64_t sp = r->rsp - 128, fp;
	bool on_alt = c->alt_stack_bytes && r->rsp - c->alt_stack <= c->alt_stack_bytes;

	if (a->flags & SA_ONSTACK && c->alt_stack_bytes && !on_alt)
		sp = c->alt_stack + c->alt_stack_bytes;
	fp = (sp - sizeof(fpu[0])) & ~UINT64_C(63);
	sp = ((fp - sizeof(f)) & ~UINT64_C(15)) - 8;
	fill_context(&f.uc.context, r, address);
	f.uc.context.fpstate = fp;
	f.uc.stack =
		(struct sig_stack){c->alt_stack, c->alt_stack_bytes ? 0 : 2, 0, c->alt_stack_bytes};
	f.uc.mask = c->sig_mask;
	f.info.number = signal;
	f.info.code = code;
	f.info.address = address;
	__asm__ volatile("fxsave64 %0" : "=m"(fpu[c->index]));
	if (user_put(fp, fpu[c->index], sizeof(fpu[0])) || user_put(sp, &f, sizeof(f)))
		return false;
	r->rdi = (uint64_t)signal;
	r->rsi = sp + offsetof(struct sig_frame, info);
	r->rdx = sp + offsetof(struct sig_frame, uc);
	r->rax = 0;
	r->rsp = sp;
	r->rip = a->handler;
	r->rflags &= ~(TRAP_FLAG | DIRECTION_FLAG);
	c->sig_mask |= a->mask | (a->flags & SA_NODEFER ? 0 : bit(signal));
	if (a->flags & SA_RESETHAND)
		a->handler = 0;
	return true;
}

static bool has_handler(int signal)
{
	const struct sig_action *a = &actions[signal];

	return a->handler > 1 && a->handler < USER_END && a->flags & SA_RESTORER &&
	       !(this_cpu()->sig_mask & bit(signal));
}

void signal_fault(struct regs *regs, int signal, int code, uint64_t address)
{
	if (!has_handler(signal) || !push_frame(regs, signal, code, address))
		die(regs, signal, address);
}

void signal_self(struct regs *r, int signal)
{
	static const uint64_t ignored = UINT64_C(1) << 16 | UINT64_C(1) << 17 | UINT64_C(1) << 22 |
					UINT64_C(1) << 27; /* CHLD, CONT, URG, WINCH */

	r->rax = 0;
	if (signal < 1 || signal > N_SIGNALS)
		r->rax = signal ? (uint64_t)-EINVAL : 0;
	else if (has_handler(signal) && signal != SIGKILL && signal != SIGSTOP) {
		if (!push_frame(r, signal, -6 /* SI_TKILL */, 1))
			die(r, SIGSEGV, r->rsp);
	} else if (signal == SIGKILL || (actions[signal].handler == 0 && !(ignored & bit(signal))))
		process_exit(128 + (unsigned)signal, (unsigned)signal);
}

void signal_return(struct regs *r)
{
	struct cpu *c = this_cpu();
	struct sig_frame f;
	const struct sig_context *s = &f.uc.context;

	/* The handler's ret took the restorer off. */
	if (user_get(&f, r->rsp - 8, sizeof(f)) || s->rip > USER_END)
		die(r, SIGSEGV, r->rsp);
	if (s->fpstate) {
		if (user_get(fpu[c->index], s->fpstate, sizeof(fpu[0])))
			die(r, SIGSEGV, s->fpstate);
		/* Bits of MXCSR that do not exist would fault in the kernel. */
		((uint32_t *)fpu[c->index])[6] &= 0xffbf;
		__asm__ volatile("fxrstor64 %0" : : "m"(fpu[c->index]));
	}
	*r = (struct regs){
		.r15 = s->r15,
		.r14 = s->r14,
		.r13 = s->r13,
		.r12 = s->r12,
		.rbp = s->rbp,
		.rbx = s->rbx,
		.r11 = s->r11,
		.r10 = s->r10,
		.r9 = s->r9,
		.r8 = s->r8,
		.rdi = s->rdi,
		.rsi = s->rsi,
		.rdx = s->rdx,
		.rcx = s->rcx,
		.rax = s->rax,
		.rip = s->rip,
		.cs = USER_CS,
		.ss = USER_SS,
		.rsp = s->rsp,
		.rflags = (s->rflags & USER_FLAGS) | user_rflags,
	};
	c->sig_mask = f.uc.mask & ~(bit(SIGKILL) | bit(SIGSTOP));
}

long sys_rt_sigaction(uint64_t signal, uint64_t act, uint64_t old, uint64_t bytes)
{
	struct sig_action a, was;

	if (signal < 1 || signal > N_SIGNALS || bytes != 8)
		return -EINVAL;
	if (act && (signal == SIGKILL || signal == SIGSTOP))
		return -EINVAL;
	if (act && user_get(&a, act, sizeof(a)))
		return -EFAULT;
	kernel_lock();
	was = actions[signal];
	if (act)
		actions[signal] = a;
	kernel_unlock();
	return old ? user_put(old, &was, sizeof(was)) : 0;
}

long sys_rt_sigprocmask(uint64_t how, uint64_t set, uint64_t old, uint64_t bytes)
{
	struct cpu *c = this_cpu();
	uint64_t was = c->sig_mask, mask;

	if (bytes != 8 || how > 2)
		return -EINVAL;
	if (set && user_get(&mask, set, 8))
		return -EFAULT;
	if (set) {
		mask = how == 0 ? was | mask : how == 1 ? was & ~mask : mask;
		c->sig_mask = mask & ~(bit(SIGKILL) | bit(SIGSTOP));
	}
	return old ? user_put(old, &was, 8) : 0;
}

long sys_sigaltstack(uint64_t stack, uint64_t old)
{
	struct cpu *c = this_cpu();
	struct sig_stack was = {c->alt_stack, c->alt_stack_bytes ? 0 : 2, 0, c->alt_stack_bytes}, s;

	if (stack && user_get(&s, stack, sizeof(s)))
		return -EFAULT;
	if (stack && !(s.flags & 2) && (s.bytes < 2048 || !user_ok(s.sp, s.bytes)))
		return -ENOMEM;
	if (stack) {
		c->alt_stack = s.sp;
		c->alt_stack_bytes = s.flags & 2 ? 0 : s.bytes;
	}
	return old ? user_put(old, &was, sizeof(was)) : 0;
}
