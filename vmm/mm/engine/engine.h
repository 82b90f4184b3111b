/* Engines: how a page gets into the guest and out of it.
 *
 * Two of them behind one table. `move` flips frames between the bay and the guest (UFFDIO_MOVE);
 * `copy` copies in (UFFDIO_COPY) and, to take a page out, write-protects it, copies it and
 * discards it. Either way a page leaves the guest's page tables before its content counts as
 * read, so no write that races with an eviction is lost (invariant 4).
 * All functions: under the space's lock, only for pages whose state word says so.
 */
#ifndef MM_ENGINE_H
#define MM_ENGINE_H

#include "bay.h"
#include "uffd.h"

#define ENGINE_BATCH_MAX 64u

struct engine {
	const struct engine_ops *ops;
	const struct uffd *uffd;
	struct bay *bay;
	int pagemap; /* see pagemap.h; -1: none */
	/* When pages were last put in place. Whoever a call wakes may run on this CPU before it
	 * returns: where is_timed is set he is woken by another, behind it; else this is when it
	 * began. */
	uint64_t placed_ns;
	bool is_timed;
};

struct engine_ops {
	const char *name;
	uint64_t features; /* userfaultfd features it cannot do without */

	/* Once, after the userfaultfd is open and the bay is there. */
	int (*setup)(struct engine *e);

	/* Maps n zero pages at hva, where none is. *done: how many, also on failure.
	 * -ENOMEM: the limit leaves no frame. */
	int (*fill_zero)(struct engine *e, char *hva, unsigned n, unsigned *done);

	/* Maps the content of a taken slot at hva, where no page is, and takes the slot over.
	 * On failure the slot stays the caller's: -ENOMEM, -EBUSY (its frame is pinned by I/O). */
	int (*install)(struct engine *e, char *hva, bay_slot slot);

	/* The same for n slots and as many pages from hva on. Slots that stand side by side go by
	 * one system call, and whoever waits for any of their pages is woken once. *done: how many,
	 * from the first on, also on failure. */
	int (*install_run)(struct engine *e, char *hva, const bay_slot *slots, unsigned n,
			   unsigned *done);

	/* As install, but the slot stays the caller's, for one that a write still reads. */
	int (*install_copy)(struct engine *e, char *hva, bay_slot slot);

	/* Takes n pages out of the guest; slots[i] is a taken slot with page i's content. *done:
	 * how many, from the first on, also on failure: -EBUSY (pinned, shared), -ENOMEM. */
	int (*extract)(struct engine *e, char *hva, unsigned n, bay_slot *slots, unsigned *done);

	/* Huge frames; NULL where the engine has none. hva is a multiple of 2 MiB. */

	/* As fill_zero, for 512 pages. *one: they are one page of the kernel's now; it may have had
	 * to make single ones of them. */
	int (*fill_zero_huge)(struct engine *e, char *hva, unsigned *done, bool *one);

	/* As extract, for 512 pages that are one page: slots *first to *first + 511. -ENOSPC: no
	 * huge slot is vacant. */
	int (*extract_huge)(struct engine *e, char *hva, bay_slot *first, unsigned *done);

	/* Maps 512 taken slots from `first` on at hva, where no page is, and takes them over. On
	 * failure they stay the caller's. *one: as above. */
	int (*install_huge)(struct engine *e, char *hva, bay_slot first, bool *one);

	/* For pages that are laid aside: out of the guest, their frames charged as before, in a
	 * range of addresses that its owner has got and that this has been called for. NULL: that
	 * is not needed. */
	int (*prepare_aside)(struct engine *e, char *aside, size_t bytes);

	/* One page, to `aside` and back to where no page is. -EBUSY, -ENOMEM: it stays. */
	int (*lay_aside)(struct engine *e, char *hva, char *aside);
	int (*bring_back)(struct engine *e, char *hva, char *aside);

	/* The same for 512 pages that are one page; NULL where the engine has none. *one: they are
	 * one page again. */
	int (*lay_block_aside)(struct engine *e, char *hva, char *aside);
	int (*bring_block_back)(struct engine *e, char *hva, char *aside, bool *one);

	/* Makes 512 single pages of one. 0 also where they are that already; -EBUSY (pinned),
	 * -ENOMEM. */
	int (*split)(struct engine *e, char *hva);
};

extern const struct engine_ops engine_move, engine_copy;

/* Can this engine map huge frames on this host? */
static inline bool engine_has_huge(const struct engine *e)
{
	return e->ops->fill_zero_huge && e->bay->has_huge;
}

/* uffd_move() and uffd_copy(), timed. */
int engine_move_pages(struct engine *e, char *to, char *from, size_t bytes, size_t *done);
int engine_copy_pages(struct engine *e, char *to, const char *from, size_t bytes, size_t *done);

/* Discards n resident pages at hva: their frames go back to the host. */
int engine_discard(struct engine *e, char *hva, uint64_t n);

/* Makes every touch of the absent page at hva fail, and wakes who waits for it. */
int engine_poison(struct engine *e, char *hva);

/* Takes that back: the page is absent again and a touch faults. */
int engine_unpoison(char *hva);

#endif
