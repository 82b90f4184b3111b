/* System calls with the names and the error habits that C programs expect. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <system.h>
#include <time.h>
#include <unistd.h>

#define AT_FDCWD	(-100)
#define CLOCK_MONOTONIC 1
#define SA_RESTORER	0x04000000ul

static long result_of(long result)
{
	if (result < 0 && result >= -4095) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

long syscall(long number, ...)
{
	va_list args;
	long a[6];

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	return result_of(syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}

ssize_t read(int fd, void *to, size_t n)
{
	return result_of(syscall3(SYS_read, fd, (long)to, (long)n));
}

ssize_t write(int fd, const void *from, size_t n)
{
	return result_of(syscall3(SYS_write, fd, (long)from, (long)n));
}

int open(const char *path, int flags)
{
	return (int)result_of(syscall3(SYS_openat, AT_FDCWD, (long)path, flags));
}

int close(int fd)
{
	return (int)result_of(syscall3(SYS_close, fd, 0, 0));
}

off_t lseek(int fd, off_t offset, int whence)
{
	return result_of(syscall3(SYS_lseek, fd, offset, whence));
}

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
	return (void *)result_of(syscall6(SYS_mmap, (long)at, (long)n, prot, flags, fd, offset));
}

int munmap(void *at, size_t n)
{
	return (int)result_of(syscall3(SYS_munmap, (long)at, (long)n, 0));
}

int mprotect(void *at, size_t n, int prot)
{
	return (int)result_of(syscall3(SYS_mprotect, (long)at, (long)n, prot));
}

int madvise(void *at, size_t n, int advice)
{
	return (int)result_of(syscall3(SYS_madvise, (long)at, (long)n, advice));
}

void *mremap(void *at, size_t old_n, size_t n, int flags, ...)
{
	return (void *)result_of(syscall6(SYS_mremap, (long)at, (long)old_n, (long)n, flags, 0, 0));
}

uint64_t clock_ns(void)
{
	int64_t now[2] = {0, 0};

	syscall3(SYS_clock_gettime, CLOCK_MONOTONIC, (long)now, 0);
	return (uint64_t)now[0] * 1000000000u + (uint64_t)now[1];
}

/* The kernel returns here from a handler; it finds its frame at the stack pointer. */
__asm__(".type signal_restore, @function\n"
	"signal_restore:\n"
	"	mov $15, %eax\n" /* rt_sigreturn */
	"	syscall\n");
void signal_restore(void);

int signal_handle(int number, void (*handler)(int, siginfo_t *, void *))
{
	struct {
		void (*handler)(int, siginfo_t *, void *);
		unsigned long flags;
		void (*restorer)(void);
		unsigned long mask;
	} action = {handler, SA_SIGINFO | SA_RESTORER, signal_restore, 0};

	return (int)result_of(syscall6(SYS_rt_sigaction, number, (long)&action, 0, 8, 0, 0));
}

unsigned system_n_cpus(void)
{
	unsigned long mask[16] = {0}; /* 1024 CPUs */
	long bytes = syscall3(SYS_sched_getaffinity, 0, sizeof(mask), (long)mask);
	unsigned n = 0;

	for (long i = 0; i < bytes / 8; i++)
		for (unsigned long rest = mask[i]; rest; rest &= rest - 1)
			n++;
	return n ? n : 1;
}

int system_memory(uint64_t *total_bytes, uint64_t *free_bytes)
{
	struct {
		int64_t uptime;
		uint64_t loads[3], totalram, freeram, sharedram, bufferram, totalswap, freeswap;
		uint16_t procs, pad;
		uint32_t pad2;
		uint64_t totalhigh, freehigh;
		uint32_t mem_unit;
		uint32_t rest[3];
	} info = {0};
	long result = syscall3(SYS_sysinfo, (long)&info, 0, 0);

	if (result < 0)
		return (int)result;
	*total_bytes = info.totalram * (info.mem_unit ? info.mem_unit : 1);
	*free_bytes = info.freeram * (info.mem_unit ? info.mem_unit : 1);
	return 0;
}

int system_faults(uint64_t *minor, uint64_t *major)
{
	int64_t usage[18] = {0}; /* struct rusage: times in 0..3, ru_minflt 8, ru_majflt 9 */
	long result = syscall3(SYS_getrusage, 0, (long)usage, 0);

	if (result < 0)
		return (int)result;
	*minor = (uint64_t)usage[8];
	*major = (uint64_t)usage[9];
	return 0;
}

int system_file_bytes(int fd, uint64_t *bytes)
{
	int64_t stat[18] = {0}; /* struct stat: 144 bytes, st_size at 48 */
	long result = syscall3(SYS_fstat, fd, (long)stat, 0);

	if (result < 0)
		return (int)result;
	*bytes = (uint64_t)stat[6];
	return 0;
}
