/* Page faults and all other traps.
 *
 * A page is mapped when it is first touched:
 *   anonymous, read     the one zero page, read-only               minor
 *   anonymous, written  a frame that reads as zero                 minor
 *   zero page, written  a frame of its own (copy on write)         minor
 *   image or window     read: where it lies, read-only; written: a copy   major
 * Where a range holds all of an aligned 2 MiB and no page table is there yet, the first three
 * do it all at once, with one huge zero page. Else the neighbours in the same 64 KiB are
 * mapped, too: an entry costs nothing but itself, for the VMM backs a frame only when it is
 * touched.
 * What cannot be served is the program's SIGSEGV, or the kernel's own end.
 *
 * Cost: about 120 instructions for one page, 25 more for each neighbour; 150 for 2 MiB.
 */
#include "kernel.h"

#include "signal.h"

#define AROUND_PAGES 16u
#define AROUND_BYTES (AROUND_PAGES * PAGE_BYTES)

#define ERROR_PRESENT  UINT64_C(1)
#define ERROR_WRITE    UINT64_C(2)
#define ERROR_USER     UINT64_C(4)
#define ERROR_FETCH    UINT64_C(16)
#define ERROR_RESERVED UINT64_C(8)

struct vma_list vmas;
struct gmm_fault_counts n_faults;

static uint8_t zero_page[PAGE_BYTES] __attribute__((aligned(4096)));
static uint64_t huge_zero_gfn; /* 512 frames that nobody writes; 0: not taken yet */

/* The pages in the same 64 KiB as the address that lie in the range. */
static void around(const struct vma *v, uint64_t address, uint64_t *start, uint64_t *end)
{
	*start = address & ~(AROUND_BYTES - 1);
	*end = *start + AROUND_BYTES;
	if (*start < v->start)
		*start = v->start;
	if (*end > v->end)
		*end = v->end;
}

static enum fault_result anon_read(const struct vma *v, uint64_t address, uint64_t *table)
{
	uint64_t entry = kernel_gpa(zero_page) | (pte_bits(v->prot) & ~PTE_W);
	uint64_t start, end;

	around(v, address, &start, &end);
	for (uint64_t *p = &table[start >> 12 & 511]; start < end; start += PAGE_BYTES, p++)
		if (!*p)
			*p = entry;
	return FAULT_SERVED;
}

/* This page and those after it: memory is mostly written upwards. Replaces entries that
 * are `from`, accessed or not: nothing, or the zero page. */
static enum fault_result anon_write(const struct vma *v, uint64_t address, uint64_t *table,
				    uint64_t from)
{
	uint64_t bits = pte_bits(v->prot) | PTE_OWNED, gfns[AROUND_PAGES], start, end;
	unsigned n, used = 0;
	uint64_t *p;

	around(v, address, &start, &end);
	start = address & ~(PAGE_BYTES - 1);
	p = &table[start >> 12 & 511];
	for (n = 0; n < (end - start) / PAGE_BYTES && (p[n] | PTE_A) == (from | PTE_A); n++)
		;
	n = phys_get_some(n, gfns);
	if (!n)
		return FAULT_NO_MEMORY;
	for (; used < n; used++)
		*p++ = gfns[used] * PAGE_BYTES | bits;
	if (from)
		cpu_flush(start, start + n * PAGE_BYTES);
	return FAULT_SERVED;
}

/* Content of the page at the address into frame gfn, from the image or window. */
static void backed_copy(const struct vma *v, uint64_t page, uint64_t gfn)
{
	uint64_t gpa = v->gpa + (page - v->start);
	uint64_t n = gpa >= v->gpa_end ? 0 : v->gpa_end - gpa;
	uint8_t *to = direct(gfn * PAGE_BYTES);

	if (n > PAGE_BYTES)
		n = PAGE_BYTES;
	memcpy(to, direct(gpa), n);
	memset(to + n, 0, PAGE_BYTES - n);
}

static enum fault_result backed(const struct vma *v, uint64_t address, uint64_t *table, bool write)
{
	uint64_t page = address & ~(PAGE_BYTES - 1), gpa = v->gpa + (page - v->start);
	uint64_t *p = &table[page >> 12 & 511];
	bool fresh = !*p;
	uint64_t gfn;

	if (!write && gpa + PAGE_BYTES <= v->gpa_end) {
		*p = gpa | (pte_bits(v->prot) & ~PTE_W);
	} else {
		gfn = phys_get_any();
		if (!gfn)
			return FAULT_NO_MEMORY;
		backed_copy(v, page, gfn);
		*p = gfn * PAGE_BYTES | PTE_OWNED | pte_bits(v->prot);
		if (!fresh)
			cpu_flush(page, page + PAGE_BYTES);
	}
	if (fresh)
		n_faults.major++;
	else
		n_faults.minor++;
	return FAULT_SERVED;
}

/* Something is mapped there already, but not what the access needs: rights grew since
 * (mprotect), or another CPU was faster. */
static enum fault_result refresh(const struct vma *v, uint64_t address, uint64_t *p)
{
	if (*p & PTE_OWNED)
		*p = (*p & (PTE_FRAME | PTE_HUGE)) | PTE_OWNED | pte_bits(v->prot);
	else
		*p = (*p & (PTE_FRAME | PTE_HUGE)) | (pte_bits(v->prot) & ~PTE_W);
	invlpg(address);
	return FAULT_SERVED;
}

static enum fault_result small(const struct vma *v, uint64_t address, uint64_t *table, bool write)
{
	uint64_t *p = &table[address >> 12 & 511];

	if (v->kind == VMA_BACKED && !(*p & PTE_OWNED))
		return backed(v, address, table, write);
	n_faults.minor++;
	if (*p && (*p & PTE_OWNED || !write))
		return refresh(v, address, p);
	return write ? anon_write(v, address, table, *p) : anon_read(v, address, table);
}

static bool huge_fits(const struct vma *v, uint64_t address)
{
	uint64_t start = address & ~(HUGE_BYTES - 1);

	return v->kind == VMA_ANON && v->start <= start && start + HUGE_BYTES <= v->end;
}

/* Maps 2 MiB where nothing or the huge zero page is. False: no such frame is free. */
static bool huge(const struct vma *v, uint64_t address, uint64_t *pde, bool write)
{
	uint64_t start = address & ~(HUGE_BYTES - 1), gfn, was = *pde;

	if (!write) {
		if (!huge_zero_gfn)
			huge_zero_gfn = phys_get_huge();
		if (!huge_zero_gfn)
			return false;
		*pde = huge_zero_gfn * PAGE_BYTES | PTE_HUGE | (pte_bits(v->prot) & ~PTE_W);
		return true;
	}
	gfn = phys_get_huge();
	/* Small pages take over, from nothing. */
	*pde = gfn ? gfn * PAGE_BYTES | PTE_HUGE | PTE_OWNED | pte_bits(v->prot) : 0;
	if (was)
		cpu_flush(start, start + HUGE_BYTES);
	return gfn;
}

static enum fault_result serve(const struct vma *v, uint64_t address, bool write)
{
	uint64_t *pde = pd_entry(address, true), *table;

	if (!pde)
		return FAULT_NO_MEMORY;
	if (*pde & PTE_HUGE && (*pde & PTE_OWNED || !write)) {
		n_faults.minor++;
		return refresh(v, address, pde);
	}
	if ((!*pde || *pde & PTE_HUGE) && huge_fits(v, address) && huge(v, address, pde, write)) {
		n_faults.minor++;
		return FAULT_SERVED;
	}
	table = pd_table(pde);
	return table ? small(v, address, table, write) : FAULT_NO_MEMORY;
}

static enum fault_result fault(uint64_t address, uint64_t error)
{
	const struct vma *v = address < USER_END ? vma_find(&vmas, address) : NULL;

	if (!v || error & ERROR_RESERVED)
		return FAULT_INVALID;
	if (error & ERROR_WRITE ? !(v->prot & VMA_WRITE)
				: (error & ERROR_FETCH ? !(v->prot & VMA_EXEC) : !v->prot))
		return FAULT_INVALID;
	return serve(v, address, error & ERROR_WRITE);
}

/* From entry.S, with the upper part of *regs only. 0: go on. The kernel itself gets
 * here by a user_copy, with or without the lock. */
int fault_fast(struct regs *regs)
{
	uint64_t address = read_cr2();
	bool nested = n_cpus > 1 && this_cpu()->has_lock;
	enum fault_result r;

	if (!nested)
		kernel_lock();
	r = fault(address, regs->error);
	if (!nested)
		kernel_unlock();
	return (int)r;
}

static bool in_user_copy(const struct regs *r)
{
	return (r->rip == (uint64_t)user_copy_long || r->rip == (uint64_t)user_copy_rest) &&
	       read_cr2() < USER_END;
}

static void page_fault_slow(struct regs *r)
{
	uint64_t address = read_cr2();
	const struct vma *v;
	enum fault_result again;

	if (!(r->cs & 3)) {
		if (!in_user_copy(r))
			panic("a page fault of its own: this is a defect", r);
		r->rip = (uint64_t)user_copy_failed;
		return;
	}
	/* Once more: only here it is known why. */
	kernel_lock();
	again = fault(address, r->error);
	v = vma_find(&vmas, address);
	if (again == FAULT_INVALID)
		n_faults.invalid++;
	kernel_unlock();
	if (again == FAULT_NO_MEMORY) {
		say("guest kernel: out of memory: %u KiB in all, none free; give the guest more\n",
		    phys_n_pages * 4);
		process_exit(128 + SIGKILL, SIGKILL);
	}
	if (again == FAULT_INVALID)
		signal_fault(r, SIGSEGV, v ? SEGV_ACCERR : SEGV_MAPERR, address);
}

/* What a program sees of the other exceptions. */
static const struct {
	uint8_t vector, signal, code;
} exceptions[] = {
	{0, SIGFPE, FPE_INTDIV},  {1, SIGTRAP, TRAP_TRACE},    {3, SIGTRAP, TRAP_BRKPT},
	{4, SIGSEGV, SI_KERNEL},  {5, SIGSEGV, SI_KERNEL},     {6, SIGILL, ILL_ILLOPN},
	{7, SIGFPE, SI_KERNEL},	  {10, SIGSEGV, SI_KERNEL},    {11, SIGBUS, SI_KERNEL},
	{12, SIGBUS, SI_KERNEL},  {13, SIGSEGV, SI_KERNEL},    {16, SIGFPE, FPE_FLTINV},
	{17, SIGBUS, BUS_ADRALN}, {18, SIGBUS, BUS_MCEERR_AR}, {19, SIGFPE, FPE_FLTINV},
};

static void exception(struct regs *r)
{
	if (!(r->cs & 3))
		panic("an exception of its own: this is a defect", r);
	for (size_t i = 0; i < sizeof(exceptions) / sizeof(exceptions[0]); i++) {
		if (exceptions[i].vector == r->vector) {
			signal_fault(r, exceptions[i].signal, exceptions[i].code, r->rip);
			return;
		}
	}
	panic("an exception that programs cannot cause", r);
}

void trap(struct regs *r)
{
	switch (r->vector) {
	case VECTOR_PAGE_FAULT:
		page_fault_slow(r);
		break;
	case 8:
		panic("double fault: most likely its stack is used up", r);
	case VECTOR_DOORBELL:
		cpu_eoi();
		/* Interrupts come from programs or from cpu_wait: never with the lock held. */
		kernel_lock();
		kernel_unlock();
		break;
	case VECTOR_WAKE:
		cpu_eoi();
		cpu_answer_flush(this_cpu());
		break;
	case VECTOR_SPURIOUS:
		break;
	default:
		exception(r);
	}
}
