/* The outside: hostcalls, or a serial line and a debug port where there is no VMM; printing;
 * the end. No lock: a hostcall is one instruction, a line is written in one go.
 */
#include "kernel.h"

#include <stdarg.h>

long hostcall(enum gmm_hostcall number, uint64_t a, uint64_t b, uint64_t c)
{
	long result;

	__asm__ volatile("outl %%eax, %%dx"
			 : "=a"(result)
			 : "0"((long)number), "d"((uint64_t)GMM_HOSTCALL_PORT), "D"(a), "S"(b),
			   "c"(c)
			 : "memory");
	return result;
}

void host_wait(void)
{
	long number = GMM_HC_IDLE;

	/* An interrupt that comes behind sti comes behind the hostcall. */
	__asm__ volatile("sti; outl %%eax, %%dx; cli"
			 : "+a"(number)
			 : "d"((uint64_t)GMM_HOSTCALL_PORT)
			 : "memory");
}

static void serial_write(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		while (!(inb(GMM_SERIAL_PORT + 5) & 0x20))
			cpu_pause();
		outb(GMM_SERIAL_PORT, (uint8_t)text[i]);
	}
}

void console_write(int fd, const char *text, size_t bytes)
{
	uint64_t at = (uint64_t)text;

	if (!have_host()) {
		serial_write(text, bytes);
		return;
	}
	at = at >= KERNEL_OFFSET ? kernel_gpa(text) : at - GMM_DIRECT_MAP;
	hostcall(GMM_HC_WRITE, (uint64_t)fd, at, bytes);
}

/* A line that is being put together; what does not fit is cut off. */
struct line {
	size_t n;
	char text[256];
};

static void line_add(struct line *l, char c)
{
	if (l->n < sizeof(l->text))
		l->text[l->n++] = c;
}

static void line_number(struct line *l, uint64_t v, unsigned base)
{
	char digits[20];
	unsigned n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (n)
		line_add(l, digits[--n]);
}

static void line_format(struct line *l, const char *f, va_list args)
{
	for (; *f; f++) {
		if (*f != '%') {
			line_add(l, *f);
			continue;
		}
		f++;
		if (*f == 's') {
			for (const char *s = va_arg(args, const char *); *s; s++)
				line_add(l, *s);
		} else {
			line_number(l, va_arg(args, uint64_t), *f == 'x' ? 16 : 10);
		}
	}
}

void say(const char *format, ...)
{
	/* Static for its guest-physical address; stacks have none that is known. */
	static struct line lines[N_CPUS];
	struct line *l = &lines[this_cpu()->index];
	va_list args;

	l->n = 0;
	va_start(args, format);
	line_format(l, format, args);
	va_end(args);
	console_write(2, l->text, l->n);
}

_Noreturn void machine_exit(unsigned status, unsigned signal)
{
	if (have_host())
		hostcall(GMM_HC_EXIT, status, signal, 0);
	/* QEMU's status is (v << 1) | 1: the test turns it back. */
	outb(GMM_QEMU_EXIT_PORT, (uint8_t)status);
	for (;;)
		__asm__ volatile("cli; hlt");
}

_Noreturn void panic(const char *what, const struct regs *r)
{
	say("guest kernel: %s\n", what);
	if (r) {
		say("  vector %u error 0x%x address 0x%x rip 0x%x cs 0x%x flags 0x%x\n", r->vector,
		    r->error, read_cr2(), r->rip, r->cs, r->rflags);
		say("  rsp 0x%x rax 0x%x rbx 0x%x rcx 0x%x rdx 0x%x rsi 0x%x rdi 0x%x rbp 0x%x\n",
		    r->rsp, r->rax, r->rbx, r->rcx, r->rdx, r->rsi, r->rdi, r->rbp);
		say("  r8 0x%x r9 0x%x r10 0x%x r11 0x%x r12 0x%x r13 0x%x r14 0x%x r15 0x%x\n",
		    r->r8, r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15);
	}
	machine_exit(125, 6);
}
