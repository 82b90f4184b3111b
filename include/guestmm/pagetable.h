/* x86-64 page tables: a builder and a walker, for 4 levels (48-bit addresses) or 5.
 *
 * The walker says what the processor's own walk would: the physical address and the rights that
 * all levels leave, or the level at which it stops and why. gmm_pt_fault() then tells whether an
 * access faults, with the error code. The builder maps ranges by the largest pages that
 * fit, and splits large pages where a range cuts them or where rights come to differ.
 *
 * Freestanding. Tables are reached through a pointer to a direct map, or through functions: a
 * VMM reads and writes guest memory by them. Nothing in a table is trusted: an address is only
 * followed where the access function (or the direct map's size) allows it, a walk has at most five
 * steps. No locks and no TLB flushes: both are the caller's. An entry is written by one 8-byte
 * store.
 *
 * Levels are numbered from the page up: 1 = page table (4 KiB pages), 2 = page directory (2 MiB),
 * 3 = page-directory pointers (1 GiB), 4 = PML4, 5 = PML5. Tables that the builder makes carry
 * all rights; the leaf decides. A table stays when its last page is unmapped, until a larger page
 * is mapped in its place.
 */
#ifndef GUESTMM_PAGETABLE_H
#define GUESTMM_PAGETABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Errors, as on Linux; functions return them negated. */
#define GMM_PT_ENOMEM 12 /* no page for a table */
#define GMM_PT_EFAULT 14 /* a table lies where memory cannot be accessed */
#define GMM_PT_EEXIST 17 /* something is mapped there already */
#define GMM_PT_EINVAL 22 /* alignment, length, flags, or addresses outside the address space */

/* Entry bits. */
#define GMM_PT_P	 (UINT64_C(1) << 0)
#define GMM_PT_W	 (UINT64_C(1) << 1)
#define GMM_PT_U	 (UINT64_C(1) << 2)
#define GMM_PT_PWT	 (UINT64_C(1) << 3)
#define GMM_PT_PCD	 (UINT64_C(1) << 4)
#define GMM_PT_A	 (UINT64_C(1) << 5)
#define GMM_PT_D	 (UINT64_C(1) << 6)
#define GMM_PT_PS	 (UINT64_C(1) << 7) /* a page, at level 2 and 3 */
#define GMM_PT_G	 (UINT64_C(1) << 8)
#define GMM_PT_SOFT	 (UINT64_C(7) << 9) /* three bits for the owner's use */
#define GMM_PT_NX	 (UINT64_C(1) << 63)
#define GMM_PT_ADDR	 UINT64_C(0x000ffffffffff000)
#define GMM_PT_PAT_4K	 (UINT64_C(1) << 7)
#define GMM_PT_PAT_LARGE (UINT64_C(1) << 12)

/* What a caller may ask of a mapping: readable by CPL 0 and executable, unless said otherwise. */
#define GMM_PT_FLAGS                                                                               \
	(GMM_PT_W | GMM_PT_U | GMM_PT_PWT | GMM_PT_PCD | GMM_PT_A | GMM_PT_D | GMM_PT_G |          \
	 GMM_PT_SOFT | GMM_PT_NX)

/* How the processor is set up. */
#define GMM_PT_NXE     (1u << 0) /* EFER.NXE */
#define GMM_PT_WP      (1u << 1) /* CR0.WP */
#define GMM_PT_SMEP    (1u << 2) /* CR4.SMEP */
#define GMM_PT_SMAP    (1u << 3) /* CR4.SMAP in force: EFLAGS.AC is 0 */
#define GMM_PT_LA57    (1u << 4) /* CR4.LA57: five levels */
#define GMM_PT_PAGE_1G (1u << 5) /* CPUID says that there are 1 GiB pages */

struct gmm_pt {
	uint64_t root;	    /* physical address of the top table */
	unsigned mode;	    /* GMM_PT_NXE ... */
	unsigned phys_bits; /* width of physical addresses; 0: 52 */
	unsigned largest;   /* level of the largest page to map: 1, 2, 3; 0: 3 with GMM_PT_PAGE_1G,
			       else 2 */
	/* Tables at physical address a < direct_bytes are at direct + a. NULL: use the functions.
	 */
	uint8_t *direct;
	uint64_t direct_bytes;
	/* 0, or negative where there is no memory. pa is a multiple of 8. The
	 * walker needs no write. */
	int (*read)(void *user, uint64_t pa, uint64_t *entry);
	int (*write)(void *user, uint64_t pa, uint64_t entry);
	/* A page of zeros for a table: 0, or negative. Needed by map, and by unmap and protect to
	 * split. */
	int (*alloc)(void *user, uint64_t *pa);
	/* May be NULL. Takes back an empty table whose place a larger page took: flush the TLB
	 * before the page is used again. Without it such tables are kept, and filled with smaller
	 * pages. */
	void (*free)(void *user, uint64_t pa);
	/* Does [pa, pa + bytes) lie in memory? May be NULL: everything does. */
	bool (*inside)(void *user, uint64_t pa, uint64_t bytes);
	void *user;
};

enum gmm_pt_stop {
	GMM_PT_MAPPED,	     /* at a page */
	GMM_PT_NOT_PRESENT,  /* at an entry without P */
	GMM_PT_RESERVED,     /* at a present entry with a reserved bit set */
	GMM_PT_NONCANONICAL, /* before the first table: not a page fault but #GP or #SS */
	GMM_PT_OUTSIDE,	     /* at a table, or a page, that is not in memory */
};

struct gmm_pt_result {
	enum gmm_pt_stop stop;
	unsigned level;	   /* where it stopped; mapped: 1, 2, 3 say the page's size */
	uint64_t entry;	   /* the last one read */
	uint64_t entry_pa; /* and where it is; of a table outside memory: where it would be */
	uint64_t rights;   /* GMM_PT_W, GMM_PT_U: all levels allow it; GMM_PT_NX: one forbids it */
	uint64_t pa;	   /* mapped or page outside: the translation, to the byte */
	uint64_t bytes;	   /* mapped or page outside: the page's size */
};

/* ---- Small parts ---- */

static inline unsigned gmm_pt_levels(const struct gmm_pt *pt)
{
	return pt->mode & GMM_PT_LA57 ? 5 : 4;
}

static inline unsigned gmm_pt_shift(unsigned level)
{
	return 3 + 9 * level;
}

/* Bytes that an entry of this level covers. */
static inline uint64_t gmm_pt_size(unsigned level)
{
	return UINT64_C(1) << gmm_pt_shift(level);
}

static inline uint64_t gmm_pt_index(uint64_t va, unsigned level)
{
	return (va >> gmm_pt_shift(level)) & 511;
}

static inline bool gmm_pt_canonical(const struct gmm_pt *pt, uint64_t va)
{
	uint64_t top = va >> (gmm_pt_shift(gmm_pt_levels(pt) + 1) - 1);

	return top == 0 || top == UINT64_MAX >> (gmm_pt_shift(gmm_pt_levels(pt) + 1) - 1);
}

static inline int gmm_pt_read(const struct gmm_pt *pt, uint64_t pa, uint64_t *entry)
{
	if (!pt->direct)
		return pt->read(pt->user, pa, entry) ? -GMM_PT_EFAULT : 0;
	if (pa >= pt->direct_bytes || pt->direct_bytes - pa < 8)
		return -GMM_PT_EFAULT;
	*entry = __atomic_load_n((const uint64_t *)(const void *)(pt->direct + pa),
				 __ATOMIC_RELAXED);
	return 0;
}

static inline int gmm_pt_write(const struct gmm_pt *pt, uint64_t pa, uint64_t entry)
{
	if (!pt->direct)
		return pt->write(pt->user, pa, entry) ? -GMM_PT_EFAULT : 0;
	if (pa >= pt->direct_bytes || pt->direct_bytes - pa < 8)
		return -GMM_PT_EFAULT;
	__atomic_store_n((uint64_t *)(void *)(pt->direct + pa), entry, __ATOMIC_RELEASE);
	return 0;
}

/* A present entry at this level maps a page (or would, were it not for reserved bits). */
static inline bool gmm_pt_is_leaf(uint64_t entry, unsigned level)
{
	return level == 1 || (level <= 3 && (entry & GMM_PT_PS));
}

/* The bits that must be 0 in a present entry of this level. */
static inline uint64_t gmm_pt_reserved(const struct gmm_pt *pt, uint64_t entry, unsigned level)
{
	unsigned phys_bits = pt->phys_bits ? pt->phys_bits : 52;
	uint64_t bits = GMM_PT_ADDR & ~((UINT64_C(1) << phys_bits) - 1);

	if (!(pt->mode & GMM_PT_NXE))
		bits |= GMM_PT_NX;
	if (level >= 4 || (level == 3 && !(pt->mode & GMM_PT_PAGE_1G)))
		bits |= GMM_PT_PS;
	else if (level > 1 && (entry & GMM_PT_PS))
		bits |= (gmm_pt_size(level) - 1) & GMM_PT_ADDR & ~GMM_PT_PAT_LARGE;
	return bits;
}

/* ---- The walker ---- */

static inline void gmm_pt_walk_page(const struct gmm_pt *pt, uint64_t va, struct gmm_pt_result *w)
{
	uint64_t offset = gmm_pt_size(w->level) - 1;

	w->bytes = offset + 1;
	w->pa = (w->entry & GMM_PT_ADDR & ~offset) | (va & offset);
	w->stop = GMM_PT_MAPPED;
	if (pt->inside && !pt->inside(pt->user, w->pa & ~offset, w->bytes))
		w->stop = GMM_PT_OUTSIDE;
}

/* Walks for va. Always fills *w. */
static inline void gmm_pt_walk(const struct gmm_pt *pt, uint64_t va, struct gmm_pt_result *w)
{
	uint64_t table = pt->root & GMM_PT_ADDR;

	w->entry = w->entry_pa = w->pa = w->bytes = 0;
	w->rights = GMM_PT_W | GMM_PT_U;
	w->level = gmm_pt_levels(pt);
	w->stop = GMM_PT_NONCANONICAL;
	if (!gmm_pt_canonical(pt, va))
		return;
	for (;; w->level--) {
		w->entry_pa = table + gmm_pt_index(va, w->level) * 8;
		w->stop = GMM_PT_OUTSIDE;
		if (gmm_pt_read(pt, w->entry_pa, &w->entry))
			return;
		w->stop = GMM_PT_NOT_PRESENT;
		if (!(w->entry & GMM_PT_P))
			return;
		w->stop = GMM_PT_RESERVED;
		if (w->entry & gmm_pt_reserved(pt, w->entry, w->level))
			return;
		w->rights = (w->rights & (w->entry | GMM_PT_NX)) | (w->entry & GMM_PT_NX);
		if (gmm_pt_is_leaf(w->entry, w->level))
			break;
		table = w->entry & GMM_PT_ADDR;
	}
	gmm_pt_walk_page(pt, va, w);
}

/* Bits of an access, and of a page fault's error code. */
#define GMM_PT_FAULT_P	   (1u << 0) /* error code only: the page is present */
#define GMM_PT_FAULT_WRITE (1u << 1)
#define GMM_PT_FAULT_USER  (1u << 2) /* at CPL 3 */
#define GMM_PT_FAULT_RSVD  (1u << 3) /* error code only: a reserved bit is set */
#define GMM_PT_FAULT_FETCH (1u << 4)

static inline bool gmm_pt_allowed(const struct gmm_pt *pt, uint64_t rights, unsigned access)
{
	bool user = access & GMM_PT_FAULT_USER, user_page = rights & GMM_PT_U;

	if (user && !user_page)
		return false;
	if (access & GMM_PT_FAULT_FETCH)
		return !(rights & GMM_PT_NX) && (user || !user_page || !(pt->mode & GMM_PT_SMEP));
	if (!user && user_page && (pt->mode & GMM_PT_SMAP))
		return false;
	return !(access & GMM_PT_FAULT_WRITE) || (rights & GMM_PT_W) ||
	       (!user && !(pt->mode & GMM_PT_WP));
}

/* Does this access (GMM_PT_FAULT_WRITE, _USER, _FETCH; 0: a read at CPL 0) page-fault after the
 * walk *w? Then *code is the error code. Where the walk stopped NONCANONICAL or OUTSIDE it is no
 * page fault. */
static inline bool gmm_pt_fault(const struct gmm_pt *pt, const struct gmm_pt_result *w,
				unsigned access, unsigned *code)
{
	unsigned bits = access & (GMM_PT_FAULT_WRITE | GMM_PT_FAULT_USER);

	/* the processor reports a fetch only where it could be forbidden */
	if ((access & GMM_PT_FAULT_FETCH) && (pt->mode & (GMM_PT_NXE | GMM_PT_SMEP)))
		bits |= GMM_PT_FAULT_FETCH;
	switch (w->stop) {
	case GMM_PT_NOT_PRESENT:
		break;
	case GMM_PT_RESERVED:
		bits |= GMM_PT_FAULT_P | GMM_PT_FAULT_RSVD;
		break;
	case GMM_PT_MAPPED:
		if (gmm_pt_allowed(pt, w->rights, access))
			return false;
		bits |= GMM_PT_FAULT_P;
		break;
	case GMM_PT_NONCANONICAL:
	case GMM_PT_OUTSIDE:
		return false;
	}
	*code = bits;
	return true;
}

/* ---- Finding what is mapped ---- */

/* Goes over the mapped pages of [va, end). `end` is exclusive and may be 0: the end of all. */
struct gmm_pt_iter {
	const struct gmm_pt *pt;
	uint64_t va, end;
	uint64_t table;	   /* the page table of the 2 MiB around va, where known_va says so */
	uint64_t known_va; /* 1: none */
};

static inline struct gmm_pt_iter gmm_pt_iter_of(const struct gmm_pt *pt, uint64_t va,
						uint64_t bytes)
{
	struct gmm_pt_iter it;

	it.pt = pt;
	it.va = va;
	it.end = va + bytes;
	it.table = 0;
	it.known_va = 1;
	return it;
}

/* Reads the entry that decides about it->va: a page's, or the one that is not present. */
static inline int gmm_pt_iter_read(struct gmm_pt_iter *it, struct gmm_pt_result *w)
{
	uint64_t table = it->pt->root & GMM_PT_ADDR;

	w->level = gmm_pt_levels(it->pt);
	if (it->known_va == (it->va & ~(gmm_pt_size(2) - 1))) {
		table = it->table;
		w->level = 1;
	}
	for (;; w->level--) {
		w->entry_pa = table + gmm_pt_index(it->va, w->level) * 8;
		if (gmm_pt_read(it->pt, w->entry_pa, &w->entry))
			return -GMM_PT_EFAULT;
		if (!(w->entry & GMM_PT_P) || gmm_pt_is_leaf(w->entry, w->level))
			break;
		table = w->entry & GMM_PT_ADDR;
	}
	if (w->level == 1) {
		it->table = table;
		it->known_va = it->va & ~(gmm_pt_size(2) - 1);
	}
	return 0;
}

/* 1: w->level, entry, entry_pa are those of the next mapped page, *va is where it begins; 0: no
 * more; negative: an error. */
static inline int gmm_pt_iter_next(struct gmm_pt_iter *it, struct gmm_pt_result *w, uint64_t *va)
{
	while (it->va != it->end) {
		uint64_t size, at;
		int err = gmm_pt_iter_read(it, w);

		if (err)
			return err;
		size = gmm_pt_size(w->level);
		at = it->va & ~(size - 1);
		it->va = at + size - 1 >= it->end - 1 ? it->end : at + size;
		if (w->entry & GMM_PT_P) {
			*va = at;
			return 1;
		}
	}
	return 0;
}

/* ---- The builder ---- */

/* [va, va + bytes) is page-aligned, not empty, and lies in one half of the address space. */
static inline bool gmm_pt_range_ok(const struct gmm_pt *pt, uint64_t va, uint64_t bytes)
{
	uint64_t last = va + bytes - 1;

	return bytes && !((va | bytes) & 4095) && last >= va && gmm_pt_canonical(pt, va) &&
	       gmm_pt_canonical(pt, last) && (va >> 63) == (last >> 63);
}

static inline bool gmm_pt_flags_ok(const struct gmm_pt *pt, uint64_t flags)
{
	return !(flags & ~GMM_PT_FLAGS) && (!(flags & GMM_PT_NX) || (pt->mode & GMM_PT_NXE));
}

static inline unsigned gmm_pt_largest(const struct gmm_pt *pt)
{
	unsigned most = pt->mode & GMM_PT_PAGE_1G ? 3 : 2;

	return pt->largest && pt->largest < most ? pt->largest : most;
}

/* The level of the largest page that fits at the head of the range. */
static inline unsigned gmm_pt_fit(const struct gmm_pt *pt, uint64_t va, uint64_t pa, uint64_t bytes)
{
	unsigned level = gmm_pt_largest(pt);

	while (level > 1 && (((va | pa) & (gmm_pt_size(level) - 1)) || bytes < gmm_pt_size(level)))
		level--;
	return level;
}

/* Finds the table of `level` on the way to va; makes those that lack. */
static inline int gmm_pt_table(struct gmm_pt *pt, uint64_t va, unsigned level, uint64_t *table)
{
	uint64_t at = pt->root & GMM_PT_ADDR;

	for (unsigned l = gmm_pt_levels(pt); l > level; l--) {
		uint64_t entry_pa = at + gmm_pt_index(va, l) * 8, entry;

		if (gmm_pt_read(pt, entry_pa, &entry))
			return -GMM_PT_EFAULT;
		if (!(entry & GMM_PT_P)) {
			uint64_t page;

			if (!pt->alloc || pt->alloc(pt->user, &page))
				return -GMM_PT_ENOMEM;
			entry = (page & GMM_PT_ADDR) | GMM_PT_P | GMM_PT_W | GMM_PT_U;
			if (gmm_pt_write(pt, entry_pa, entry))
				return -GMM_PT_EFAULT;
		} else if (gmm_pt_is_leaf(entry, l)) {
			return -GMM_PT_EEXIST;
		}
		at = entry & GMM_PT_ADDR;
	}
	*table = at;
	return 0;
}

/* Gives back an empty table of `level` and those under it. */
static inline void gmm_pt_drop(struct gmm_pt *pt, uint64_t table, unsigned level)
{
	/* not by recursion: what lies under a table of level 2 is of level 1 and has nothing under
	 * it */
	for (uint64_t i = 0; level > 1 && i < 512; i++) {
		uint64_t entry;

		if (!gmm_pt_read(pt, table + i * 8, &entry) && (entry & GMM_PT_P))
			pt->free(pt->user, entry & GMM_PT_ADDR);
	}
	pt->free(pt->user, table);
}

/* Puts a page's entry at entry_pa, where nothing is or an empty table. 1: that table has to stay.
 */
static inline int gmm_pt_put_leaf(struct gmm_pt *pt, uint64_t entry_pa, unsigned level,
				  uint64_t entry)
{
	uint64_t old = 0;

	if (level > 1 && gmm_pt_read(pt, entry_pa, &old))
		return -GMM_PT_EFAULT;
	if ((old & GMM_PT_P) && !pt->free)
		return 1;
	if (gmm_pt_write(pt, entry_pa, entry))
		return -GMM_PT_EFAULT;
	if (old & GMM_PT_P)
		gmm_pt_drop(pt, old & GMM_PT_ADDR, level - 1);
	return 0;
}

/* Writes entries of this level, or a lower one, into one table until it or the range ends; *done
 * bytes of it. */
static inline int gmm_pt_fill(struct gmm_pt *pt, uint64_t va, uint64_t pa, uint64_t bytes,
			      uint64_t flags, uint64_t *done)
{
	unsigned level = gmm_pt_fit(pt, va, pa, bytes);

	for (*done = 0; *done == 0 && level; level--) {
		uint64_t size = gmm_pt_size(level), table;
		uint64_t bits = flags | GMM_PT_P | (level > 1 ? GMM_PT_PS : 0);
		int err = gmm_pt_table(pt, va, level, &table);

		for (uint64_t i = gmm_pt_index(va, level); !err && i < 512 && bytes - *done >= size;
		     i++) {
			err = gmm_pt_put_leaf(pt, table + i * 8, level, (pa + *done) | bits);
			if (!err)
				*done += size;
		}
		if (err < 0)
			return err;
	}
	return 0;
}

/* The entry of one of the 512 parts of a large page. */
static inline uint64_t gmm_pt_part(uint64_t entry, unsigned level, uint64_t i)
{
	uint64_t pa =
		(entry & GMM_PT_ADDR & ~(gmm_pt_size(level) - 1)) + i * gmm_pt_size(level - 1);
	uint64_t bits = entry & ~(GMM_PT_ADDR | GMM_PT_PS);
	uint64_t pat = entry & GMM_PT_PAT_LARGE;

	if (level == 2)
		return pa | bits | (pat ? GMM_PT_PAT_4K : 0);
	return pa | bits | GMM_PT_PS | pat;
}

/* Makes va the border of two pages, if a large page lies across it. Changes no translation. */
static inline int gmm_pt_split(struct gmm_pt *pt, uint64_t va)
{
	for (;;) {
		struct gmm_pt_iter it = gmm_pt_iter_of(pt, va, 4096);
		struct gmm_pt_result w;
		uint64_t page;
		int err = gmm_pt_iter_read(&it, &w);

		if (err)
			return err;
		if (!(w.entry & GMM_PT_P) || !(va & (gmm_pt_size(w.level) - 1)))
			return 0;
		if (!pt->alloc || pt->alloc(pt->user, &page))
			return -GMM_PT_ENOMEM;
		page &= GMM_PT_ADDR;
		for (uint64_t i = 0; i < 512; i++)
			if (gmm_pt_write(pt, page + i * 8, gmm_pt_part(w.entry, w.level, i)))
				return -GMM_PT_EFAULT;
		if (gmm_pt_write(pt, w.entry_pa, page | GMM_PT_P | GMM_PT_W | GMM_PT_U))
			return -GMM_PT_EFAULT;
	}
}

/* Replaces the flags of every mapped page in the range, or unmaps it. All that
 * can fail is done first. */
static inline int gmm_pt_change(struct gmm_pt *pt, uint64_t va, uint64_t bytes, bool unmap,
				uint64_t flags)
{
	struct gmm_pt_iter it = gmm_pt_iter_of(pt, va, bytes);
	struct gmm_pt_result w;
	uint64_t at;
	int found, err;

	if (!gmm_pt_range_ok(pt, va, bytes) || !gmm_pt_flags_ok(pt, flags))
		return -GMM_PT_EINVAL;
	err = gmm_pt_split(pt, va);
	if (!err && va + bytes && gmm_pt_canonical(pt, va + bytes))
		err = gmm_pt_split(pt, va + bytes);
	if (err)
		return err;
	while ((found = gmm_pt_iter_next(&it, &w, &at)) > 0) {
		uint64_t entry = (w.entry & ~GMM_PT_FLAGS) | flags;

		if (gmm_pt_write(pt, w.entry_pa, unmap ? 0 : entry))
			return -GMM_PT_EFAULT;
	}
	return found;
}

/* Unmaps [va, va + bytes); what is not mapped stays so. Splits large pages at its ends. The caller
 * flushes the TLB. -EINVAL, -ENOMEM (for a split), -EFAULT: nothing was unmapped, but for an
 * -EFAULT in the middle. */
static inline int gmm_pt_unmap(struct gmm_pt *pt, uint64_t va, uint64_t bytes)
{
	return gmm_pt_change(pt, va, bytes, true, 0);
}

/* Gives every page mapped in [va, va + bytes) new flags (of GMM_PT_FLAGS); what is not
 * mapped stays so. Splits, flushes, errors: as above. */
static inline int gmm_pt_protect(struct gmm_pt *pt, uint64_t va, uint64_t bytes, uint64_t flags)
{
	return gmm_pt_change(pt, va, bytes, false, flags);
}

/* Maps [va, va + bytes) to physical addresses from pa on, all multiples of 4 KiB, with flags of
 * GMM_PT_FLAGS. -EINVAL; -EEXIST: a page of it is mapped; -ENOMEM, -EFAULT: no page for a table, or
 * one that cannot be accessed. Then nothing of the range is mapped; new tables stay. */
static inline int gmm_pt_map(struct gmm_pt *pt, uint64_t va, uint64_t pa, uint64_t bytes,
			     uint64_t flags)
{
	struct gmm_pt_iter it = gmm_pt_iter_of(pt, va, bytes);
	unsigned phys_bits = pt->phys_bits ? pt->phys_bits : 52;
	uint64_t pa_end = UINT64_C(1) << phys_bits;
	struct gmm_pt_result w;
	uint64_t at, done;
	int err;

	if (!gmm_pt_range_ok(pt, va, bytes) || (pa & 4095) || pa >= pa_end || bytes > pa_end - pa ||
	    !gmm_pt_flags_ok(pt, flags))
		return -GMM_PT_EINVAL;
	err = gmm_pt_iter_next(&it, &w, &at);
	if (err)
		return err > 0 ? -GMM_PT_EEXIST : err;
	for (uint64_t n = 0; n < bytes; n += done) {
		err = gmm_pt_fill(pt, va + n, pa + n, bytes - n, flags, &done);
		if (!err)
			continue;
		if (n + done)
			gmm_pt_unmap(pt, va, n + done);
		return err;
	}
	return 0;
}

#ifdef __cplusplus
}
#endif
#endif
