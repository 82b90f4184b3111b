/* A store for tests that ends what it is given late and in random order, refuses more
 * than it likes now and then, and holds only so many pages. */
#ifndef TESTS_STORE_SLOW_H
#define TESTS_STORE_SLOW_H

#include <errno.h>
#include <guestmm/store.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "unit.h"

#define SLOW_PENDING 256u

struct slow {
	struct gmm_store base;
	int fd; /* stays readable: something always ends in the end */
	uint64_t random;
	unsigned n_slots, n_used;
	void **pages; /* by slot, NULL: free */
	unsigned n_pending;
	struct gmm_store_io *pending[SLOW_PENDING];
	void *snapshots[SLOW_PENDING]; /* what a read will return */
};

static inline uint64_t slow_random(struct slow *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return s->random >> 8;
}

static inline void *slow_copy(const void *page)
{
	return memcpy(malloc(GMM_PAGE_BYTES), page, GMM_PAGE_BYTES);
}

static int slow_submit(struct gmm_store *st, struct gmm_store_io *const *ios, unsigned n)
{
	struct slow *s = (struct slow *)st;

	if (s->n_pending + n > SLOW_PENDING || (s->n_pending && slow_random(s) % 8 == 0))
		return -EAGAIN;
	for (unsigned i = 0; i < n; i++) {
		if (ios[i]->verb == GMM_STORE_READ &&
		    (ios[i]->slot >= s->n_slots || !s->pages[ios[i]->slot]))
			return -EINVAL;
	}
	for (unsigned i = 0; i < n; i++) {
		s->snapshots[s->n_pending] =
			ios[i]->verb == GMM_STORE_READ ? slow_copy(s->pages[ios[i]->slot]) : NULL;
		s->pending[s->n_pending++] = ios[i];
	}
	return 0;
}

static inline void slow_end(struct slow *s, struct gmm_store_io *io, void *snapshot)
{
	io->result = 0;
	if (io->verb == GMM_STORE_READ) {
		memcpy(io->page, snapshot, GMM_PAGE_BYTES);
		free(snapshot);
		return;
	}
	io->slot = GMM_SLOT_NONE;
	io->result = -ENOSPC;
	for (unsigned i = 0; i < s->n_slots; i++) {
		if (s->pages[i])
			continue;
		s->pages[i] = slow_copy(io->page);
		s->n_used++;
		io->slot = i;
		io->result = 0;
		return;
	}
}

static struct gmm_store_io *slow_reap(struct gmm_store *st)
{
	struct slow *s = (struct slow *)st;
	struct gmm_store_io *list = NULL;
	unsigned n = (unsigned)(slow_random(s) % 6);

	while (s->n_pending && n--) {
		unsigned at = (unsigned)(slow_random(s) % s->n_pending);
		struct gmm_store_io *io = s->pending[at];

		slow_end(s, io, s->snapshots[at]);
		s->pending[at] = s->pending[--s->n_pending];
		s->snapshots[at] = s->snapshots[s->n_pending];
		io->next = list;
		list = io;
	}
	return list;
}

static int slow_fd(struct gmm_store *st)
{
	return ((struct slow *)st)->fd;
}

static void slow_release(struct gmm_store *st, const uint64_t *slots, unsigned n)
{
	struct slow *s = (struct slow *)st;

	for (unsigned i = 0; i < n; i++) {
		if (slots[i] >= s->n_slots || !s->pages[slots[i]])
			continue;
		free(s->pages[slots[i]]);
		s->pages[slots[i]] = NULL;
		s->n_used--;
	}
}

static int slow_maintain(struct gmm_store *st)
{
	(void)st;
	return 0;
}

static void slow_stats(struct gmm_store *st, struct gmm_store_stats *out)
{
	*out = (struct gmm_store_stats){.n_slots_used = ((struct slow *)st)->n_used};
}

static void slow_free(struct gmm_store *st)
{
	struct slow *s = (struct slow *)st;

	while (s->n_pending)
		free(s->snapshots[--s->n_pending]);
	for (unsigned i = 0; i < s->n_slots; i++)
		free(s->pages[i]);
	free(s->pages);
	close(s->fd);
	free(s);
}

static const struct gmm_store_ops slow_ops = {
	.size = sizeof(struct gmm_store_ops),
	.name = "slow",
	.submit = slow_submit,
	.reap = slow_reap,
	.fd = slow_fd,
	.release = slow_release,
	.maintain = slow_maintain,
	.stats = slow_stats,
	.free = slow_free,
};

static inline struct gmm_store *slow_new(unsigned n_slots, uint64_t seed)
{
	struct slow *s = calloc(1, sizeof(*s));

	s->base.ops = &slow_ops;
	s->n_slots = n_slots;
	s->pages = calloc(n_slots, sizeof(*s->pages));
	s->random = seed * 2 + 1;
	s->fd = eventfd(1, EFD_CLOEXEC);
	return &s->base;
}

#endif
