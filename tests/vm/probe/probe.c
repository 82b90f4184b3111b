/* A guest kernel for tests: does what its first argument says, most of it hostile.
 *
 * Exit status 0: the VMM did what abi.h promises. Another: the number of the line (modulo
 * 128, plus 1) of the check that failed. Every vCPU enters _start.
 */
#include "probe.h"

const struct gmm_boot_info *info;
static volatile unsigned n_arrived;

long hostcall(uint32_t number, uint64_t rdi, uint64_t rsi, uint64_t rcx)
{
	uint64_t rax = number;

	__asm__ volatile("outl %%eax, %%dx"
			 : "+a"(rax)
			 : "d"(GMM_HOSTCALL_PORT), "D"(rdi), "S"(rsi), "c"(rcx)
			 : "memory");
	return (long)rax;
}

_Noreturn void end(unsigned status)
{
	for (;;)
		hostcall(GMM_HC_EXIT, status, 0, 0);
}

_Noreturn void fail(unsigned line)
{
	end(line % 128 + 1);
}

/* Kernel text and data are linked at base + where they lie. */
static uint64_t gpa_of(const void *p)
{
	return (uint64_t)p - 0xffffffff80000000;
}

const char *argument(unsigned n)
{
	const char *p = direct(info->args_gpa);

	while (n--) {
		while (*p)
			p++;
		p++;
	}
	return p;
}

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

uint64_t number(const char *text)
{
	uint64_t v = 0;

	for (; *text; text++)
		v = v * 10 + (uint64_t)(*text - '0');
	return v;
}

static size_t length(const char *text)
{
	size_t n = 0;

	while (text[n])
		n++;
	return n;
}

/* ---- What a well-behaved kernel sees ---- */

void do_hello(void)
{
	static const char text[] = "hello from the probe\n";

	CHECK(hostcall(GMM_HC_WRITE, 1, gpa_of(text), sizeof(text) - 1) == sizeof(text) - 1);
}

static void do_echo(void)
{
	for (unsigned i = 1; i < info->argc; i++) {
		const uint64_t gpa = (uint64_t)argument(i) - GMM_DIRECT_MAP;
		const size_t n = length(argument(i));

		CHECK(hostcall(GMM_HC_WRITE, 1, gpa, n) == (long)n);
		CHECK(hostcall(GMM_HC_WRITE, 1, gpa + n, 1) == 1); /* the NUL */
	}
}

static void do_status(void)
{
	end((unsigned)number(argument(1)));
}

static void do_signal(void)
{
	hostcall(GMM_HC_EXIT, 0, number(argument(1)), 0);
}

/* Says something, and dies at once. */
static void do_last_words(void)
{
	do_hello();
	hostcall(GMM_HC_EXIT, 0, 11, 0);
}

static void do_info(void)
{
	const struct gmm_shared *shared = direct(info->shared_gpa);
	uint64_t end_of_ram = 0;

	CHECK(info->bytes == sizeof(*info));
	CHECK(info->flags & GMM_BOOT_HOSTCALLS);
	CHECK(info->n_ranges >= 1 && info->n_ranges <= GMM_MAX_RANGES);
	for (unsigned i = 0; i < info->n_ranges; i++) {
		CHECK(info->ranges[i].start >= end_of_ram);
		CHECK(info->ranges[i].end > info->ranges[i].start);
		CHECK(info->ranges[i].end <= GMM_MMIO_HOLE_START ||
		      info->ranges[i].start >= GMM_MMIO_HOLE_END);
		end_of_ram = info->ranges[i].end;
	}
	CHECK(info->kernel.start == 0x100000);
	CHECK(info->used.start <= info->kernel.start && info->used.end > info->kernel.end);
	CHECK(info->page_tables >= info->kernel.end && info->page_tables < info->used.end);
	CHECK(info->args_gpa >= info->kernel.end);
	CHECK(info->tsc_khz > 100000);
	CHECK(info->random_seed[0] | info->random_seed[1]);
	CHECK(shared->balloon_pages == 0);
}

/* The last page of each range and the first free one hold what is written to them. */
static void do_memory(void)
{
	for (unsigned i = 0; i < info->n_ranges; i++) {
		uint64_t *last = direct(info->ranges[i].end - 4096);
		uint64_t *first = direct(i ? info->ranges[i].start : info->used.end);

		CHECK(*last == 0 && *first == 0);
		*last = 0x1122334455667788u + i;
		*first = 0x99aabbccddeeff00u + i;
		CHECK(*last == 0x1122334455667788u + i && *first == 0x99aabbccddeeff00u + i);
	}
}

static void do_file(void)
{
	CHECK(info->n_files == 1);
	CHECK(same(info->files[0].name, argument(1)));
	CHECK(hostcall(GMM_HC_WRITE, 1, info->files[0].gpa, info->files[0].bytes) == -EFAULT);
	for (uint64_t i = 0; i < info->files[0].bytes; i++) {
		const uint64_t at = info->used.end + i;

		*(char *)direct(at) = *(const char *)direct(info->files[0].gpa + i);
	}
	CHECK(hostcall(GMM_HC_WRITE, 1, info->used.end, info->files[0].bytes) ==
	      (long)info->files[0].bytes);
	for (uint64_t i = info->files[0].bytes; i % 4096; i++)
		CHECK(*(const char *)direct(info->files[0].gpa + i) == 0);
}

/* ---- Wild hostcalls: refused, each with its own error ---- */

static void wild_writes(uint64_t ram)
{
	const uint64_t bad[] = {ram,
				ram - 1,
				UINT64_MAX,
				UINT64_MAX - 10,
				GMM_MMIO_HOLE_START,
				UINT64_C(1) << 62,
				GMM_DIRECT_MAP};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(hostcall(GMM_HC_WRITE, 1, bad[i], 2) == -EFAULT);
	CHECK(hostcall(GMM_HC_WRITE, 0, 0, 1) == -EINVAL);
	CHECK(hostcall(GMM_HC_WRITE, 3, 0, 1) == -EINVAL);
	CHECK(hostcall(GMM_HC_WRITE, UINT64_MAX, 0, 1) == -EINVAL);
	CHECK(hostcall(GMM_HC_WRITE, 1, 0, 65537) == -EINVAL);
	CHECK(hostcall(GMM_HC_WRITE, 1, 0, UINT64_MAX) == -EINVAL);
	CHECK(hostcall(GMM_HC_WRITE, 1, 0, 0) == 0);
}

static void wild_lists(uint32_t call, uint64_t ram, uint64_t item, uint64_t max)
{
	CHECK(hostcall(call, 0, ram, 1) == -EFAULT);
	CHECK(hostcall(call, 0, UINT64_MAX & ~UINT64_C(4095), 1) == -EFAULT);
	CHECK(hostcall(call, 0, info->used.end, max + 1) == -EINVAL);
	CHECK(hostcall(call, 0, info->used.end, UINT64_MAX) == -EINVAL);
	CHECK(hostcall(call, 0, info->used.end, UINT64_MAX / item + 2) == -EINVAL);
	CHECK(hostcall(call, 0, info->used.end + 4, 1) == -EINVAL);
	CHECK(hostcall(call, 0, info->used.end + 4096 - item, 2) == -EINVAL);
	CHECK(hostcall(call, 0, info->used.end, 0) == 0);
}

/* GFNs outside memory are taken as nothing, runs outside memory are refused. */
static void wild_contents(uint64_t ram)
{
	volatile uint64_t *page = direct(info->used.end + 4096);
	uint64_t *list = direct(info->used.end);
	const uint64_t bad[] = {ram >> 12,
				UINT64_MAX,
				UINT64_MAX >> 12,
				UINT64_C(1) << 52,
				GMM_MMIO_HOLE_START >> 12,
				(UINT64_C(1) << 63) + 1};
	const unsigned n = sizeof(bad) / sizeof(bad[0]);

	for (unsigned i = 0; i < n; i++)
		list[i] = bad[i];
	CHECK(hostcall(GMM_HC_BALLOON_GIVE, 0, info->used.end, n) == 0);
	CHECK(hostcall(GMM_HC_BALLOON_TAKE, 0, info->used.end, n) == 0);
	for (unsigned i = 0; i < n; i++) {
		list[0] = bad[i];
		list[1] = 1;
		CHECK(hostcall(GMM_HC_REPORT_FREE, 0, info->used.end, 1) == -EFAULT);
		list[0] = 0;
		list[1] = bad[i] | UINT64_C(1) << 62;
		CHECK(hostcall(GMM_HC_REPORT_FREE, 0, info->used.end, 1) == -EFAULT);
	}
	list[0] = (ram >> 12) - 1;
	list[1] = 2;
	CHECK(hostcall(GMM_HC_REPORT_FREE, 0, info->used.end, 1) == -EFAULT);
	*page = 42; /* a list is taken whole or not at all */
	list[0] = (info->used.end + 4096) >> 12;
	list[1] = list[3] = 1;
	list[2] = ram >> 12;
	CHECK(hostcall(GMM_HC_REPORT_FREE, 0, info->used.end, 2) == -EFAULT);
	CHECK(*page == 42);
}

static void do_wild(void)
{
	const uint64_t ram = info->ranges[info->n_ranges - 1].end;

	wild_writes(ram);
	wild_lists(GMM_HC_BALLOON_GIVE, ram, 8, 512);
	wild_lists(GMM_HC_BALLOON_TAKE, ram, 8, 512);
	wild_lists(GMM_HC_REPORT_FREE, ram, 16, 256);
	wild_contents(ram);
	CHECK(hostcall(GMM_HC_N, 0, 0, 0) == -ENOSYS);
	CHECK(hostcall(UINT32_MAX, 0, 0, 0) == -ENOSYS);
	CHECK(hostcall(GMM_HC_OOM, UINT64_MAX, 0, 0) >= 0);
	CHECK(hostcall(GMM_HC_EXIT, 257, 0, 0) == -EINVAL);
	CHECK(hostcall(GMM_HC_EXIT, UINT64_MAX, 0, 0) == -EINVAL);
	CHECK(hostcall(GMM_HC_EXIT, 0, 65, 0) == -EINVAL);
	for (unsigned i = 0; i < 40; i++) /* only so many are told */
		CHECK(hostcall(GMM_HC_INVALID, 0xdead000 + i, i, 0) == 0);
}

/* A page given up or reported free reads as zero. */
static void do_release(void)
{
	uint64_t *list = direct(info->used.end);
	volatile uint64_t *page = direct(info->used.end + 4096);

	*page = 42;
	list[0] = (info->used.end + 4096) >> 12;
	list[1] = 1;
	CHECK(hostcall(GMM_HC_REPORT_FREE, 0, info->used.end, 1) == 1);
	CHECK(*page == 0);
	*page = 43;
	list[0] = (info->used.end + 4096) >> 12;
	CHECK(hostcall(GMM_HC_BALLOON_GIVE, 0, info->used.end, 1) == 1);
	CHECK(hostcall(GMM_HC_BALLOON_TAKE, 0, info->used.end, 1) == 1);
	CHECK(*page == 0);
}

/* ---- Broken kernels ---- */

struct __attribute__((packed)) descriptor {
	uint16_t limit;
	uint64_t base;
};

static void do_triple(void)
{
	const struct descriptor none = {0, 0};

	__asm__ volatile("lidt %0; ud2" ::"m"(none));
}

static void do_text(void) /* W^X holds in the direct map too: a fault, and nobody handles it */
{
	*(volatile char *)direct(info->kernel.start) = 0;
	fail(__LINE__);
}

static void do_guard(void)
{
	*(volatile char *)(GMM_STACKS + 8) = 0;
	fail(__LINE__);
}

static void do_nx(void)
{
	void (*volatile data)(void) = (void (*)(void))direct(info->used.end);

	*(volatile unsigned char *)direct(info->used.end) = 0xc3;
	data();
	fail(__LINE__);
}

/* Maps what lies at gpa through the unused first entry of the top table, as 2 MiB pages. */
static volatile char *map_at_zero(uint64_t gpa)
{
	static uint64_t tables[2][512] __attribute__((aligned(4096)));
	uint64_t *top = direct(info->page_tables);

	tables[1][0] = (gpa & ~UINT64_C(0x1fffff)) | 0x83;
	tables[0][0] = gpa_of(tables[1]) | 3;
	top[0] = gpa_of(tables[0]) | 3;
	return (volatile char *)(gpa & 0x1fffff);
}

static void do_outside(void)
{
	*map_at_zero(number(argument(1)) << 20) = 1;
	end(0);
}

static void do_outside_read(void)
{
	end(*map_at_zero(number(argument(1)) << 20) ? 0 : 1);
}

static void do_halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void do_spin(void)
{
	do_hello();
	for (;;)
		__asm__ volatile("pause");
}

/* This kernel's file does not say that it knows of GMM_HC_IDLE. */
static void do_asleep(void)
{
	CHECK(!(info->flags & GMM_BOOT_IDLE));
	CHECK(hostcall(GMM_HC_IDLE, 0, 0, 0) == -ENOSYS);
	do_hello();
	do_halt();
}

static void do_flood(void)
{
	static const char text[] = "all work and no play makes jack a dull boy\n";

	for (;;)
		hostcall(GMM_HC_WRITE, 1, gpa_of(text), sizeof(text) - 1);
}

static void do_ports(void)
{
	for (unsigned port = 0; port < 0x10000; port += 0x101) {
		uint32_t v;

		if (port == GMM_HOSTCALL_PORT || port == GMM_QEMU_EXIT_PORT)
			continue;
		__asm__ volatile("inl %w1, %0" : "=a"(v) : "d"(port));
		__asm__ volatile("outb %b0, %w1" ::"a"(0), "d"(port));
	}
}

/* Every vCPU arrives; the last one ends the guest. */
static void do_cpus(void)
{
	if (__atomic_add_fetch(&n_arrived, 1, __ATOMIC_SEQ_CST) == number(argument(1)))
		end(0);
	do_halt();
}

/* ---- The doorbell ---- */

static volatile bool rung;

__attribute__((interrupt)) static void on_doorbell(void *frame)
{
	(void)frame;
	rung = true;
	__asm__ volatile("wrmsr" ::"a"(0), "d"(0), "c"(0x80b)); /* end of interrupt */
}

static void set_gate(unsigned vector, void (*handler)(void *))
{
	static uint64_t idt[256][2];
	static const uint64_t gdt[3] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};
	const struct descriptor idtr = {sizeof(idt) - 1, (uint64_t)idt};
	const struct descriptor gdtr = {sizeof(gdt) - 1, (uint64_t)gdt};
	const uint64_t at = (uint64_t)handler;

	idt[vector][0] =
		(at & 0xffff) | 8 << 16 | UINT64_C(0x8e) << 40 | ((at >> 16) & 0xffff) << 48;
	idt[vector][1] = at >> 32;
	__asm__ volatile("lgdt %0; lidt %1" ::"m"(gdtr), "m"(idtr));
}

static void do_doorbell(void)
{
	const volatile struct gmm_shared *shared = direct(info->shared_gpa);

	set_gate(GMM_VECTOR_DOORBELL, on_doorbell);
	__asm__ volatile("wrmsr" ::"a"(0x1ff), "d"(0), "c"(0x80f)); /* LAPIC on */
	do_hello();
	__asm__ volatile("sti");
	while (!rung)
		__asm__ volatile("hlt");
	__asm__ volatile("cli");
	CHECK(shared->balloon_target_pages == number(argument(1)));
}

static void do_target(void)
{
	const volatile struct gmm_shared *shared = direct(info->shared_gpa);

	CHECK(shared->balloon_target_pages == number(argument(1)));
}

/* Fills so many pages, says so, then reads them over and over. */
static void do_sweep(void)
{
	const uint64_t n = number(argument(1)), first = info->used.end;

	for (uint64_t i = 0; i < n; i++)
		*(volatile uint64_t *)direct(first + i * 4096) = i + 1;
	do_hello();
	for (;;)
		for (uint64_t i = 0; i < n; i++)
			CHECK(*(volatile uint64_t *)direct(first + i * 4096) == i + 1);
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{"hello", do_hello},
	{"echo", do_echo},
	{"status", do_status},
	{"signal", do_signal},
	{"info", do_info},
	{"memory", do_memory},
	{"file", do_file},
	{"wild", do_wild},
	{"release", do_release},
	{"triple", do_triple},
	{"text", do_text},
	{"guard", do_guard},
	{"nx", do_nx},
	{"outside", do_outside},
	{"outside-read", do_outside_read},
	{"halt", do_halt},
	{"spin", do_spin},
	{"asleep", do_asleep},
	{"flood", do_flood},
	{"ports", do_ports},
	{"cpus", do_cpus},
	{"doorbell", do_doorbell},
	{"target", do_target},
	{"share", do_share},
	{"share-stay", do_share_stay},
	{"share-verify", do_share_verify},
	{"share-free", do_share_free},
	{"share-scribble", do_share_scribble},
	{"last-words", do_last_words},
	{"sweep", do_sweep},
};

_Noreturn void _start(const struct gmm_boot_info *boot, unsigned long index);

_Noreturn void _start(const struct gmm_boot_info *boot, unsigned long index)
{
	info = boot;
	if (info->magic != GMM_BOOT_MAGIC || index >= info->n_cpus)
		fail(__LINE__);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!same(argument(0), cases[i].name))
			continue;
		if (index && cases[i].run != do_cpus)
			do_halt();
		cases[i].run();
		end(0);
	}
	fail(__LINE__);
}
