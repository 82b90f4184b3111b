/* Transfers: a fixed set, so that a guest's faults cannot make the host allocate. */
#include "fatal.h"
#include "space.h"

void transfers_init(struct transfers *t)
{
	t->free = TRANSFER_NONE;
	t->ready = TRANSFER_NONE;
	for (unsigned i = SPACE_TRANSFERS; i > 0; i--) {
		struct transfer *x = &t->all[i - 1];

		*x = (struct transfer){.index = (uint16_t)(i - 1), .next = t->free};
		t->free = x->index;
	}
	t->n_free = SPACE_TRANSFERS;
	t->max_writes = SPACE_WRITES_FEW;
}

struct transfer *transfer_get(struct transfers *t, enum transfer_kind kind)
{
	struct transfer *x;

	if (t->free == TRANSFER_NONE || (kind == TRANSFER_WRITE && t->n_writes >= t->max_writes))
		return NULL;
	x = &t->all[t->free];
	t->free = x->next;
	t->n_free--;
	*x = (struct transfer){.index = x->index, .next = TRANSFER_NONE, .kind = kind};
	if (kind == TRANSFER_WRITE)
		t->n_writes++;
	else
		t->n_reads++;
	return x;
}

void transfer_put(struct transfers *t, struct transfer *x)
{
	CHECK(x->kind != TRANSFER_FREE, "transfer %u freed twice", x->index);
	if (x->kind == TRANSFER_WRITE)
		t->n_writes--;
	else
		t->n_reads--;
	x->kind = TRANSFER_FREE;
	x->next = t->free;
	t->free = x->index;
	t->n_free++;
}

int transfer_submit(struct transfer *const *xs, unsigned n)
{
	struct gmm_store_io *ios[SPACE_TRANSFERS];
	struct gmm_store *store = xs[0]->store;

	for (unsigned i = 0; i < n; i++) {
		xs[i]->io.user = xs[i];
		xs[i]->io.next = NULL;
		ios[i] = &xs[i]->io;
	}
	return store->ops->submit(store, ios, n);
}
