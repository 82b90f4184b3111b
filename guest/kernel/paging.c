/* The programs' page tables: the lower half of the tables the kernel was started on.
 *
 * A leaf entry whose frame belongs to the page alone says so (PTE_OWNED) and is writable
 * whenever its range is; all others (zero page, program image, file window) are read-only
 * and can be forgotten at any time: the next access brings them back. An owned page of a
 * range without rights is kept in an entry that is not present.
 *
 * Page directories are never freed, so the last one used is remembered. Page tables are,
 * together with the 2 MiB they map. Frames of zapped pages go to phys.c at once; it asks
 * paging_settle to flush all TLBs before it lets anybody have them. Kernel lock.
 */
#include "kernel.h"

#define ENTRY_BITS (PTE_P | PTE_W | PTE_U)

static uint64_t last_gib = UINT64_MAX;
static uint64_t *last_pd;
static uint64_t owed_start = UINT64_MAX, owed_end;

uint64_t pte_bits(uint32_t prot)
{
	return (prot ? PTE_P | PTE_U : 0) | (prot & VMA_WRITE ? PTE_W : 0) |
	       (prot & VMA_EXEC ? 0 : PTE_NX);
}

static uint64_t *next_table(uint64_t *entry, bool make)
{
	if (!*entry) {
		uint64_t gfn = make ? phys_get() : 0;

		if (!gfn)
			return NULL;
		*entry = gfn * PAGE_BYTES | ENTRY_BITS;
	}
	return entry_target(*entry);
}

uint64_t *pd_entry(uint64_t address, bool make)
{
	uint64_t *table = direct(boot.page_tables & PTE_FRAME);

	if (address >> 30 != last_gib) {
		table = next_table(&table[address >> 39 & 511], make);
		if (table)
			table = next_table(&table[address >> 30 & 511], make);
		if (!table)
			return NULL;
		last_gib = address >> 30;
		last_pd = table;
	}
	return &last_pd[address >> 21 & 511];
}

static uint64_t *split(uint64_t *pde)
{
	uint64_t gfn = phys_get(), entry = *pde & ~PTE_HUGE;
	uint64_t *table;

	if (!gfn)
		return NULL;
	table = direct(gfn * PAGE_BYTES);
	/* By eights: half the instructions. */
	for (unsigned i = 0; i < 512; i += 8, entry += 8 * PAGE_BYTES) {
		table[i] = entry;
		table[i + 1] = entry + PAGE_BYTES;
		table[i + 2] = entry + 2 * PAGE_BYTES;
		table[i + 3] = entry + 3 * PAGE_BYTES;
		table[i + 4] = entry + 4 * PAGE_BYTES;
		table[i + 5] = entry + 5 * PAGE_BYTES;
		table[i + 6] = entry + 6 * PAGE_BYTES;
		table[i + 7] = entry + 7 * PAGE_BYTES;
	}
	*pde = gfn * PAGE_BYTES | ENTRY_BITS;
	return table;
}

uint64_t *pd_table(uint64_t *pde)
{
	return *pde & PTE_HUGE ? split(pde) : next_table(pde, true);
}

uint64_t paging_walk(uint64_t address)
{
	const uint64_t *pde = pd_entry(address, false);
	uint64_t pte;

	if (!pde || !*pde)
		return 0;
	if (*pde & PTE_HUGE)
		return *pde & PTE_P ? (*pde & PTE_FRAME) + address % HUGE_BYTES : 0;
	pte = ((uint64_t *)entry_target(*pde))[address >> 12 & 511];
	return pte & PTE_P ? (pte & PTE_FRAME) + address % PAGE_BYTES : 0;
}

/* The stretch of [at, end) in one page directory entry; what it points to in *pde. */
static uint64_t step(uint64_t at, uint64_t end, uint64_t **pde)
{
	uint64_t next;

	*pde = pd_entry(at, false);
	/* Without a directory the whole GiB is empty. */
	next = *pde ? (at | (HUGE_BYTES - 1)) + 1 : (at | ((UINT64_C(1) << 30) - 1)) + 1;
	return next < end ? next : end;
}

static void owe(uint64_t start, uint64_t end)
{
	if (start < owed_start)
		owed_start = start;
	if (end > owed_end)
		owed_end = end;
}

void paging_settle(void)
{
	if (owed_end) {
		uint64_t start = owed_start, end = owed_end;

		owed_start = UINT64_MAX;
		owed_end = 0;
		cpu_flush(start, end);
	}
}

static void zap_table(uint64_t *table, uint64_t at, uint64_t end)
{
	for (uint64_t *p = &table[at >> 12 & 511]; at < end; at += PAGE_BYTES, p++) {
		uint64_t pte = *p;

		if (!pte)
			continue;
		*p = 0;
		if (pte & PTE_OWNED)
			phys_put((pte & PTE_FRAME) / PAGE_BYTES, 1);
	}
}

/* One entry's stretch. */
static void zap_some(uint64_t *pde, uint64_t at, uint64_t next)
{
	bool all = next - at == HUGE_BYTES;
	uint64_t entry = *pde;
	uint64_t *table;

	owe(at, next);
	if (entry & PTE_HUGE && all) {
		*pde = 0;
		if (entry & PTE_OWNED)
			phys_put((entry & PTE_FRAME) / PAGE_BYTES, HUGE_PAGES);
		return;
	}
	table = pd_table(pde);
	if (!table) {
		/* No frame to split a huge page with: its content goes all the same. */
		memset((char *)entry_target(entry) + at % HUGE_BYTES, 0, next - at);
		return;
	}
	zap_table(table, at, next);
	if (all) {
		*pde = 0;
		phys_put((entry & PTE_FRAME) / PAGE_BYTES, 1);
	}
}

void paging_zap(uint64_t start, uint64_t end)
{
	uint64_t *pde;

	for (uint64_t at = start, next; at < end; at = next) {
		next = step(at, end, &pde);
		if (pde && *pde)
			zap_some(pde, at, next);
	}
	paging_settle();
}

/* A huge page's entry, all of it owned and a part of it in question: what splitting it
 * would cost (1,000 instructions, and a fault for each page that is used again) is saved by
 * leaving it mapped. The VMM drops the content, and the host memory, where it is. */
void paging_discard(uint64_t start, uint64_t end)
{
	uint64_t *pde;

	for (uint64_t at = start, next; at < end; at = next) {
		next = step(at, end, &pde);
		if (!pde || !*pde)
			continue;
		if (*pde & PTE_HUGE && *pde & PTE_OWNED && next - at < HUGE_BYTES)
			phys_discard(((*pde & PTE_FRAME) + at % HUGE_BYTES) / PAGE_BYTES,
				     (next - at) / PAGE_BYTES);
		else
			zap_some(pde, at, next);
	}
	paging_settle();
}

static void protect_table(uint64_t *table, uint64_t at, uint64_t end, uint64_t bits)
{
	for (uint64_t *p = &table[at >> 12 & 511]; at < end; at += PAGE_BYTES, p++)
		*p = *p & PTE_OWNED ? (*p & PTE_FRAME) | PTE_OWNED | bits : 0;
}

void paging_protect(uint64_t start, uint64_t end, uint32_t prot)
{
	uint64_t bits = pte_bits(prot);
	uint64_t *pde, *table;

	for (uint64_t at = start, next; at < end; at = next) {
		next = step(at, end, &pde);
		if (!pde || !*pde)
			continue;
		owe(at, next);
		if (*pde & PTE_HUGE && next - at == HUGE_BYTES) {
			*pde = *pde & PTE_OWNED ? (*pde & PTE_FRAME) | PTE_OWNED | PTE_HUGE | bits
						: 0;
			continue;
		}
		table = pd_table(pde);
		if (!table)
			panic("out of memory while rights were changed", NULL);
		protect_table(table, at, next, bits);
	}
	paging_settle();
}

/* Prepares what paging_move may not fail at: directories at the goal, tables at the
 * two ends, where entries move one by one. */
static bool move_prepare(uint64_t from, uint64_t to, uint64_t bytes)
{
	for (uint64_t done = 0; done < bytes;) {
		uint64_t room = HUGE_BYTES - (from + done) % HUGE_BYTES;
		uint64_t n = room < bytes - done ? room : bytes - done;
		uint64_t *src = pd_entry(from + done, false);
		bool there = src && *src;

		if (there) {
			uint64_t *dst = pd_entry(to + done, true);

			if (!dst || (n < HUGE_BYTES && (!pd_table(src) || !pd_table(dst))))
				return false;
		}
		done += n;
	}
	return true;
}

int paging_move(uint64_t from, uint64_t to, uint64_t bytes)
{
	if (!move_prepare(from, to, bytes))
		return -ENOMEM;
	for (uint64_t done = 0; done < bytes;) {
		uint64_t at = from + done, room = HUGE_BYTES - at % HUGE_BYTES;
		uint64_t n = room < bytes - done ? room : bytes - done;
		uint64_t *src = pd_entry(at, false);

		if (src && *src && n == HUGE_BYTES) {
			uint64_t entry = *src;
			uint64_t *dst;

			*src = 0;
			dst = pd_entry(to + done, true);
			if (*dst)
				phys_put((*dst & PTE_FRAME) / PAGE_BYTES, 1);
			*dst = entry;
		} else if (src && *src) {
			uint64_t *a = (uint64_t *)entry_target(*src) + (at >> 12 & 511);
			uint64_t *b = (uint64_t *)entry_target(*pd_entry(to + done, true)) +
				      (at >> 12 & 511);

			memcpy(b, a, n / PAGE_BYTES * 8);
			memset(a, 0, n / PAGE_BYTES * 8);
		}
		done += n;
	}
	cpu_flush(from, from + bytes);
	return 0;
}
