/* What both engines do alike. */
#include "engine.h"

#include <errno.h>
#include <sys/mman.h>

#include "counters.h"

static void engine_placed(struct engine *e, char *hva, size_t bytes)
{
	if (!e->is_timed)
		return;
	e->placed_ns = now_ns();
	if (bytes)
		uffd_wake(e->uffd, hva, bytes);
}

int engine_move_pages(struct engine *e, char *to, char *from, size_t bytes, size_t *done)
{
	int ret;

	e->placed_ns = now_ns();
	ret = uffd_move(e->uffd, to, from, bytes, done, !e->is_timed);
	engine_placed(e, to, *done);
	return ret;
}

int engine_copy_pages(struct engine *e, char *to, const char *from, size_t bytes, size_t *done)
{
	int ret;

	e->placed_ns = now_ns();
	ret = uffd_copy(e->uffd, to, from, bytes, done, !e->is_timed);
	engine_placed(e, to, *done);
	return ret;
}

int engine_discard(struct engine *e, char *hva, uint64_t n)
{
	if (madvise(hva, n << GMM_PAGE_SHIFT, MADV_DONTNEED))
		return -errno;
	pool_uncharge(e->bay->member, n);
	return 0;
}

int engine_poison(struct engine *e, char *hva)
{
	int ret = -EOPNOTSUPP;

	if (e->uffd->features & UFFD_FEATURE_POISON)
		ret = uffd_poison(e->uffd, hva, GMM_PAGE_BYTES);
	if (ret == -EEXIST)
		ret = 0; /* it is marked already */
	/* Before Linux 6.6 the page is made inaccessible: a touch raises SIGSEGV, KVM_RUN
	 * returns EFAULT. */
	if (ret && mprotect(hva, GMM_PAGE_BYTES, PROT_NONE))
		return -errno;
	return uffd_wake(e->uffd, hva, GMM_PAGE_BYTES);
}

int engine_unpoison(char *hva)
{
	/* The marker of UFFDIO_POISON goes with MADV_DONTNEED; PROT_NONE with mprotect(). Which of
	 * them it was need not be remembered. */
	if (madvise(hva, GMM_PAGE_BYTES, MADV_DONTNEED))
		return -errno;
	if (mprotect(hva, GMM_PAGE_BYTES, PROT_READ | PROT_WRITE))
		return -errno;
	return 0;
}
