/* Threads by clone and futex. A thread's memory is one mapping: a guard page, its stack,
 * its thread-local storage. Whoever joins unmaps it. */
#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <thread.h>

#include "internal.h"

#define STACK_BYTES (256ul << 10)
#define GUARD_BYTES 4096ul

/* VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID */
#define CLONE_FLAGS 0x003d0f00l

#define FUTEX_WAIT 0

/* clone's child must not return into its parent's frames: it starts here, on a stack
 * whose top holds its struct thread. */
long thread_clone(long flags, void *stack, uint32_t *tid, uint32_t *clear_tid, void *tls);
__asm__(".type thread_clone, @function\n"
	"thread_clone:\n"
	"	mov %rcx, %r10\n"
	"	mov $56, %eax\n" /* clone */
	"	syscall\n"
	"	test %rax, %rax\n"
	"	jz 1f\n"
	"	ret\n"
	"1:	xor %ebp, %ebp\n"
	"	mov (%rsp), %rdi\n"
	"	call thread_run\n"
	"	ud2\n");

_Noreturn void thread_run(struct thread *thread);

_Noreturn void thread_run(struct thread *thread)
{
	thread->run(thread->arg);
	gm_malloc_thread_done();
	for (;;)
		syscall3(SYS_exit, 0, 0, 0);
}

int thread_start(struct thread *thread, void (*run)(void *), void *arg)
{
	char *memory = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *tls;
	void **top;
	long tid;

	if (memory == MAP_FAILED)
		return -errno;
	mprotect(memory, GUARD_BYTES, PROT_NONE); /* without it the thread works as well */
	tls = tls_lay(memory + GUARD_BYTES, STACK_BYTES);
	top = (void **)(((uintptr_t)tls - tls_bytes()) & ~(uintptr_t)63);
	*(top -= 2) = thread; /* 16-byte aligned, as the ABI wants it before a call */
	thread->run = run;
	thread->arg = arg;
	thread->memory = memory;
	thread->tid = 1; /* until the kernel writes the real one */
	tid = thread_clone(CLONE_FLAGS, top, &thread->tid, &thread->tid, tls);
	if (tid < 0) {
		munmap(memory, GUARD_BYTES + STACK_BYTES);
		return (int)tid;
	}
	return 0;
}

void thread_join(struct thread *thread)
{
	uint32_t tid;

	while ((tid = __atomic_load_n(&thread->tid, __ATOMIC_ACQUIRE)) != 0)
		syscall6(SYS_futex, (long)&thread->tid, FUTEX_WAIT, tid, 0, 0, 0);
	munmap(thread->memory, GUARD_BYTES + STACK_BYTES);
}
