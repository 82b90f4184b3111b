/* The tables of system calls, Linux's numbers and our own, and the calls that are too small
 * for a file of their own. entry.S puts the arguments into C's registers and jumps through
 * the tables: a call that does nothing costs about 45 instructions. What a Linux program may
 * live without returns -ENOSYS, as an old Linux would.
 */
#include "kernel.h"

typedef long (*sys_fn)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

extern const sys_fn sys_table[N_SYS_LINUX], sys_own_table[N_SYS_OWN];

enum {
	NR_rt_sigreturn = 15,
	NR_clone = 56,
	NR_exit = 60,
	NR_kill = 62,
	NR_tkill = 200,
	NR_tgkill = 234,
};

static long sys_none(void)
{
	return -ENOSYS;
}

static long sys_nothing(void)
{
	return 0;
}

static long sys_wants_all_regs(void)
{
	return SYS_WANTS_ALL_REGS;
}

/* Those that need the registers entry.S does not save for the others. */
long syscall_all_regs(struct regs *r)
{
	uint64_t number = r->error, to;

	switch (number) {
	case NR_rt_sigreturn:
		signal_return(r);
		break;
	case NR_clone:
		r->rax = (uint64_t)thread_clone(r);
		break;
	case NR_exit:
		thread_exit();
		break;
	case NR_kill:
	case NR_tkill:
	case NR_tgkill:
		to = number == NR_tgkill ? r->rsi : r->rdi;
		if ((uint32_t)to == (number == NR_kill ? 1 : this_cpu()->index + 1))
			signal_self(r, (int)(number == NR_tgkill ? r->rdx : r->rsi));
		else
			r->rax = (uint64_t)-ESRCH;
		break;
	default:
		r->rax = (uint64_t)-ENOSYS;
	}
	return 0;
}

static _Noreturn long sys_exit_group(uint64_t status)
{
	process_exit((unsigned)status & 0xff, 0);
}

static long sys_getpid(void)
{
	return 1;
}

static long sys_gettid(void)
{
	return this_cpu()->index + 1;
}

static long sys_set_tid_address(uint64_t word)
{
	this_cpu()->clear_child_tid = word;
	return sys_gettid();
}

static long sys_arch_prctl(uint64_t what, uint64_t v)
{
	uint64_t now;

	if (what == 0x1002) { /* ARCH_SET_FS */
		if (v > USER_END)
			return -EPERM;
		wrmsr(MSR_FS_BASE, v);
		return 0;
	}
	if (what == 0x1003) { /* ARCH_GET_FS */
		now = rdmsr(MSR_FS_BASE);
		return user_put(v, &now, 8);
	}
	return -EINVAL;
}

static long sys_uname(uint64_t to)
{
	static const char names[6][65] = {"Linux", "guest", "6.1.0", "guestmm", "x86_64", ""};

	return user_put(to, names, sizeof(names));
}

static long put_time(uint64_t to, uint64_t unit_ns)
{
	uint64_t ns = cpu_now_ns();
	uint64_t t[2] = {ns / 1000000000, ns % 1000000000 / unit_ns};

	return user_put(to, t, sizeof(t));
}

/* All clocks count from the start of the TSC: the guest knows no date. */
static long sys_clock_gettime(uint64_t clock, uint64_t to)
{
	return clock > 11 ? -EINVAL : put_time(to, 1);
}

static long sys_clock_getres(uint64_t clock, uint64_t to)
{
	static const uint64_t one_ns[2] = {0, 1};

	if (clock > 11)
		return -EINVAL;
	return to ? user_put(to, one_ns, sizeof(one_ns)) : 0;
}

static long sys_gettimeofday(uint64_t to)
{
	return to ? put_time(to, 1000) : 0;
}

static long sys_time(uint64_t to)
{
	uint64_t s = cpu_now_ns() / 1000000000;

	return to && user_put(to, &s, 8) ? -EFAULT : (long)s;
}

static long sys_nanosleep(uint64_t from)
{
	struct {
		uint64_t s, ns;
	} t;
	uint64_t end;

	if (user_get(&t, from, sizeof(t)))
		return -EFAULT;
	if (t.ns >= 1000000000 || t.s > 1000000000)
		return -EINVAL;
	end = cpu_now_ns() + t.s * 1000000000 + t.ns;
	while (cpu_now_ns() < end)
		cpu_wait_until(end);
	return 0;
}

static long sys_clock_nanosleep(uint64_t clock, uint64_t flags, uint64_t from)
{
	struct {
		uint64_t s, ns;
	} t;

	if (clock > 11)
		return -EINVAL;
	if (!(flags & 1)) /* TIMER_ABSTIME */
		return sys_nanosleep(from);
	if (user_get(&t, from, sizeof(t)))
		return -EFAULT;
	if (t.ns >= 1000000000 || t.s > 1000000000)
		return -EINVAL;
	while (cpu_now_ns() < t.s * 1000000000 + t.ns)
		cpu_wait_until(t.s * 1000000000 + t.ns);
	return 0;
}

/* SplitMix64 over the VMM's seed: for hash seeds and stack guards, not for keys. */
static uint64_t next_random(void)
{
	static uint64_t state;
	uint64_t z = __atomic_add_fetch(&state, UINT64_C(0x9e3779b97f4a7c15), __ATOMIC_RELAXED);

	z += boot.random_seed[1] ^ rdtsc();
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static long sys_getrandom(uint64_t to, uint64_t bytes)
{
	uint64_t done = 0;

	if (bytes > 4096)
		bytes = 4096;
	while (done < bytes) {
		uint64_t r = next_random(), n = bytes - done < 8 ? bytes - done : 8;

		if (user_put(to + done, &r, n))
			return done ? (long)done : -EFAULT;
		done += n;
	}
	return (long)done;
}

static long sys_getrusage(uint64_t who, uint64_t to)
{
	struct {
		uint64_t user[2], system[2];
		uint64_t maxrss, ixrss, idrss, isrss, minflt, majflt, rest[8];
	} u = {.minflt = n_faults.minor, .majflt = n_faults.major};

	(void)who;
	u.user[0] = cpu_now_ns() / 1000000000;
	return user_put(to, &u, sizeof(u));
}

static long sys_sysinfo(uint64_t to)
{
	struct {
		uint64_t uptime, loads[3], totalram, freeram, sharedram, bufferram, totalswap,
			freeswap;
		uint16_t procs, pad;
		uint64_t totalhigh, freehigh;
		uint32_t unit;
	} s = {
		.uptime = cpu_now_ns() / 1000000000,
		.totalram = phys_n_pages * PAGE_BYTES,
		.freeram = phys_n_free() * PAGE_BYTES,
		.procs = 1,
		.unit = 1,
	};

	_Static_assert(sizeof(s) == 112, "Linux's layout");
	return user_put(to, &s, sizeof(s));
}

static long sys_getaffinity(uint64_t pid, uint64_t bytes, uint64_t to)
{
	uint64_t mask = n_cpus == 64 ? UINT64_MAX : (UINT64_C(1) << n_cpus) - 1;

	(void)pid;
	if (bytes < 8 || bytes % 8)
		return -EINVAL;
	return user_put(to, &mask, 8) ? -EFAULT : 8;
}

static long sys_prlimit64(uint64_t pid, uint64_t what, uint64_t set, uint64_t old)
{
	uint64_t limit[2] = {UINT64_MAX, UINT64_MAX};

	(void)pid;
	(void)set;     /* without effect */
	if (what == 3) /* RLIMIT_STACK */
		limit[0] = UINT64_C(8) << 20;
	return old ? user_put(old, limit, sizeof(limit)) : 0;
}

static long sys_getrlimit(uint64_t what, uint64_t to)
{
	return sys_prlimit64(0, what, 0, to);
}

static long sys_ioctl(uint64_t fd)
{
	return fd < 3 || file_window(fd) ? -ENOTTY : -EBADF;
}

static long sys_readlink(void)
{
	return -ENOENT;
}

static long sys_getcpu(uint64_t cpu, uint64_t node)
{
	uint32_t v[2] = {this_cpu()->index, 0};

	if (cpu && user_put(cpu, &v[0], 4))
		return -EFAULT;
	return node && user_put(node, &v[1], 4) ? -EFAULT : 0;
}

static long sys_main(void)
{
	if (have_host())
		hostcall(GMM_HC_MAIN, 0, 0, 0);
	return 0;
}

static long sys_faults(uint64_t to)
{
	struct gmm_fault_counts now = n_faults;

	return user_put(to, &now, sizeof(now));
}

#define SYS(f) ((sys_fn)(void (*)(void))(f))

const sys_fn sys_table[N_SYS_LINUX] = {
	[0 ... N_SYS_LINUX - 1] = SYS(sys_none),
	[0] = SYS(sys_read),
	[1] = SYS(sys_write),
	[2] = SYS(sys_open),
	[3] = SYS(sys_close),
	[5] = SYS(sys_fstat),
	[8] = SYS(sys_lseek),
	[9] = SYS(sys_mmap),
	[10] = SYS(sys_mprotect),
	[11] = SYS(sys_munmap),
	[12] = SYS(sys_brk),
	[13] = SYS(sys_rt_sigaction),
	[14] = SYS(sys_rt_sigprocmask),
	[NR_rt_sigreturn] = SYS(sys_wants_all_regs),
	[16] = SYS(sys_ioctl),
	[17] = SYS(sys_pread64),
	[20] = SYS(sys_writev),
	[24] = SYS(sys_nothing), /* sched_yield */
	[25] = SYS(sys_mremap),
	[28] = SYS(sys_madvise),
	[35] = SYS(sys_nanosleep),
	[39] = SYS(sys_getpid),
	[NR_clone] = SYS(sys_wants_all_regs),
	[NR_exit] = SYS(sys_wants_all_regs),
	[NR_kill] = SYS(sys_wants_all_regs),
	[63] = SYS(sys_uname),
	[89] = SYS(sys_readlink),
	[96] = SYS(sys_gettimeofday),
	[97] = SYS(sys_getrlimit),
	[98] = SYS(sys_getrusage),
	[99] = SYS(sys_sysinfo),
	[102] = SYS(sys_nothing), /* getuid, getgid, geteuid, getegid */
	[104] = SYS(sys_nothing),
	[107] = SYS(sys_nothing),
	[108] = SYS(sys_nothing),
	[131] = SYS(sys_sigaltstack),
	[158] = SYS(sys_arch_prctl),
	[186] = SYS(sys_gettid),
	[NR_tkill] = SYS(sys_wants_all_regs),
	[201] = SYS(sys_time),
	[202] = SYS(sys_futex),
	[204] = SYS(sys_getaffinity),
	[218] = SYS(sys_set_tid_address),
	[228] = SYS(sys_clock_gettime),
	[229] = SYS(sys_clock_getres),
	[230] = SYS(sys_clock_nanosleep),
	[231] = SYS(sys_exit_group),
	[NR_tgkill] = SYS(sys_wants_all_regs),
	[257] = SYS(sys_openat),
	[262] = SYS(sys_newfstatat),
	[267] = SYS(sys_readlink), /* readlinkat */
	[273] = SYS(sys_nothing),  /* set_robust_list */
	[302] = SYS(sys_prlimit64),
	[309] = SYS(sys_getcpu),
	[318] = SYS(sys_getrandom),
};

const sys_fn sys_own_table[N_SYS_OWN] = {
	[GMM_SYS_MAIN - SYS_OWN_FIRST] = SYS(sys_main),
	[GMM_SYS_FAULTS - SYS_OWN_FIRST] = SYS(sys_faults),
	[GMM_SYS_BALLOON - SYS_OWN_FIRST] = SYS(balloon_ask),
};
