/* Layout: which guest-physical addresses are memory, and where they are mapped here.
 *
 * Regions get dense page numbers in the order in which they are added, so that tables
 * indexed by page waste nothing on holes. Written while regions are added (before the
 * guest runs), read without a lock afterwards.
 */
#ifndef MM_LAYOUT_H
#define MM_LAYOUT_H

#include "page.h"

#define LAYOUT_MAX_REGIONS 16

enum region_kind {
	REGION_RAM,
	REGION_WINDOW, /* read-only, backed by a file */
};

struct region {
	enum region_kind kind;
	uint64_t gpa, bytes;	   /* guest-physical, [gpa, gpa + bytes) */
	char *hva;		   /* where it is mapped in this process */
	page_no first;		   /* its first page's number */
	struct gmm_store *backing; /* windows: reads the file; owned by the space */
};

struct layout {
	struct region regions[LAYOUT_MAX_REGIONS];
	unsigned n_regions;
};

/* Whether [gpa, gpa + bytes) could be added: 0, -EINVAL, -EEXIST, -ENOSPC. */
int layout_check(const struct layout *l, uint64_t gpa, uint64_t bytes);

const struct region *layout_find_gpa(const struct layout *l, uint64_t gpa);
const struct region *layout_find_hva(const struct layout *l, const void *hva);
const struct region *layout_find_page(const struct layout *l, page_no p);

static inline uint64_t region_n_pages(const struct region *r)
{
	return r->bytes >> GMM_PAGE_SHIFT;
}

static inline char *region_hva(const struct region *r, page_no p)
{
	return r->hva + ((uint64_t)(p - r->first) << GMM_PAGE_SHIFT);
}

static inline uint64_t region_gpa(const struct region *r, page_no p)
{
	return r->gpa + ((uint64_t)(p - r->first) << GMM_PAGE_SHIFT);
}

#endif
