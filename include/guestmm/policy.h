/* Policies: which page to evict next.
 *
 * A policy sees page numbers, never memory. Page numbers are dense: 0 to
 * n_pages - 1 over all regions of a space. It is called with the space's lock
 * held, by whatever thread holds it, so it needs no lock of its own.
 */
#ifndef GUESTMM_POLICY_H
#define GUESTMM_POLICY_H

#include <guestmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Why a page is resident now. */
enum gmm_policy_why {
	GMM_POLICY_FIRST_TOUCH, /* demand-zero */
	GMM_POLICY_SWAP_IN,	/* came back from a store, not seen lately */
	GMM_POLICY_REFAULT,	/* came back so soon that it should not have left */
	GMM_POLICY_RESCUE,	/* touched while it was on its way out: it is hot */
	GMM_POLICY_PREFETCH,	/* brought in on a guess; nobody touched it yet */
	GMM_POLICY_PUT_BACK,	/* picked, but it could not be evicted now */
};

struct gmm_policy;

struct gmm_policy_ops {
	uint32_t size; /* sizeof(struct gmm_policy_ops) */
	const char *name;

	/* Makes a policy for n_pages pages of which about n_resident can be
	 * resident at once. 0, -ENOMEM, -EINVAL. */
	int (*make)(uint64_t n_pages, uint64_t n_resident, struct gmm_policy **out);

	/* The page is resident. Never fails: what it needs was set aside by
	 * make() or is reused. A page that is already in is moved. */
	void (*insert)(struct gmm_policy *p, uint64_t page, enum gmm_policy_why why);

	/* The page is not resident any more (balloon, discard). */
	void (*remove)(struct gmm_policy *p, uint64_t page);

	/* Takes up to n victims out, coldest first; returns how many. Each is
	 * later inserted again or forgotten. Fewer than n: there are no more. */
	unsigned (*pick)(struct gmm_policy *p, uint64_t *pages, unsigned n);

	/* How many pages are resident now may have changed. */
	void (*resize)(struct gmm_policy *p, uint64_t n_resident);

	uint64_t (*metadata_bytes)(const struct gmm_policy *p);
	void (*free)(struct gmm_policy *p);

	/* As insert(), for a page that somebody touched while it was away; about n_evictions pages
	 * have left since it did. May be NULL, or beyond `size`: then insert() is called. */
	void (*insert_back)(struct gmm_policy *p, uint64_t page, enum gmm_policy_why why,
			    uint64_t n_evictions);

	/* remove() for n pages from `first` on; may be missing: then each is removed. */
	void (*remove_run)(struct gmm_policy *p, uint64_t first, uint64_t n);
};

/* The head of every policy object. */
struct gmm_policy {
	const struct gmm_policy_ops *ops;
};

/* Calls p's insert_back() where it has one, else its insert(). */
static inline void gmm_policy_insert_back(struct gmm_policy *p, uint64_t page,
					  enum gmm_policy_why why, uint64_t n_evictions)
{
	if (p->ops->size > offsetof(struct gmm_policy_ops, insert_back) && p->ops->insert_back)
		p->ops->insert_back(p, page, why, n_evictions);
	else
		p->ops->insert(p, page, why);
}

/* Calls p's remove_run() where it has one, else its remove(), n times. */
static inline void gmm_policy_remove_run(struct gmm_policy *p, uint64_t first, uint64_t n)
{
	if (p->ops->size > offsetof(struct gmm_policy_ops, remove_run) && p->ops->remove_run)
		p->ops->remove_run(p, first, n);
	else
		for (uint64_t page = first; page < first + n; page++)
			p->ops->remove(p, page);
}

/* The built-in policies: "heat" (the default), "twogen", "clock", "fifo", "random".
 * Returns NULL for any other name; NULL asks for the default. */
GMM_API const struct gmm_policy_ops *gmm_policy_find(const char *name);

/* The i-th built-in policy, NULL past the last one. */
GMM_API const struct gmm_policy_ops *gmm_policy_at(unsigned i);

#ifdef __cplusplus
}
#endif
#endif
