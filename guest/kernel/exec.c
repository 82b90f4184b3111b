/* The program: which image, how it is mapped, the stack that Linux programs expect; its end.
 *
 * Images are mapped where they lie: text and constants in place, data copied on write, the
 * tail of the last data page zeroed by the copy. A bundled program is the image inside the
 * kernel's own; one given by the VMM is somewhere in RAM. Same path for both.
 */
#include "elf.h"
#include "kernel.h"

#include <elf.h>

#define STACK_END   USER_END
#define STACK_BYTES (UINT64_C(8) << 20)
#define STRINGS_MAX 16384u
#define ARGS_MAX    256u

uint64_t brk_start, brk_end;

_Noreturn void process_exit(unsigned status, unsigned signal)
{
	if (have_host())
		hostcall(GMM_HC_FAULT_COUNTS, n_faults.minor, n_faults.major, n_faults.invalid);
	machine_exit(status, signal);
}

static _Noreturn void refuse(const char *why)
{
	say("guest kernel: cannot run the program: %s\n", why);
	process_exit(126, 0);
}

static uint64_t page_up(uint64_t v)
{
	return (v + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

static void map(uint64_t start, uint64_t end, uint32_t prot, enum vma_kind kind, uint64_t gpa,
		uint64_t gpa_end)
{
	struct vma v = {start, end, prot, kind, gpa, gpa_end};

	if (start < end && vma_add(&vmas, &v))
		refuse("its segments overlap the stack or each other");
}

static void map_segment(const struct elf_segment *s, uint64_t image_gpa)
{
	uint64_t start = s->vaddr & ~(PAGE_BYTES - 1), file_end = s->vaddr + s->file_bytes;
	uint64_t end = s->vaddr + s->memory_bytes, gpa = image_gpa + s->offset - (s->vaddr - start);
	uint64_t border = page_up(file_end) < page_up(end) ? page_up(file_end) : page_up(end);
	bool has_bss = s->memory_bytes > s->file_bytes;

	if (!s->file_bytes)
		border = start;
	map(start, border, s->prot, VMA_BACKED, gpa,
	    has_bss ? image_gpa + s->offset + s->file_bytes : UINT64_MAX);
	map(border, page_up(end), s->prot, VMA_ANON, 0, 0);
}

static uint64_t map_program(struct elf_program *p)
{
	uint64_t gpa = boot.program_gpa, bytes = boot.program_bytes;
	const char *why;

	if (!bytes) {
		gpa = kernel_gpa(programs_start);
		bytes = (uint64_t)(programs_end - programs_start);
	}
	if (elf_parse(direct(gpa), bytes, p, &why))
		refuse(why);
	for (unsigned i = 0; i < p->n_segments; i++)
		map_segment(&p->segments[i], gpa);
	brk_start = brk_end = page_up(p->end);
	map(STACK_END - STACK_BYTES, STACK_END, VMA_READ | VMA_WRITE, VMA_ANON, 0, 0);
	return p->entry;
}

/* argv's strings, copied from the VMM: it is trusted to send what fits, checked all the same. */
static unsigned copy_strings(uint64_t to, uint64_t bytes, uint64_t *argv)
{
	const char *from = direct(boot.args_gpa);
	unsigned n = 0;
	uint64_t at = 0;

	if (user_put(to, from, bytes))
		refuse("no memory for its arguments");
	while (n < boot.argc && n < ARGS_MAX && at < bytes) {
		argv[n++] = to + at;
		while (at < bytes && from[at])
			at++;
		at++;
	}
	return n;
}

/* Linux's initial stack: argc, argv, environment (none), auxiliary vector. */
static uint64_t build_stack(const struct elf_program *p)
{
	static uint64_t words[ARGS_MAX + 40];
	uint64_t n = 0, sp = STACK_END - 64, bytes = boot.args_bytes;
	uint64_t seed[2] = {boot.random_seed[0] ^ rdtsc(), boot.random_seed[1]};

	if (bytes > STRINGS_MAX)
		refuse("its arguments are longer than 16 KiB");
	sp -= 16;
	user_put(sp, seed, sizeof(seed));
	const uint64_t random = sp;
	sp = (sp - bytes - 1) & ~UINT64_C(15);
	const uint64_t aux[] = {
		AT_PHDR,   p->phdr,
		AT_PHENT,  sizeof(Elf64_Phdr),
		AT_PHNUM,  p->phdr ? p->n_phdr : 0,
		AT_PAGESZ, PAGE_BYTES,
		AT_ENTRY,  p->entry,
		AT_BASE,   0,
		AT_FLAGS,  0,
		AT_UID,	   0,
		AT_EUID,   0,
		AT_GID,	   0,
		AT_EGID,   0,
		AT_SECURE, 0,
		AT_CLKTCK, 100,
		AT_RANDOM, random,
		AT_NULL,   0,
	};
	words[0] = copy_strings(sp, bytes, &words[1]);
	n = 1 + words[0];
	words[n++] = 0;
	words[n++] = 0;
	memcpy(&words[n], aux, sizeof(aux));
	n += sizeof(aux) / 8;
	sp = (sp - n * 8) & ~UINT64_C(15);
	if (user_put(sp, words, n * 8))
		refuse("no memory for its stack");
	return sp;
}

_Noreturn void exec_boot(void)
{
	static struct elf_program program;
	static struct regs regs;

	regs.rip = map_program(&program);
	regs.rsp = build_stack(&program);
	regs.cs = USER_CS;
	regs.ss = USER_SS;
	regs.rflags = user_rflags;
	cpus[0].state = CPU_BUSY;
	/* Bundled programs say themselves when main is next. */
	if (boot.program_bytes && have_host())
		hostcall(GMM_HC_MAIN, 0, 0, 0);
	/* What starting it touched is not the program's. */
	n_faults = (struct gmm_fault_counts){0};
	regs_enter(&regs);
}
