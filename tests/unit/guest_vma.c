/* The guest kernel's list of ranges against a naive oracle: an array of pages. */
#include "guest/kernel/vma.h"

#include "unit.h"

#include <errno.h>
#include <string.h>

#define PAGE	4096u
#define N_PAGES 96u
#define BASE	UINT64_C(0x10000)

/* 0: nothing; else what the page's range is, and where it reads from. */
struct oracle {
	uint32_t prot, kind;
	uint64_t gpa;
	int there;
};

static struct vma_list list;
static struct oracle pages[N_PAGES];

static uint64_t at(unsigned page)
{
	return BASE + (uint64_t)page * PAGE;
}

static void check_agrees(void)
{
	for (unsigned i = 0; i < N_PAGES; i++) {
		const struct vma *v = vma_find(&list, at(i) + 17);

		ck_assert_int_eq(v != NULL, pages[i].there);
		if (!v)
			continue;
		ck_assert_uint_eq(v->prot, pages[i].prot);
		ck_assert_uint_eq(v->kind, pages[i].kind);
		if (v->kind == VMA_BACKED)
			ck_assert_uint_eq(v->gpa + (at(i) - v->start), pages[i].gpa);
	}
	for (unsigned i = 0; i < list.n; i++) {
		ck_assert_uint_lt(list.v[i].start, list.v[i].end);
		if (i + 1 == list.n)
			continue;
		ck_assert_uint_le(list.v[i].end, list.v[i + 1].start);
		/* Anonymous neighbours alike are one. */
		ck_assert(list.v[i].end != list.v[i + 1].start ||
			  list.v[i].prot != list.v[i + 1].prot || list.v[i].kind != VMA_ANON ||
			  list.v[i + 1].kind != VMA_ANON);
	}
}

static int oracle_covers(unsigned from, unsigned to)
{
	for (; from < to; from++)
		if (!pages[from].there)
			return 0;
	return 1;
}

static int oracle_overlaps(unsigned from, unsigned to)
{
	for (; from < to; from++)
		if (pages[from].there)
			return 1;
	return 0;
}

static void do_add(unsigned from, unsigned to, uint32_t prot)
{
	uint32_t kind = rand() % 3 ? VMA_ANON : VMA_BACKED;
	uint64_t gpa = 0x1000000 + at(from) * (1 + (unsigned)rand() % 2);
	struct vma v = {at(from), at(to), prot, kind, gpa, UINT64_MAX};
	int err = vma_add(&list, &v);

	ck_assert_int_eq(err, oracle_overlaps(from, to) ? -EEXIST : 0);
	for (unsigned i = from; !err && i < to; i++)
		pages[i] = (struct oracle){prot, kind, gpa + (uint64_t)(i - from) * PAGE, 1};
}

static void do_protect(unsigned from, unsigned to, uint32_t prot)
{
	int err = vma_protect(&list, at(from), at(to), prot);

	ck_assert_int_eq(err, oracle_covers(from, to) ? 0 : -ENOMEM);
	for (unsigned i = from; !err && i < to; i++)
		pages[i].prot = prot;
}

static void do_gap(unsigned from, unsigned to)
{
	unsigned n = to - from;
	uint64_t align = UINT64_C(4096) << rand() % 4,
		 phase = (uint64_t)(rand() % 4) * PAGE % align;
	uint64_t got = vma_gap(&list, (uint64_t)n * PAGE, align, phase, BASE, at(N_PAGES));
	uint64_t want = 0;

	for (unsigned i = 0; i + n <= N_PAGES; i++)
		if (!oracle_overlaps(i, i + n) && at(i) % align == phase)
			want = at(i);
	ck_assert_uint_eq(got, want);
}

START_TEST(random_operations_agree)
{
	srand(20);
	for (int round = 0; round < 30; round++) {
		memset(&list, 0, sizeof(list.n) * 2);
		memset(pages, 0, sizeof(pages));
		for (int i = 0; i < 300; i++) {
			unsigned from = (unsigned)rand() % N_PAGES;
			unsigned to = from + 1 + (unsigned)rand() % 12;
			uint32_t prot = (uint32_t)rand() % 3;

			if (to > N_PAGES)
				to = N_PAGES;
			switch (rand() % 5) {
			case 0:
				ck_assert_int_eq(vma_cut(&list, at(from), at(to)), 0);
				for (unsigned p = from; p < to; p++)
					pages[p].there = 0;
				break;
			case 1:
				do_protect(from, to, prot);
				break;
			case 2:
				do_gap(from, to);
				ck_assert_int_eq(vma_covers(&list, at(from), at(to)),
						 oracle_covers(from, to));
				ck_assert_int_eq(vma_overlaps(&list, at(from), at(to)),
						 oracle_overlaps(from, to));
				break;
			default:
				do_add(from, to, prot);
			}
			check_agrees();
		}
	}
}
END_TEST

START_TEST(full_list_refuses_and_stays_whole)
{
	uint64_t end;

	memset(&list, 0, sizeof(list.n) * 2);
	for (unsigned i = 0; i < VMA_MAX; i++) {
		struct vma v = {at(3 * i), at(3 * i + 2), VMA_READ, VMA_ANON, 0, 0};

		ck_assert_int_eq(vma_add(&list, &v), 0);
	}
	end = at(3 * VMA_MAX);
	ck_assert_int_eq(vma_add(&list, &(struct vma){end, end + PAGE, 0, VMA_ANON, 0, 0}),
			 -ENOMEM);
	ck_assert_int_eq(vma_cut(&list, at(0), at(1)), -ENOMEM);
	ck_assert_int_eq(vma_protect(&list, at(3), at(4), 0), -ENOMEM);
	ck_assert_int_eq(vma_protect(&list, at(3), at(4), VMA_READ), 0);
	ck_assert_uint_eq(list.n, VMA_MAX);
	ck_assert(vma_covers(&list, at(3), at(5)) && !vma_covers(&list, at(3), at(6)));
}
END_TEST

UNIT_MAIN("guest_vma", random_operations_agree, full_list_refuses_and_stays_whole)
