/* A store with a gate: while it is shut, reads that were begun do not end. Pages are kept in
 * memory; writes end at once. The test opens the gate, and may let the read that came last fail. */
#ifndef TESTS_FAULT_GATE_H
#define TESTS_FAULT_GATE_H

#include <check.h>
#include <guestmm/store.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define GATE_SLOTS 16384u

struct gate {
	struct gmm_store base;
	int fd;
	atomic_bool is_shut;
	struct gmm_store_io *failing;	    /* one of reads[], and */
	int error;			    /* how it fails */
	_Atomic unsigned n_held, n_most;    /* reads that wait at the gate; that did at once */
	struct gmm_store_io *reads, *ended; /* the last one first; the space's lock guards these */
	void *pages[GATE_SLOTS];
	uint64_t next;
};

static inline void gate_wake(struct gate *g)
{
	eventfd_write(g->fd, 1);
}

static inline void gate_push(struct gmm_store_io **list, struct gmm_store_io *io)
{
	io->next = *list;
	*list = io;
}

static inline void gate_write(struct gate *g, struct gmm_store_io *io)
{
	while (g->pages[g->next % GATE_SLOTS])
		g->next++;
	io->slot = g->next % GATE_SLOTS;
	io->result = 0;
	g->pages[io->slot] = memcpy(malloc(GMM_PAGE_BYTES), io->page, GMM_PAGE_BYTES);
	gate_push(&g->ended, io);
}

static int gate_submit(struct gmm_store *st, struct gmm_store_io *const *ios, unsigned n)
{
	struct gate *g = (struct gate *)st;

	for (unsigned i = 0; i < n; i++) {
		if (ios[i]->verb == GMM_STORE_WRITE) {
			gate_write(g, ios[i]);
		} else {
			gate_push(&g->reads, ios[i]);
			if (++g->n_held > g->n_most)
				g->n_most = g->n_held;
		}
	}
	gate_wake(g);
	return 0;
}

static struct gmm_store_io *gate_reap(struct gmm_store *st)
{
	struct gate *g = (struct gate *)st;
	struct gmm_store_io *io = g->is_shut ? NULL : g->reads, *next;
	eventfd_t n;

	eventfd_read(g->fd, &n);
	for (; io; io = next) {
		next = io->next;
		io->result = io == g->failing ? g->error : 0;
		if (!io->result)
			memcpy(io->page, g->pages[io->slot], GMM_PAGE_BYTES);
		gate_push(&g->ended, io);
		g->n_held--;
		g->reads = next;
	}
	if (!g->reads)
		g->failing = NULL;
	io = g->ended;
	g->ended = NULL;
	return io;
}

static int gate_fd(struct gmm_store *st)
{
	return ((struct gate *)st)->fd;
}

static void gate_release(struct gmm_store *st, const uint64_t *slots, unsigned n)
{
	struct gate *g = (struct gate *)st;

	for (unsigned i = 0; i < n; i++) {
		free(g->pages[slots[i]]);
		g->pages[slots[i]] = NULL;
	}
}

static int gate_maintain(struct gmm_store *st)
{
	(void)st;
	return 0;
}

static void gate_stats(struct gmm_store *st, struct gmm_store_stats *out)
{
	(void)st;
	*out = (struct gmm_store_stats){.flags = GMM_STORE_ASYNC};
}

static void gate_free(struct gmm_store *st)
{
	struct gate *g = (struct gate *)st;

	for (unsigned i = 0; i < GATE_SLOTS; i++)
		free(g->pages[i]);
	close(g->fd);
	free(g);
}

static inline struct gate *gate_new(void)
{
	static const struct gmm_store_ops ops = {
		.size = sizeof(struct gmm_store_ops),
		.name = "gate",
		.submit = gate_submit,
		.reap = gate_reap,
		.fd = gate_fd,
		.release = gate_release,
		.maintain = gate_maintain,
		.stats = gate_stats,
		.free = gate_free,
	};
	struct gate *g = calloc(1, sizeof(*g));

	g->base.ops = &ops;
	g->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return g;
}

static inline void gate_shut(struct gate *g)
{
	g->is_shut = true;
}

static inline void gate_open(struct gate *g)
{
	g->is_shut = false;
	gate_wake(g);
}

/* While it is shut, and nobody reads. */
static inline void gate_fail_last(struct gate *g, int error)
{
	g->error = error;
	g->failing = g->reads;
}

#endif
