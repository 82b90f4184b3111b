/* Threads: one on a CPU for as long as it lives, so there is nothing to schedule. A thread
 * that waits lets its CPU sleep; who wakes it sends an interrupt.
 */
#include "kernel.h"

#define CLONE_VM	     UINT64_C(0x100)
#define CLONE_SETTLS	     UINT64_C(0x80000)
#define CLONE_PARENT_SETTID  UINT64_C(0x100000)
#define CLONE_CHILD_CLEARTID UINT64_C(0x200000)
#define CLONE_CHILD_SETTID   UINT64_C(0x1000000)
/* VM, FS, FILES, SIGHAND, THREAD, SYSVSEM: what makes it a thread of this process */
#define CLONE_THREAD_FLAGS UINT64_C(0x50f00)
#define CLONE_KNOWN                                                                                \
	(CLONE_THREAD_FLAGS | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID |          \
	 CLONE_CHILD_SETTID | UINT64_C(0x4000ff)) /* CLONE_DETACHED and a signal: no effect */

#define FUTEX_WAIT	     0u
#define FUTEX_WAKE	     1u
#define FUTEX_WAIT_BITSET    9u
#define FUTEX_WAKE_BITSET    10u
#define FUTEX_PRIVATE_FLAG   128u
#define FUTEX_CLOCK_REALTIME 256u

static struct cpu *find_idle(void)
{
	for (unsigned i = 0; i < n_cpus; i++)
		if (cpus[i].state == CPU_IDLE)
			return &cpus[i];
	return NULL;
}

/* clone(flags, stack, parent_tid, child_tid, tls) */
long thread_clone(struct regs *r)
{
	uint64_t flags = r->rdi;
	struct cpu *c;
	uint32_t tid;

	if ((flags & CLONE_THREAD_FLAGS) != CLONE_THREAD_FLAGS || flags & ~CLONE_KNOWN)
		return -ENOSYS; /* another process: there is none */
	if (r->r8 > USER_END || r->rsi > USER_END)
		return -EINVAL;
	kernel_lock();
	c = find_idle();
	if (!c) {
		kernel_unlock();
		return -EAGAIN;
	}
	tid = c->index + 1;
	if ((flags & CLONE_PARENT_SETTID && user_put(r->rdx, &tid, 4)) ||
	    (flags & CLONE_CHILD_SETTID && user_put(r->r10, &tid, 4))) {
		kernel_unlock();
		return -EFAULT;
	}
	c->start = *r;
	c->start.rax = 0;
	if (r->rsi)
		c->start.rsp = r->rsi;
	c->start_fs = flags & CLONE_SETTLS ? r->r8 : rdmsr(MSR_FS_BASE);
	c->clear_child_tid = flags & CLONE_CHILD_CLEARTID ? r->r10 : 0;
	c->sig_mask = this_cpu()->sig_mask;
	c->alt_stack_bytes = 0;
	c->state = CPU_BUSY;
	kernel_unlock();
	cpu_wake(c);
	return tid;
}

static long wake(uint64_t word, uint64_t n, uint32_t bits)
{
	uint64_t woken = 0;

	for (unsigned i = 0; i < n_cpus && woken < n; i++) {
		if (cpus[i].futex != word || !(cpus[i].futex_bits & bits))
			continue;
		cpus[i].futex = 0;
		cpu_wake(&cpus[i]);
		woken++;
	}
	return (long)woken;
}

/* Ends this CPU's thread; its CPU takes the next one. */
void thread_exit(void)
{
	struct cpu *c = this_cpu();
	bool last = true;

	kernel_lock();
	if (c->clear_child_tid) {
		uint32_t zero = 0;

		if (!user_put(c->clear_child_tid, &zero, 4))
			wake(c->clear_child_tid, 1, UINT32_MAX);
	}
	c->clear_child_tid = 0;
	c->state = CPU_IDLE;
	for (unsigned i = 0; i < n_cpus; i++)
		last = last && (cpus[i].state == CPU_IDLE || cpus[i].state == CPU_OFF);
	kernel_unlock();
	if (last)
		process_exit(0, 0);
	cpu_idle();
}

/* Sleeps until woken or until the time has come. Held lock is given up meanwhile. */
static long sleep_locked(struct cpu *c, uint64_t deadline)
{
	long result = 0;

	c->state = CPU_ASLEEP;
	while (c->futex) {
		if (deadline != UINT64_MAX && cpu_now_ns() >= deadline) {
			c->futex = 0;
			result = -ETIMEDOUT;
			break;
		}
		kernel_unlock();
		/* An interrupt that came since stays pending: cpu_wait then returns at once. */
		if (deadline == UINT64_MAX)
			cpu_wait();
		else
			cpu_wait_until(deadline);
		kernel_lock();
	}
	c->state = CPU_BUSY;
	write_cr3(read_cr3());
	return result;
}

static long wait(uint64_t word, uint32_t value, uint32_t bits, uint64_t deadline)
{
	struct cpu *c = this_cpu();
	uint32_t now;
	long result;

	if (!bits)
		return -EINVAL;
	kernel_lock();
	result = user_get(&now, word, 4);
	if (!result && now != value)
		result = -EAGAIN;
	if (!result && n_cpus == 1 && deadline == UINT64_MAX)
		panic("the program's only thread waits for ever: a deadlock", NULL);
	if (!result) {
		c->futex = word;
		c->futex_bits = bits;
		result = sleep_locked(c, deadline);
	}
	kernel_unlock();
	return result;
}

static long deadline_of(uint64_t timeout, bool absolute, uint64_t *deadline)
{
	struct {
		int64_t s, ns;
	} t;

	*deadline = UINT64_MAX;
	if (!timeout)
		return 0;
	if (user_get(&t, timeout, sizeof(t)))
		return -EFAULT;
	if (t.s < 0 || t.ns < 0 || t.ns >= 1000000000)
		return -EINVAL;
	if (t.s > 1000000000)
		return 0; /* further than this guest will live */
	*deadline = (uint64_t)t.s * 1000000000 + (uint64_t)t.ns + (absolute ? 0 : cpu_now_ns());
	return 0;
}

long sys_futex(uint64_t word, uint64_t op, uint64_t value, uint64_t timeout, uint64_t word2,
	       uint64_t value3)
{
	uint32_t what = (uint32_t)op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
	uint64_t deadline;
	long result;

	(void)word2;
	if (word % 4 || !word)
		return -EINVAL;
	switch (what) {
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
		result = deadline_of(timeout, what == FUTEX_WAIT_BITSET, &deadline);
		return result ? result
			      : wait(word, (uint32_t)value,
				     what == FUTEX_WAIT ? UINT32_MAX : (uint32_t)value3, deadline);
	case FUTEX_WAKE:
	case FUTEX_WAKE_BITSET:
		kernel_lock();
		result = wake(word, value, what == FUTEX_WAKE ? UINT32_MAX : (uint32_t)value3);
		kernel_unlock();
		return result;
	default:
		return -ENOSYS;
	}
}
