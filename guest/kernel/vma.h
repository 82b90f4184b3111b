/* The address space of the programs as a sorted list of ranges with their rights.
 * Knows nothing of page tables; compiled for the host too, to be tested there. */
#ifndef GUEST_KERNEL_VMA_H
#define GUEST_KERNEL_VMA_H

#include <stdbool.h>
#include <stdint.h>

#define VMA_READ  1u /* Linux's PROT_* */
#define VMA_WRITE 2u
#define VMA_EXEC  4u

#define VMA_MAX 4096

enum vma_kind {
	VMA_ANON,   /* zero until written */
	VMA_BACKED, /* bytes of a program image or a file window; private when written */
};

struct vma {
	uint64_t start, end; /* [start, end), whole pages */
	uint32_t prot;
	enum vma_kind kind;
	uint64_t gpa;	  /* BACKED: where start's page lies in guest-physical memory */
	uint64_t gpa_end; /* BACKED: bytes from here on read as zero */
};

struct vma_list {
	unsigned n;
	unsigned last; /* where the last search ended: the next one's first guess */
	struct vma v[VMA_MAX];
};

/* The range that holds the address, or NULL. */
struct vma *vma_find(struct vma_list *l, uint64_t address);
/* Adds a range. -EEXIST: it overlaps another; -ENOMEM: the list is full. */
int vma_add(struct vma_list *l, const struct vma *v);
/* Takes [start, end) out, splitting what sticks out. -ENOMEM: the list is full. */
int vma_cut(struct vma_list *l, uint64_t start, uint64_t end);
/* Gives [start, end) new rights. -ENOMEM: a part of it is not there, or the list is full. */
int vma_protect(struct vma_list *l, uint64_t start, uint64_t end, uint32_t prot);
/* Whether all of [start, end) is there. */
bool vma_covers(struct vma_list *l, uint64_t start, uint64_t end);
/* Whether any of [start, end) is there. */
bool vma_overlaps(const struct vma_list *l, uint64_t start, uint64_t end);
/* The highest start of `bytes` free ones in [low, high) with start % align == phase, or 0. */
uint64_t vma_gap(const struct vma_list *l, uint64_t bytes, uint64_t align, uint64_t phase,
		 uint64_t low, uint64_t high);

#endif
