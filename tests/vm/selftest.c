/* What a program may expect of the guest kernel, checked from inside: an ordinary static
 * Linux program that runs natively too, and then checks the test.
 *
 * Ends with `selftest: checks=N ok` and status 0, or names the first check that failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define HUGE (2u << 20)

static int n_checks;

#define CHECK(e)                                                                                   \
	do {                                                                                       \
		n_checks++;                                                                        \
		if (!(e)) {                                                                        \
			printf("selftest: line %d: %s: FAILED\n", __LINE__, #e);                   \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static sigjmp_buf back;
static volatile int got_signal, got_code;
static void *volatile got_address;

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	got_signal = signal;
	got_code = info->si_code;
	got_address = info->si_addr;
	siglongjmp(back, 1);
}

static void catch (int signal)
{
	struct sigaction a = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

	CHECK(sigaction(signal, &a, NULL) == 0);
}

/* What the access does: 0, or the signal's code. */
static int try_write(volatile char *p)
{
	got_signal = 0;
	if (sigsetjmp(back, 1) == 0) {
		*p = 1;
		return 0;
	}
	CHECK(got_signal == SIGSEGV && got_address == p);
	return got_code;
}

static int try_read(volatile const char *p)
{
	got_signal = 0;
	if (sigsetjmp(back, 1) == 0) {
		(void)*p;
		return 0;
	}
	CHECK(got_signal == SIGSEGV && got_address == p);
	return got_code;
}

static char *map(size_t bytes, int prot)
{
	char *p = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static int is_zero(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return 0;
	return 1;
}

static void fill(char *p, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i += 512)
		*(unsigned *)(void *)(p + i) = (unsigned)i * 2654435761u + seed;
}

static int holds(const char *p, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i += 512)
		if (*(const unsigned *)(const void *)(p + i) != (unsigned)i * 2654435761u + seed)
			return 0;
	return 1;
}

/* Zero page and copy on write, small and huge. */
static void test_zero(size_t bytes)
{
	char *p = map(bytes, PROT_READ | PROT_WRITE);

	CHECK(is_zero(p, bytes));
	p[bytes / 2] = 7;
	CHECK(is_zero(p, bytes / 2) && p[bytes / 2] == 7);
	CHECK(is_zero(p + bytes / 2 + 1, bytes - bytes / 2 - 1));
	fill(p, bytes, 1);
	CHECK(holds(p, bytes, 1));
	CHECK(madvise(p, bytes, MADV_DONTNEED) == 0);
	CHECK(is_zero(p, bytes));
	fill(p, bytes, 2);
	CHECK(munmap(p, bytes) == 0);
	CHECK(try_read(p) == SEGV_MAPERR);
	p = map(bytes, PROT_READ | PROT_WRITE);
	CHECK(is_zero(p, bytes)); /* not what the last one left */
	CHECK(munmap(p, bytes) == 0);
}

/* Parts of huge pages: discarded, protected, unmapped. */
static void test_parts(void)
{
	char *p = map(4 * HUGE, PROT_READ | PROT_WRITE);
	char *q = (char *)(((uintptr_t)p + HUGE - 1) & ~(uintptr_t)(HUGE - 1));

	fill(q, 2 * HUGE, 3);
	CHECK(madvise(q + 5 * PAGE, 3 * PAGE, MADV_DONTNEED) == 0);
	CHECK(is_zero(q + 5 * PAGE, 3 * PAGE));
	CHECK(*(unsigned *)(void *)(q + 8 * PAGE) == 8 * PAGE * 2654435761u + 3);
	CHECK(mprotect(q + HUGE - PAGE, 2 * PAGE, PROT_READ) == 0);
	CHECK(try_write(q + HUGE - PAGE) == SEGV_ACCERR && try_write(q + HUGE) == SEGV_ACCERR);
	CHECK(try_write(q + HUGE - PAGE - 1) == 0 && try_write(q + HUGE + PAGE) == 0);
	CHECK(*(unsigned *)(void *)(q + HUGE) == HUGE * 2654435761u + 3);
	CHECK(mprotect(q + HUGE - PAGE, 2 * PAGE, PROT_READ | PROT_WRITE) == 0);
	CHECK(try_write(q + HUGE) == 0);
	CHECK(munmap(q + 100 * PAGE, PAGE) == 0);
	CHECK(try_read(q + 100 * PAGE) == SEGV_MAPERR && try_read(q + 101 * PAGE) == 0);
	CHECK(*(unsigned *)(void *)(q + 101 * PAGE) == 101 * PAGE * 2654435761u + 3);
	CHECK(munmap(p, 4 * HUGE) == 0);
}

static void test_rights(void)
{
	char *p = map(8 * PAGE, PROT_READ | PROT_WRITE);

	fill(p, 8 * PAGE, 4);
	CHECK(mprotect(p + PAGE, PAGE, PROT_NONE) == 0);
	CHECK(try_read(p + PAGE) == SEGV_ACCERR && try_read(p) == 0);
	CHECK(mprotect(p, 8 * PAGE, PROT_READ) == 0);
	CHECK(holds(p, 8 * PAGE, 4) && try_write(p + PAGE) == SEGV_ACCERR);
	CHECK(mprotect(p, 8 * PAGE, PROT_READ | PROT_WRITE) == 0 && try_write(p + PAGE) == 0);
	/* No execution without the right to it, and with it. */
	p[0] = (char)0xc3; /* ret */
	got_signal = 0;
	if (sigsetjmp(back, 1) == 0)
		((void (*)(void))(uintptr_t)p)();
	CHECK(got_signal == SIGSEGV && got_address == p);
	CHECK(mprotect(p, PAGE, PROT_READ | PROT_EXEC) == 0);
	((void (*)(void))(uintptr_t)p)();
	CHECK(munmap(p, 8 * PAGE) == 0);
	CHECK(try_read(NULL) == SEGV_MAPERR);
	CHECK(try_write((char *)(uintptr_t)on_fault) == SEGV_ACCERR);
}

static void test_remap(void)
{
	char *p = map(3 * HUGE, PROT_READ | PROT_WRITE), *q;

	fill(p, 3 * HUGE, 5);
	q = mremap(p, 3 * HUGE, 7 * HUGE, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED && holds(q, 3 * HUGE, 5) && is_zero(q + 3 * HUGE, 4 * HUGE));
	CHECK(q == p || try_read(p) == SEGV_MAPERR);
	p = mremap(q, 7 * HUGE, HUGE + 3 * PAGE, 0);
	CHECK(p == q && holds(p, HUGE + 3 * PAGE, 5));
	CHECK(try_read(p + HUGE + 3 * PAGE) != 0);
	CHECK(mmap(p + HUGE + 3 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		   -1, 0) == p + HUGE + 3 * PAGE);
	q = mremap(p, HUGE + 3 * PAGE, HUGE + 20 * PAGE, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED && q != p && holds(q, HUGE + 3 * PAGE, 5));
	CHECK(is_zero(q + HUGE + 3 * PAGE, 17 * PAGE));
	CHECK(munmap(q, HUGE + 20 * PAGE) == 0);
}

static void test_brk(void)
{
	char *start = sbrk(0);

	CHECK(sbrk(5 * HUGE) == start && is_zero(start, 5 * HUGE));
	fill(start, 5 * HUGE - 512, 6);
	CHECK(sbrk(-5 * (intptr_t)HUGE) != (void *)-1 && sbrk(0) == start);
	CHECK(sbrk(HUGE) == start && is_zero(start + PAGE, HUGE - PAGE));
}

/* Wild addresses: an error or a refusal, never more. */
static void test_wild(void)
{
	static const uintptr_t wild[] = {
		0,
		1,
		4095,
		0x7fffffffeff9,
		0x7ffffffff000,
		0x800000000000,
		0xffff800000000000,
		0xffff800000200000,
		0xffffffff80200000,
		0xfffffffffffff000,
		0xffffffffffffffff,
	};

	for (size_t i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
		long w = (long)wild[i];

		CHECK(syscall(SYS_write, 1, w, 8192) < 0);
		CHECK(syscall(SYS_clock_gettime, 1, w) < 0 && errno == EFAULT);
		CHECK(syscall(SYS_fstat, 1, w) < 0 && errno == EFAULT);
		CHECK(syscall(SYS_openat, -100, w, 0) < 0);
		CHECK(syscall(SYS_rt_sigaction, SIGUSR1, w, 0, 8) < 0 || w == 0);
		CHECK(syscall(SYS_rt_sigprocmask, 0, w, 0, 8) < 0 || w == 0);
		CHECK(syscall(SYS_getrandom, w, 64, 0) < 0);
		CHECK(syscall(SYS_nanosleep, w, 0) < 0);
		CHECK(syscall(SYS_uname, w) < 0 && errno == EFAULT);
		CHECK(syscall(SYS_munmap, w, ~0ul) < 0);
		CHECK(syscall(SYS_mprotect, w & ~4095l, 1l << 62, 0) < 0);
		CHECK(syscall(SYS_mremap, w, 4096, 8192, 1) < 0);
		CHECK(syscall(SYS_futex, w, 77, 0, 0, 0, 0) < 0);
		CHECK(syscall(SYS_mmap, w | 1, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			      0) < 0);
		CHECK(syscall(SYS_madvise, w | 1, 4096, MADV_DONTNEED) < 0);
	}
	CHECK(syscall(SYS_mmap, 0, 0, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) < 0);
	CHECK(syscall(SYS_mmap, 0, 1l << 48, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		      0) < 0);
	CHECK(syscall(0x3fff) < 0 && errno == ENOSYS);
	CHECK(syscall(0x7fffffff) < 0 && errno == ENOSYS && syscall(-1) < 0 && errno == ENOSYS);
}

static volatile double handler_sum;

static void on_usr1(int signal)
{
	handler_sum += 1.5 * signal;
}

/* A handler that returns: registers, SSE state and mask are what they were. */
static void test_signals(void)
{
	struct sigaction a = {.sa_handler = on_usr1};
	double before = 3.25, product = 1;
	sigset_t set;

	CHECK(sigaction(SIGUSR1, &a, NULL) == 0);
	for (int i = 0; i < 10; i++) {
		product *= before;
		CHECK(raise(SIGUSR1) == 0);
	}
	CHECK(handler_sum == 15.0 * SIGUSR1 && product > 131472 && product < 131473);
	CHECK(sigprocmask(SIG_BLOCK, NULL, &set) == 0 && !sigismember(&set, SIGUSR1));
	catch (SIGFPE);
	got_signal = 0;
	if (sigsetjmp(back, 1) == 0)
		__asm__ volatile("divl %0" : : "r"(0), "a"(1), "d"(0));
	CHECK(got_signal == SIGFPE && got_code == FPE_INTDIV);
	catch (SIGILL);
	got_signal = 0;
	if (sigsetjmp(back, 1) == 0)
		__asm__ volatile("ud2");
	CHECK(got_signal == SIGILL);
	got_signal = 0;
	if (sigsetjmp(back, 1) == 0)
		__asm__ volatile("hlt"); /* privileged */
	CHECK(got_signal == SIGSEGV);
	/* An address no page table can hold. */
	got_signal = 0;
	if (sigsetjmp(back, 1) == 0)
		*(volatile char *)0x8000000000000000 = 1;
	CHECK(got_signal == SIGSEGV || got_signal == SIGBUS);
}

static void test_files(void)
{
	struct stat s;
	char c;

	CHECK(open("/no such file", O_RDONLY) < 0 && errno == ENOENT);
	CHECK(read(99, &c, 1) < 0 && errno == EBADF);
	CHECK(lseek(99, 0, SEEK_SET) < 0 && errno == EBADF);
	CHECK(close(99) < 0 && errno == EBADF);
	CHECK(syscall(SYS_read, 1l << 40 | 99, &c, 1) < 0);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 99, 0) == MAP_FAILED && errno == EBADF);
	CHECK(fstat(1, &s) == 0);
}

static void test_time(void)
{
	struct timespec a, b, sleep = {0, 20000000};

	CHECK(clock_gettime(CLOCK_MONOTONIC, &a) == 0 && nanosleep(&sleep, NULL) == 0);
	CHECK(clock_gettime(CLOCK_MONOTONIC, &b) == 0);
	CHECK((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec >= 20000000);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int turn;

/* Two threads by turns; both touch and unmap memory, so that TLBs must be flushed. */
static void *pong(void *me_at)
{
	int me = *(int *)me_at;

	for (int i = 0; i < 10; i++) {
		char *p = map(64 * PAGE, PROT_READ | PROT_WRITE);

		CHECK(is_zero(p, 64 * PAGE));
		fill(p, 64 * PAGE, 9);
		pthread_mutex_lock(&lock);
		while (turn != me)
			pthread_cond_wait(&cond, &lock);
		turn = !me;
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&lock);
		CHECK(holds(p, 64 * PAGE, 9) && munmap(p, 64 * PAGE) == 0);
	}
	return me_at;
}

static void test_threads(void)
{
	int me[2] = {0, 1};
	pthread_t t;
	void *result;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return;
	for (int i = 0; i < 3; i++) {
		CHECK(pthread_create(&t, NULL, pong, &me[1]) == 0);
		pong(&me[0]);
		CHECK(pthread_join(t, &result) == 0 && result == &me[1]);
		CHECK(turn == 0);
	}
}

/* Does what ends a program. */
static int crash(const char *how)
{
	if (!strcmp(how, "hlt"))
		__asm__ volatile("hlt");
	else if (!strcmp(how, "div"))
		__asm__ volatile("divl %0" : : "r"(0), "a"(1), "d"(0));
	else if (!strcmp(how, "ud2"))
		__asm__ volatile("ud2");
	else if (!strcmp(how, "write"))
		*(volatile char *)(uintptr_t)strtoul("0x1000", NULL, 16) = 1;
	else if (!strcmp(how, "wild"))
		*(volatile char *)0x8000000000000000 = 1;
	return 1;
}

/* Frees few pages, then asks for nothing more, but enters the kernel again and again. */
static int free_few(void)
{
	char *p = mmap(NULL, 41 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 1;
	for (unsigned i = 0; i < 41; i++)
		p[i * PAGE] = 1;
	if (munmap(p + PAGE, 40 * PAGE))
		return 1;
	printf("freed\n");
	fflush(stdout);
	for (;;) {
		madvise(p, PAGE, MADV_NORMAL);
		usleep(10000);
	}
}

/* Has nothing to do for good. */
_Noreturn static void nap(void)
{
	printf("asleep\n");
	fflush(stdout);
	for (;;)
		sleep(1000);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "free-few"))
		return free_few();
	if (argc == 2 && !strcmp(argv[1], "nap"))
		nap();
	if (argc == 3 && !strcmp(argv[1], "crash"))
		return crash(argv[2]);
	CHECK(argc >= 1 && argv[argc] == NULL && strlen(argv[0]) > 0);
	catch (SIGSEGV);
	catch (SIGBUS);
	test_zero(PAGE);
	test_zero(37 * PAGE);
	test_zero(5 * HUGE + 3 * PAGE);
	test_parts();
	test_rights();
	test_remap();
	test_brk();
	test_wild();
	test_signals();
	test_files();
	test_time();
	test_threads();
	printf("selftest: checks=%d ok\n", n_checks);
	return 0;
}
