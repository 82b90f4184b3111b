/* What all stores have in common. */
#include <guestmm/store.h>

struct gmm_store *gmm_store_free(struct gmm_store *st)
{
	if (st)
		st->ops->free(st);
	return NULL;
}
