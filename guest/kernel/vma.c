/* A sorted array of ranges. Neighbours that continue each other are one entry, so a
 * program that maps and unmaps much keeps the list short. Searches start where the last
 * one ended: page faults come in runs. Lock: the kernel's.
 */
#include "vma.h"

#include <errno.h>
#include <stddef.h>

/* Index of the first range that ends after the address. */
static unsigned first_after(const struct vma_list *l, uint64_t address)
{
	unsigned lo = 0, hi = l->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (l->v[mid].end > address)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

struct vma *vma_find(struct vma_list *l, uint64_t address)
{
	struct vma *v = &l->v[l->last];

	if (l->last < l->n && v->start <= address && address < v->end)
		return v;
	l->last = first_after(l, address);
	v = &l->v[l->last];
	return l->last < l->n && v->start <= address ? v : NULL;
}

static void insert_at(struct vma_list *l, unsigned at, const struct vma *v)
{
	for (unsigned i = l->n; i > at; i--)
		l->v[i] = l->v[i - 1];
	l->v[at] = *v;
	l->n++;
}

static void remove_at(struct vma_list *l, unsigned at, unsigned n)
{
	if (!n)
		return;
	for (unsigned i = at; i + n < l->n; i++)
		l->v[i] = l->v[i + n];
	l->n -= n;
}

static bool continues(const struct vma *a, const struct vma *b)
{
	if (a->end != b->start || a->prot != b->prot || a->kind != b->kind)
		return false;
	return a->kind == VMA_ANON ||
	       (a->gpa + (a->end - a->start) == b->gpa && a->gpa_end == b->gpa_end);
}

static void join(struct vma_list *l, unsigned at)
{
	if (at + 1 < l->n && continues(&l->v[at], &l->v[at + 1])) {
		l->v[at].end = l->v[at + 1].end;
		remove_at(l, at + 1, 1);
	}
}

bool vma_overlaps(const struct vma_list *l, uint64_t start, uint64_t end)
{
	unsigned at = first_after(l, start);

	return at < l->n && l->v[at].start < end;
}

int vma_add(struct vma_list *l, const struct vma *v)
{
	unsigned at = first_after(l, v->start);

	if (at < l->n && l->v[at].start < v->end)
		return -EEXIST;
	if (at > 0 && continues(&l->v[at - 1], v)) {
		l->v[at - 1].end = v->end;
		join(l, at - 1);
		return 0;
	}
	if (at < l->n && continues(v, &l->v[at])) {
		l->v[at].start = v->start;
		l->v[at].gpa = v->gpa;
		return 0;
	}
	if (l->n == VMA_MAX)
		return -ENOMEM;
	insert_at(l, at, v);
	return 0;
}

/* Makes `address` a border if it lies inside a range. */
static void split(struct vma_list *l, uint64_t address)
{
	unsigned at = first_after(l, address);
	struct vma right;

	if (at == l->n || l->v[at].start >= address)
		return;
	right = l->v[at];
	right.gpa += address - right.start;
	right.start = address;
	l->v[at].end = address;
	insert_at(l, at + 1, &right);
}

int vma_cut(struct vma_list *l, uint64_t start, uint64_t end)
{
	unsigned from, to;

	if (!vma_overlaps(l, start, end))
		return 0;
	if (l->n + 2 > VMA_MAX)
		return -ENOMEM;
	split(l, start);
	split(l, end);
	from = first_after(l, start);
	to = first_after(l, end - 1);
	if (to < l->n && l->v[to].start < end)
		to++;
	remove_at(l, from, to - from);
	return 0;
}

bool vma_covers(struct vma_list *l, uint64_t start, uint64_t end)
{
	for (unsigned at = first_after(l, start); start < end; at++) {
		if (at == l->n || l->v[at].start > start)
			return false;
		start = l->v[at].end;
	}
	return true;
}

int vma_protect(struct vma_list *l, uint64_t start, uint64_t end, uint32_t prot)
{
	struct vma *v = vma_find(l, start);
	unsigned from, to;

	if (v && v->prot == prot && end <= v->end)
		return 0;
	if (l->n + 2 > VMA_MAX || !vma_covers(l, start, end))
		return -ENOMEM;
	split(l, start);
	split(l, end);
	from = first_after(l, start);
	for (to = from; to < l->n && l->v[to].start < end; to++)
		l->v[to].prot = prot;
	/* Joins the pieces with each other and with both neighbours, from the right. */
	for (unsigned i = to; i-- > (from ? from - 1 : 0);)
		join(l, i);
	return 0;
}

uint64_t vma_gap(const struct vma_list *l, uint64_t bytes, uint64_t align, uint64_t phase,
		 uint64_t low, uint64_t high)
{
	unsigned at = first_after(l, high - 1);
	uint64_t top = high;

	if (at < l->n && l->v[at].start < high)
		top = l->v[at].start;
	for (;;) {
		uint64_t bottom = at > 0 && l->v[at - 1].end > low ? l->v[at - 1].end : low;

		if (top >= bytes && top - bytes >= bottom) {
			uint64_t start = top - bytes;

			start -= (start - phase) & (align - 1);
			if (start >= bottom && start < top)
				return start;
		}
		if (at == 0 || l->v[at - 1].start <= low)
			return 0;
		top = l->v[--at].start;
	}
}
