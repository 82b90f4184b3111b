/* From the kernel's jump to main and from main to the end.
 *
 * Thread-local storage is the static kind only (the x86-64 ABI's variant II): a copy
 * of the program's TLS template right below the thread pointer, and at the
 * thread pointer its own address. The first thread's lies in .bss.
 */
#include <elf.h>
#include <guestmm/abi.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

#define ARCH_SET_FS	0x1002
#define TLS_FIRST_BYTES 1024
#define TCB_BYTES	64

_Thread_local int errno;

extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));

/* rdi = the initial stack: argc, argv..., 0, environment */
__asm__(".globl _start\n"
	".type _start, @function\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call start_c\n"
	"	ud2\n");

_Noreturn void start_c(long *stack);

static const Elf64_Phdr *tls_template(void)
{
	const Elf64_Ehdr *header = &__ehdr_start;
	const Elf64_Phdr *segments = (const void *)((uintptr_t)header + header->e_phoff);

	for (unsigned i = 0; i < header->e_phnum; i++)
		if (segments[i].p_type == PT_TLS)
			return &segments[i];
	return NULL;
}

static size_t tls_data_bytes(const Elf64_Phdr *template)
{
	size_t align = template->p_align ? template->p_align : 1;

	return (template->p_memsz + align - 1) & ~(align - 1);
}

size_t tls_bytes(void)
{
	const Elf64_Phdr *template = tls_template();

	return (template ? tls_data_bytes(template) : 0) + TCB_BYTES;
}

void *tls_lay(void *memory, size_t bytes)
{
	const Elf64_Phdr *template = tls_template();
	char *pointer = (char *)memory + bytes - TCB_BYTES;

	if (template) {
		char *data = pointer - tls_data_bytes(template);

		memcpy(data, (const void *)template->p_vaddr, template->p_filesz);
		memset(data + template->p_filesz, 0, template->p_memsz - template->p_filesz);
	}
	*(void **)pointer = pointer;
	return pointer;
}

_Noreturn void start_c(long *stack)
{
	static _Alignas(64) char first_tls[TLS_FIRST_BYTES];
	static const char too_big[] =
		"program: too much thread-local storage; raise TLS_FIRST_BYTES\n";

	if (tls_bytes() > sizeof(first_tls)) {
		syscall3(SYS_write, 2, (long)too_big, sizeof(too_big) - 1);
		_exit(125);
	}
	syscall3(SYS_arch_prctl, ARCH_SET_FS, (long)tls_lay(first_tls, sizeof(first_tls)), 0);
	syscall3(GMM_SYS_MAIN, 0, 0, 0); /* a Linux kernel does not know it, which does no harm */
	exit(main((int)stack[0], (char **)(stack + 1)));
}

_Noreturn void _exit(int status)
{
	for (;;)
		syscall3(SYS_exit_group, status, 0, 0);
}

_Noreturn void exit(int status)
{
	stdout_flush();
	_exit(status);
}

_Noreturn void abort(void)
{
	stdout_flush();
	syscall3(SYS_tgkill, syscall3(SYS_getpid, 0, 0, 0), syscall3(SYS_gettid, 0, 0, 0), SIGABRT);
	_exit(128 + SIGABRT); /* a kernel without tgkill */
}
