/* Layout: see layout.h. At most 16 regions: a linear search is a handful of compares. */
#include "layout.h"

#include <errno.h>

int layout_check(const struct layout *l, uint64_t gpa, uint64_t bytes)
{
	if (bytes == 0 || (gpa | bytes) % GMM_PAGE_BYTES || gpa + bytes < gpa ||
	    gpa + bytes > UINT64_C(1) << 52)
		return -EINVAL;
	for (unsigned i = 0; i < l->n_regions; i++) {
		const struct region *r = &l->regions[i];

		if (gpa < r->gpa + r->bytes && r->gpa < gpa + bytes)
			return -EEXIST;
	}
	return l->n_regions < LAYOUT_MAX_REGIONS ? 0 : -ENOSPC;
}

const struct region *layout_find_gpa(const struct layout *l, uint64_t gpa)
{
	for (unsigned i = 0; i < l->n_regions; i++)
		if (gpa - l->regions[i].gpa < l->regions[i].bytes)
			return &l->regions[i];
	return NULL;
}

const struct region *layout_find_hva(const struct layout *l, const void *hva)
{
	uintptr_t at = (uintptr_t)hva;

	for (unsigned i = 0; i < l->n_regions; i++)
		if (at - (uintptr_t)l->regions[i].hva < l->regions[i].bytes)
			return &l->regions[i];
	return NULL;
}

const struct region *layout_find_page(const struct layout *l, page_no p)
{
	for (unsigned i = 0; i < l->n_regions; i++)
		if ((uint64_t)p - l->regions[i].first < region_n_pages(&l->regions[i]))
			return &l->regions[i];
	return NULL;
}
