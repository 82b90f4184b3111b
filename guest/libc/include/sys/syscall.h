/* System calls by number: Linux x86-64. */
#ifndef GUEST_SYS_SYSCALL_H
#define GUEST_SYS_SYSCALL_H

#define SYS_read	      0
#define SYS_write	      1
#define SYS_close	      3
#define SYS_fstat	      5
#define SYS_lseek	      8
#define SYS_mmap	      9
#define SYS_mprotect	      10
#define SYS_munmap	      11
#define SYS_brk		      12
#define SYS_rt_sigaction      13
#define SYS_rt_sigreturn      15
#define SYS_mremap	      25
#define SYS_madvise	      28
#define SYS_getpid	      39
#define SYS_clone	      56
#define SYS_exit	      60
#define SYS_getrusage	      98
#define SYS_sysinfo	      99
#define SYS_arch_prctl	      158
#define SYS_gettid	      186
#define SYS_futex	      202
#define SYS_sched_getaffinity 204
#define SYS_set_tid_address   218
#define SYS_clock_gettime     228
#define SYS_exit_group	      231
#define SYS_tgkill	      234
#define SYS_openat	      257
#define SYS_getrandom	      318

/* The kernel's own answer: a value, or a negative errno. */
static inline long syscall6(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static inline long syscall3(long number, long a, long b, long c)
{
	return syscall6(number, a, b, c, 0, 0, 0);
}

/* As Linux libcs have it: -1 and errno. */
long syscall(long number, ...);

#endif
