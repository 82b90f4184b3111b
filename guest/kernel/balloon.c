/* The balloon: frames that the guest gave up, by the VMM's wish or by the program's. Where the VMM
 * shares the allocator (phys.c) it takes by itself, and only the program's wish is done here.
 *
 * What was given is remembered as a stack of entries, a GFN each, in pages of its own;
 * an entry with HUGE set stands for 512 frames. Inflating takes whole 2 MiB frames first.
 * The VMM's target is looked at whenever the kernel's lock is let go (kernel_unlock) and when
 * its doorbell rings. Where the allocator is shared it is what the VMM misses: then it is told of
 * the few freed frames that it does not see. Kernel lock.
 */
#include "kernel.h"

#define HUGE (UINT64_C(1) << 63)
#define LIST 512u

struct stack_page {
	uint64_t gfn_below; /* the page below this one; 0: none */
	uint64_t entries[511];
};
_Static_assert(sizeof(struct stack_page) == PAGE_BYTES, "one frame");

uint64_t balloon_seen;

static uint64_t goal, n_given;
static uint64_t list[LIST] __attribute__((aligned(4096)));
static struct stack_page *top;
static unsigned n_top;
static bool working;

static bool push_room(void)
{
	struct stack_page *p;
	uint64_t gfn;

	if (top && n_top < 511)
		return true;
	if (!phys_take(1, &gfn))
		return false;
	p = direct(gfn * PAGE_BYTES);
	p->gfn_below = top ? ((uint64_t)top - GMM_DIRECT_MAP) / PAGE_BYTES : 0;
	top = p;
	n_top = 0;
	return true;
}

/* No page stays that holds no entry: then n_top is 0 only when there is none at all. */
static void drop_empty(void)
{
	if (top && !n_top) {
		uint64_t below = top->gfn_below;

		phys_put(((uint64_t)top - GMM_DIRECT_MAP) / PAGE_BYTES, 1);
		top = below ? direct(below * PAGE_BYTES) : NULL;
		n_top = below ? 511 : 0;
	}
}

static uint64_t pop(void)
{
	uint64_t entry = top->entries[--n_top];

	drop_empty();
	return entry;
}

static void list_huge(uint64_t gfn)
{
	for (uint64_t *p = list; p != list + LIST; p++)
		*p = gfn++;
}

/* Gives list[0..n); how many the VMM took. */
static unsigned give(unsigned n)
{
	long taken = hostcall(GMM_HC_BALLOON_GIVE, 0, kernel_gpa(list), n);

	return taken < 0 ? 0 : taken > (long)n ? n : (unsigned)taken;
}

static bool inflate_huge(void)
{
	uint64_t gfn;
	unsigned taken;

	if (!push_room() || !phys_take_huge(&gfn))
		return false;
	list_huge(gfn);
	taken = give(LIST);
	if (taken == LIST) {
		top->entries[n_top++] = gfn | HUGE;
		n_given += LIST;
		return true;
	}
	/* In part: those stay given one by one, as far as there is room to note them. */
	while (taken && push_room()) {
		top->entries[n_top++] = gfn++;
		n_given++;
		taken--;
	}
	list_huge(gfn);
	phys_return((unsigned)(LIST - gfn % LIST), list);
	return false;
}

static bool inflate_small(uint64_t want)
{
	unsigned n, taken;

	if (!push_room())
		return false;
	n = 511 - n_top;
	n = phys_take(want < n ? (unsigned)want : n, list);
	taken = n ? give(n) : 0;
	for (unsigned i = 0; i < taken; i++)
		top->entries[n_top++] = list[i];
	n_given += taken;
	if (taken < n)
		phys_return(n - taken, list + taken);
	return taken > 0;
}

static void inflate(void)
{
	while (goal - n_given >= LIST && inflate_huge())
		;
	while (goal > n_given && inflate_small(goal - n_given))
		;
	drop_empty();
}

/* Takes back until no more than `keep` are given. */
static void deflate(uint64_t keep)
{
	while (n_given > keep && n_top) {
		uint64_t entry = pop();
		unsigned n = 1;

		if (entry & HUGE) {
			list_huge(entry & ~HUGE);
			n = LIST;
		} else {
			list[0] = entry;
			while (n < LIST && n_given - n > keep && n_top &&
			       !(top->entries[n_top - 1] & HUGE))
				list[n++] = pop();
		}
		hostcall(GMM_HC_BALLOON_TAKE, 0, kernel_gpa(list), n);
		phys_return(n, list);
		n_given -= n;
	}
}

static void adjust(void)
{
	if (working)
		return;
	working = true;
	if (n_given < goal) {
		phys_flush();
		inflate();
	} else {
		deflate(goal);
	}
	working = false;
}

void balloon_work(void)
{
	balloon_seen = __atomic_load_n(&shared->balloon_target_pages, __ATOMIC_RELAXED);
	if (phys_is_shared) {
		if (balloon_seen)
			phys_flush();
		return;
	}
	goal = balloon_seen;
	adjust();
}

long balloon_ask(uint64_t pages)
{
	long given;

	if (!have_host())
		return -ENODEV;
	kernel_lock();
	goal = pages < phys_n_pages ? pages : phys_n_pages;
	adjust();
	given = (long)(n_given * PAGE_BYTES);
	kernel_unlock();
	return given;
}

bool balloon_rescue(uint64_t pages)
{
	uint64_t before = n_given, target = 0;

	if (working || !(n_given || phys_is_shared))
		return false;
	if (hostcall(GMM_HC_OOM, pages, 0, 0) > 0 && phys_is_shared)
		return true;
	if (!phys_is_shared)
		target = balloon_seen =
			__atomic_load_n(&shared->balloon_target_pages, __ATOMIC_RELAXED);
	if (target < goal)
		goal = target;
	deflate(goal);
	return n_given < before;
}
