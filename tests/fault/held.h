/* A store whose operations end when the test says so: for what happens to a page while a transfer
 * of it is under way. */
#ifndef TESTS_FAULT_HELD_H
#define TESTS_FAULT_HELD_H

#include <guestmm/store.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "unit.h"

struct held {
	struct gmm_store base;
	struct gmm_store *under; /* ends everything inside submit() */
	int fd;
	atomic_bool holds;	       /* nothing ends while this is so */
	atomic_uint n_reads, n_writes; /* that wait for their end */
	struct gmm_store_io *first;
};

static int held_submit(struct gmm_store *st, struct gmm_store_io *const *ios, unsigned n)
{
	struct held *h = (struct held *)st;
	struct gmm_store_io *io, *next;
	int ret = h->under->ops->submit(h->under, ios, n);

	for (io = ret ? NULL : h->under->ops->reap(h->under); io; io = next) {
		next = io->next;
		io->next = h->first;
		h->first = io;
		atomic_fetch_add(io->verb == GMM_STORE_READ ? &h->n_reads : &h->n_writes, 1);
	}
	if (!h->holds)
		eventfd_write(h->fd, 1);
	return ret;
}

static struct gmm_store_io *held_reap(struct gmm_store *st)
{
	struct held *h = (struct held *)st;
	struct gmm_store_io *list = h->holds ? NULL : h->first;
	eventfd_t n;

	if (list) {
		eventfd_read(h->fd, &n);
		h->first = NULL;
		h->n_reads = h->n_writes = 0;
	}
	return list;
}

static int held_fd(struct gmm_store *st)
{
	return ((struct held *)st)->fd;
}

static void held_release(struct gmm_store *st, const uint64_t *slots, unsigned n)
{
	struct held *h = (struct held *)st;

	h->under->ops->release(h->under, slots, n);
}

static bool held_holds(struct gmm_store *st, uint64_t slot, const void *page)
{
	struct held *h = (struct held *)st;

	return h->under->ops->holds(h->under, slot, page);
}

static int held_maintain(struct gmm_store *st)
{
	struct held *h = (struct held *)st;

	return h->under->ops->maintain(h->under);
}

static void held_stats(struct gmm_store *st, struct gmm_store_stats *out)
{
	struct held *h = (struct held *)st;

	h->under->ops->stats(h->under, out);
}

static void held_free(struct gmm_store *st)
{
	struct held *h = (struct held *)st;

	gmm_store_free(h->under);
	close(h->fd);
	free(h);
}

static const struct gmm_store_ops held_ops = {
	.size = sizeof(struct gmm_store_ops),
	.name = "held",
	.submit = held_submit,
	.reap = held_reap,
	.fd = held_fd,
	.release = held_release,
	.maintain = held_maintain,
	.holds = held_holds,
	.stats = held_stats,
	.free = held_free,
};

static inline struct held *held_new(uint64_t capacity)
{
	struct gmm_store_file_config file = {.size = sizeof(file),
					     .capacity_bytes = capacity,
					     .no_uring = true,
					     .no_direct = true};
	struct held *h = calloc(1, sizeof(*h));

	ck_assert_int_eq(gmm_store_file_new(&file, &h->under), 0);
	h->base.ops = &held_ops;
	h->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_ge(h->fd, 0);
	return h;
}

static inline void held_let_go(struct held *h)
{
	h->holds = false;
	eventfd_write(h->fd, 1);
}

#endif
