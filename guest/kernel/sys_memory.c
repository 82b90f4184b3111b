/* mmap and its kin. Private and anonymous memory, files read in place. Kernel lock. */
#include "kernel.h"

#define MAP_SHARED	    UINT64_C(0x01)
#define MAP_PRIVATE	    UINT64_C(0x02)
#define MAP_FIXED	    UINT64_C(0x10)
#define MAP_ANONYMOUS	    UINT64_C(0x20)
#define MAP_FIXED_NOREPLACE UINT64_C(0x100000)

#define MREMAP_MAYMOVE UINT64_C(1)

#define MADV_DONTNEED UINT64_C(4)
#define MADV_FREE     UINT64_C(8)

#define MMAP_LOW  UINT64_C(0x10000)
#define MMAP_HIGH UINT64_C(0x7ffff0000000)

static uint64_t page_up(uint64_t v)
{
	return (v + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

/* Whole pages within the programs' half. */
static bool range_ok(uint64_t address, uint64_t bytes)
{
	return address % PAGE_BYTES == 0 && bytes && bytes <= USER_END && address >= MMAP_LOW &&
	       address <= USER_END - page_up(bytes);
}

static int unmap(uint64_t start, uint64_t end)
{
	int err = vma_cut(&vmas, start, end);

	if (!err) {
		paging_zap(start, end);
		phys_settle();
	}
	return err;
}

/* Where a mapping goes; 0: no room, with FIXED what was there is gone. */
static long place(uint64_t address, uint64_t bytes, uint64_t flags, uint64_t phase)
{
	uint64_t align = bytes >= HUGE_BYTES ? HUGE_BYTES : PAGE_BYTES, at;
	int err;

	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		if (!range_ok(address, bytes))
			return address % PAGE_BYTES ? -EINVAL : -ENOMEM;
		if (flags & MAP_FIXED_NOREPLACE && vma_overlaps(&vmas, address, address + bytes))
			return -EEXIST;
		err = unmap(address, address + bytes);
		return err ? err : (long)address;
	}
	if (address && range_ok(address, bytes) && !vma_overlaps(&vmas, address, address + bytes))
		return (long)address;
	at = vma_gap(&vmas, bytes, align, phase % align, MMAP_LOW, MMAP_HIGH);
	return at ? (long)at : -ENOMEM;
}

static long map_at(uint64_t at, uint64_t bytes, uint32_t prot, const struct gmm_boot_file *file,
		   uint64_t offset)
{
	struct vma v = {at, at + bytes, prot, VMA_ANON, 0, 0};
	int err = 0;

	if (file) {
		uint64_t there = page_up(file->bytes);

		there = offset < there ? there - offset : 0;
		if (there < bytes)
			v.end = at + there;
		v.kind = VMA_BACKED;
		v.gpa = file->gpa + offset;
		v.gpa_end = UINT64_MAX;
	}
	if (v.end > v.start)
		err = vma_add(&vmas, &v);
	if (!err && v.end < at + bytes) {
		/* Past the file's end there is room without rights, as on Linux. */
		v = (struct vma){v.end, at + bytes, 0, VMA_ANON, 0, 0};
		err = vma_add(&vmas, &v);
	}
	if (err)
		vma_cut(&vmas, at, at + bytes);
	return err ? err : (long)at;
}

long sys_mmap(uint64_t address, uint64_t bytes, uint64_t prot, uint64_t flags, uint64_t fd,
	      uint64_t offset)
{
	const struct gmm_boot_file *file = NULL;
	long at;

	if (!bytes || offset % PAGE_BYTES || !(flags & (MAP_SHARED | MAP_PRIVATE)))
		return -EINVAL;
	if (bytes > USER_END)
		return -ENOMEM;
	bytes = page_up(bytes);
	if (!(flags & MAP_ANONYMOUS)) {
		file = file_window(fd);
		if (!file)
			return -EBADF;
		if (flags & MAP_SHARED && !(flags & MAP_PRIVATE) && prot & VMA_WRITE)
			return -EACCES;
		if (offset > page_up(file->bytes))
			return -EINVAL;
	}
	kernel_lock();
	at = place(address, bytes, flags, file ? file->gpa + offset : 0);
	if (at > 0)
		at = map_at((uint64_t)at, bytes, prot & 7, file, offset);
	kernel_unlock();
	return at;
}

long sys_munmap(uint64_t address, uint64_t bytes)
{
	int err;

	if (!range_ok(address, bytes))
		return -EINVAL;
	kernel_lock();
	err = unmap(address, address + page_up(bytes));
	kernel_unlock();
	return err;
}

long sys_mprotect(uint64_t address, uint64_t bytes, uint64_t prot)
{
	uint64_t end = address + page_up(bytes);
	int err;

	if (!bytes)
		return 0;
	if (!range_ok(address, bytes))
		return -EINVAL;
	kernel_lock();
	err = vma_protect(&vmas, address, end, prot & 7);
	if (!err)
		paging_protect(address, end, prot & 7);
	kernel_unlock();
	return err;
}

long sys_madvise(uint64_t address, uint64_t bytes, uint64_t advice)
{
	uint64_t end = address + page_up(bytes);
	bool there;

	if (!bytes)
		return 0;
	if (!range_ok(address, bytes))
		return -EINVAL;
	kernel_lock();
	there = vma_covers(&vmas, address, end);
	if (advice == MADV_DONTNEED || advice == MADV_FREE) {
		paging_discard(address, end);
		phys_settle();
	}
	kernel_unlock();
	return there ? 0 : -ENOMEM;
}

/* Moves a range, or its first part, to where there is room. */
static long move(const struct vma *old, uint64_t address, uint64_t bytes, uint64_t new_bytes)
{
	struct vma v = *old;
	uint64_t to =
		vma_gap(&vmas, new_bytes, HUGE_BYTES, address % HUGE_BYTES, MMAP_LOW, MMAP_HIGH);
	int err;

	if (!to)
		return -ENOMEM;
	v.gpa += address - v.start;
	v.start = to;
	v.end = to + new_bytes;
	err = vma_add(&vmas, &v);
	if (err)
		return err;
	err = paging_move(address, to, bytes);
	if (!err)
		err = vma_cut(&vmas, address, address + bytes);
	if (err)
		vma_cut(&vmas, to, to + new_bytes);
	return err ? err : (long)to;
}

long sys_mremap(uint64_t address, uint64_t bytes, uint64_t new_bytes, uint64_t flags, uint64_t to)
{
	struct vma more;
	const struct vma *v;
	long result = -EFAULT;

	(void)to;
	if (flags & ~MREMAP_MAYMOVE || !range_ok(address, bytes) || !new_bytes ||
	    new_bytes > USER_END)
		return -EINVAL;
	bytes = page_up(bytes);
	new_bytes = page_up(new_bytes);
	kernel_lock();
	v = vma_find(&vmas, address);
	if (v && v->end >= address + bytes && v->kind == VMA_ANON) {
		more = *v;
		more.start = address + bytes;
		more.end = address + new_bytes;
		if (new_bytes <= bytes)
			result = new_bytes < bytes ? unmap(more.end, more.start) : 0;
		else if (more.end <= MMAP_HIGH && !vma_overlaps(&vmas, more.start, more.end))
			result = vma_add(&vmas, &more);
		else
			result = flags & MREMAP_MAYMOVE ? move(v, address, bytes, new_bytes)
							: -ENOMEM;
		if (result == 0)
			result = (long)address;
	}
	kernel_unlock();
	return result;
}

/* Linux's: returns where the break is; unchanged where it cannot move. */
long sys_brk(uint64_t to)
{
	struct vma v = {page_up(brk_end), page_up(to), VMA_READ | VMA_WRITE, VMA_ANON, 0, 0};
	bool ok = true;
	long now;

	kernel_lock();
	if (to >= brk_start && to < MMAP_HIGH) {
		if (v.end > v.start)
			ok = !vma_add(&vmas, &v);
		else if (v.end < v.start)
			ok = !unmap(v.end, v.start);
		if (ok)
			brk_end = to;
	}
	now = (long)brk_end;
	kernel_unlock();
	return now;
}
