/* The guest's malloc, built for the host: what a program does wrong is found, and ends it. */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "malloc_help.h"

/* Runs f in a child; it must end by abort() and tell about the address that f left at *told. */
static void assert_dies(void (*f)(void *, void **), void *arg, const char *words)
{
	void **told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char text[512] = {0}, address[32];
	int pipes[2], status;
	ssize_t n;
	pid_t pid;

	ck_assert_int_eq(pipe(pipes), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		dup2(pipes[1], 2);
		f(arg, told);
		_exit(0);
	}
	close(pipes[1]);
	n = read(pipes[0], text, sizeof(text) - 1);
	close(pipes[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
		      "not aborted for: %s (status %#x, said: %s)", words, status, text);
	ck_assert_int_gt(n, 0);
	ck_assert_msg(strstr(text, words) != NULL, "wanted '%s', got '%s'", words, text);
	snprintf(address, sizeof(address), "%p ", *told);
	ck_assert_msg(strstr(text, address) != NULL, "wanted %s in: %s", address, text);
	munmap(told, 4096);
}
static void overrun_then_free(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	volatile char *p = *told = gm_malloc(n);

	p[n] = 0; /* what a string that is one too long writes */
	gm_free((void *)(uintptr_t)p);
}

static void overrun_then_realloc(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	volatile char *p = *told = gm_malloc(n);

	p[n] = (char)(p[n] + 1);
	gm_realloc((void *)(uintptr_t)p, n + 100);
}

static void overrun_after_realloc(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	volatile char *p = *told = gm_realloc(gm_malloc(n + 1), n);

	p[n] = (char)~p[n];
	gm_free((void *)(uintptr_t)p);
}

static void overrun_after_aligned(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	volatile char *p = *told = gm_aligned_alloc(64, n);

	p[n] = 0;
	gm_free((void *)(uintptr_t)p);
}

START_TEST(overruns_are_found)
{
	for (size_t n = 1; n < 200; n += 1 + n / 16)
		assert_dies(overrun_then_free, &n, "written past its end");
	for (size_t i = 0; i < N_EACH; i++) {
		size_t n = one_of_each[i];

		assert_dies(overrun_then_free, &n, "written past its end");
		assert_dies(overrun_then_realloc, &n, "written past its end");
		assert_dies(overrun_after_realloc, &n, "written past its end");
		assert_dies(overrun_after_aligned, &n, "written past its end");
	}
}
END_TEST

static void free_twice(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	void *p = *told = gm_malloc(n);
	uintptr_t again = (uintptr_t)p;

	gm_free(p);
	gm_free((void *)again);
}

static void free_twice_later(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	void *p = *told = gm_malloc(n), *other = gm_malloc(n);
	uintptr_t again = (uintptr_t)p;

	gm_free(p);
	gm_free(other);
	gm_malloc_thread_done();
	gm_free((void *)again);
}

static void realloc_freed(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	void *p = *told = gm_malloc(n);
	uintptr_t again = (uintptr_t)p;

	gm_free(p);
	gm_realloc((void *)again, 7);
}

START_TEST(second_frees_are_found)
{
	for (size_t i = 0; i < N_EACH; i++) {
		size_t n = one_of_each[i];

		assert_dies(free_twice, &n, "freed twice");
		assert_dies(free_twice_later, &n, "freed twice");
	}
	for (size_t i = 0; i < N_EACH; i++) {
		size_t n = one_of_each[i];

		assert_dies(realloc_freed, &n, "freed");
	}
}
END_TEST

static void free_inside(void *arg, void **told)
{
	size_t n = *(const size_t *)arg;
	char *p = gm_malloc(n + 64);

	*told = p + 16;
	gm_free(*told);
}

static void free_wild(void *arg, void **told)
{
	gm_free(gm_malloc(1));
	*told = arg;
	gm_free(arg);
}

static void free_header(void *arg, void **told)
{
	char *p = gm_malloc(1);

	(void)arg;
	*told = (void *)((uintptr_t)p & ~(SEGMENT_BYTES - 1));
	gm_free(*told);
}

START_TEST(wrong_pointers_are_found)
{
	static char here[64];
	char on_stack[64];

	for (size_t i = 0; i < N_EACH; i++) {
		size_t n = one_of_each[i];

		assert_dies(free_inside, &n, n < (1 << 20) - 64 ? "not the start" : "did not come");
	}
	assert_dies(free_wild, here, "did not come from malloc");
	assert_dies(free_wild, on_stack, "did not come from malloc");
	assert_dies(free_wild, (void *)(uintptr_t)0x1234, "did not come from malloc");
	assert_dies(free_wild, (void *)UINT64_C(0xffff800000000000), "did not come from malloc");
	assert_dies(free_wild, (void *)UINTPTR_MAX, "did not come from malloc");
	assert_dies(free_header, NULL, "did not come from malloc");
}
END_TEST
UNIT_MAIN_TIMEOUT("malloc_misuse", 100, overruns_are_found, second_frees_are_found,
		  wrong_pointers_are_found)
