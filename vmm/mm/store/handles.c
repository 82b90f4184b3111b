/* See handles.h. */
#include "store/handles.h"

#include <errno.h>

#include "reserve.h"

int handles_init(struct handles *h)
{
	*h = (struct handles){.free = GMM_SLOT_NONE};
	h->all = reserve_map(HANDLES_MAX * sizeof(*h->all));
	return h->all ? 0 : -ENOMEM;
}

void handles_fini(struct handles *h)
{
	reserve_unmap(h->all, HANDLES_MAX * sizeof(*h->all));
	*h = (struct handles){0};
}

bool handles_get(struct handles *h, unsigned level, uint64_t slot, uint64_t *out)
{
	uint64_t at = h->free;

	if (at != GMM_SLOT_NONE)
		h->free = h->all[at].slot;
	else if (h->n_touched < HANDLES_MAX)
		at = h->n_touched++;
	else
		return false;
	h->n_used++;
	h->all[at] = (struct handle){
		.slot = slot & GMM_SLOT_NONE, .level = level & 3u, .state = HANDLE_LIVE};
	*out = at;
	return true;
}

void handles_put(struct handles *h, uint64_t handle)
{
	h->all[handle] = (struct handle){.slot = h->free & GMM_SLOT_NONE, .state = HANDLE_FREE};
	h->free = handle;
	h->n_used--;
}

struct handle *handles_find(const struct handles *h, uint64_t handle)
{
	struct handle *found;

	if (handle >= h->n_touched)
		return NULL;
	found = &h->all[handle];
	return found->state == HANDLE_LIVE || found->state == HANDLE_MOVING ? found : NULL;
}
