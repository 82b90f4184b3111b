/* Helpers of the stores' tests: pages with known content, operations waited for. */
#ifndef TESTS_STORE_HELP_H
#define TESTS_STORE_HELP_H

#include <guestmm/store.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

/* A page that nothing compresses, different for each seed. */
static inline void help_fill_noise(void *page, uint64_t seed)
{
	uint64_t *words = page;

	for (unsigned i = 0; i < GMM_PAGE_BYTES / 8; i++) {
		seed += UINT64_C(0x9e3779b97f4a7c15);
		words[i] = (seed ^ (seed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
		words[i] ^= words[i] >> 27;
	}
}

/* A page that compresses to about half. */
static inline void help_fill_text(void *page, uint64_t seed)
{
	help_fill_noise(page, seed);
	memset((char *)page + GMM_PAGE_BYTES / 2, (int)(seed & 0x7f), GMM_PAGE_BYTES / 2);
}

static inline void *help_pages(unsigned n)
{
	void *pages = aligned_alloc(GMM_PAGE_BYTES, n * GMM_PAGE_BYTES);

	ck_assert_ptr_nonnull(pages);
	return pages;
}

static inline void help_wait_readable(struct gmm_store *st)
{
	struct pollfd pfd = {.fd = st->ops->fd(st), .events = POLLIN};

	if (pfd.fd >= 0)
		ck_assert_int_eq(poll(&pfd, 1, 20000), 1);
}

/* Waits for n operations to end. */
static inline void help_wait(struct gmm_store *st, unsigned n)
{
	while (n) {
		struct gmm_store_io *io;

		help_wait_readable(st);
		for (io = st->ops->reap(st); io; io = io->next) {
			ck_assert_uint_gt(n, 0);
			n--;
		}
	}
}

/* Writes n pages in one go, fills slots[]; returns the number of those that failed. */
static inline unsigned help_write(struct gmm_store *st, void *pages, unsigned n, uint64_t *slots,
				  int *error)
{
	struct gmm_store_io *ios = calloc(n, sizeof(*ios));
	struct gmm_store_io **list = calloc(n, sizeof(*list));
	unsigned n_failed = 0;

	for (unsigned i = 0; i < n; i++) {
		ios[i].verb = GMM_STORE_WRITE;
		ios[i].page = (char *)pages + i * GMM_PAGE_BYTES;
		ios[i].result = 1;
		list[i] = &ios[i];
	}
	ck_assert_int_eq(st->ops->submit(st, list, n), 0);
	help_wait(st, n);
	for (unsigned i = 0; i < n; i++) {
		slots[i] = ios[i].slot;
		ck_assert_int_le(ios[i].result, 0);
		if (ios[i].result) {
			n_failed++;
			if (error)
				*error = ios[i].result;
		}
	}
	free(list);
	free(ios);
	return n_failed;
}

/* Reads n pages in one go; results[i] is how each ended. */
static inline void help_read(struct gmm_store *st, void *pages, unsigned n, const uint64_t *slots,
			     int *results)
{
	struct gmm_store_io *ios = calloc(n, sizeof(*ios));
	struct gmm_store_io **list = calloc(n, sizeof(*list));

	for (unsigned i = 0; i < n; i++) {
		ios[i].verb = GMM_STORE_READ;
		ios[i].page = (char *)pages + i * GMM_PAGE_BYTES;
		ios[i].slot = slots[i];
		list[i] = &ios[i];
	}
	ck_assert_int_eq(st->ops->submit(st, list, n), 0);
	help_wait(st, n);
	for (unsigned i = 0; i < n; i++)
		results[i] = ios[i].result;
	free(list);
	free(ios);
}

static inline struct gmm_store_stats help_stats(struct gmm_store *st)
{
	struct gmm_store_stats stats;

	st->ops->stats(st, &stats);
	return stats;
}

#endif
