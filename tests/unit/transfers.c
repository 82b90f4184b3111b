/* Transfers: so many and no more, some kept for reads. */
#include "store_help.h"

#include "space.h"

START_TEST(there_are_so_many_and_no_more)
{
	struct transfers *t = calloc(1, sizeof(*t));
	struct transfer **had = calloc(SPACE_TRANSFERS, sizeof(*had));
	bool *seen = calloc(SPACE_TRANSFERS, sizeof(*seen));

	transfers_init(t);
	for (unsigned round = 0; round < 3; round++) {
		memset(seen, 0, SPACE_TRANSFERS * sizeof(*seen));
		for (unsigned i = 0; i < SPACE_TRANSFERS; i++) {
			had[i] = transfer_get(t, TRANSFER_READ);
			ck_assert_ptr_nonnull(had[i]);
			ck_assert(!seen[had[i]->index]);
			seen[had[i]->index] = true;
			ck_assert_ptr_eq(&t->all[had[i]->index], had[i]);
		}
		ck_assert_uint_eq(t->n_free, 0);
		ck_assert_uint_eq(t->n_reads, SPACE_TRANSFERS);
		ck_assert_ptr_null(transfer_get(t, TRANSFER_READ));
		ck_assert_ptr_null(transfer_get(t, TRANSFER_WRITE));
		for (unsigned i = 0; i < SPACE_TRANSFERS; i++)
			transfer_put(t, had[(i * 7) % SPACE_TRANSFERS]);
		ck_assert_uint_eq(t->n_free, SPACE_TRANSFERS);
		ck_assert_uint_eq(t->n_reads, 0);
	}
	free(seen);
	free(had);
	free(t);
}
END_TEST

/* However much is written, a fault finds a transfer for its read. */
START_TEST(writes_leave_some_for_reads)
{
	struct transfers *t = calloc(1, sizeof(*t));
	struct transfer *last = NULL, *x;
	unsigned n = 0;

	transfers_init(t);
	while ((x = transfer_get(t, TRANSFER_WRITE))) {
		last = x;
		n++;
	}
	ck_assert_uint_eq(n, t->max_writes);
	ck_assert_uint_lt(n, SPACE_TRANSFERS);
	ck_assert_ptr_nonnull(transfer_get(t, TRANSFER_READ));
	transfer_put(t, last);
	ck_assert_ptr_nonnull(transfer_get(t, TRANSFER_WRITE));
	free(t);
}
END_TEST

/* What was left in a transfer by its last user is gone. */
START_TEST(a_transfer_begins_blank)
{
	struct transfers *t = calloc(1, sizeof(*t));
	struct transfer *x;

	transfers_init(t);
	x = transfer_get(t, TRANSFER_WRITE);
	x->discard = x->again = x->prefetch = x->n_tries = 1;
	x->n_waiters = 5;
	x->io.result = -EIO;
	transfer_put(t, x);
	ck_assert_ptr_eq(transfer_get(t, TRANSFER_READ), x);
	ck_assert_int_eq(x->kind, TRANSFER_READ);
	ck_assert_uint_eq(x->discard + x->again + x->prefetch + x->n_tries + x->n_waiters, 0);
	ck_assert_int_eq(x->io.result, 0);
	free(t);
}
END_TEST

START_TEST(a_batch_reaches_its_store)
{
	struct gmm_store_ram_config config = {.size = sizeof(config), .capacity_bytes = 16 << 20};
	struct transfers *t = calloc(1, sizeof(*t));
	struct transfer *xs[8];
	struct gmm_store *st;
	struct gmm_store_io *io;
	unsigned n = 0;

	ck_assert_int_eq(gmm_store_ram_new(&config, &st), 0);
	transfers_init(t);
	for (unsigned i = 0; i < 8; i++) {
		xs[i] = transfer_get(t, TRANSFER_WRITE);
		xs[i]->store = st;
		xs[i]->io.verb = GMM_STORE_WRITE;
		xs[i]->io.page = help_pages(1);
		help_fill_text(xs[i]->io.page, i);
	}
	ck_assert_int_eq(transfer_submit(xs, 8), 0);
	for (io = st->ops->reap(st); io; io = io->next, n++) {
		struct transfer *x = io->user;

		ck_assert_ptr_eq(&x->io, io);
		ck_assert_int_eq(io->result, 0);
		free(io->page);
	}
	ck_assert_uint_eq(n, 8);
	gmm_store_free(st);
	free(t);
}
END_TEST

UNIT_MAIN("transfers", there_are_so_many_and_no_more, writes_leave_some_for_reads,
	  a_transfer_begins_blank, a_batch_reaches_its_store)
