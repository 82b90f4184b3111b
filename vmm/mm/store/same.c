/* The same store: pages filled with one 32-bit word. The word is the slot: nothing is kept.
 * All other pages are refused, so it stands first in a tier. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/ended.h"
#include "store/store.h"

struct same {
	struct gmm_store base;
	struct ended ended;
	struct gmm_store_stats stats;
};

static struct same *same_of(struct gmm_store *st)
{
	return (struct same *)st;
}

static bool is_filled(const void *page, uint32_t *word)
{
	memcpy(word, page, sizeof(*word));
	/* A page that equals itself moved by a word. */
	return memcmp(page, (const char *)page + sizeof(*word), GMM_PAGE_BYTES - sizeof(*word)) ==
	       0;
}

static void fill(void *page, uint64_t slot)
{
	uint64_t *words = page;

	for (unsigned i = 0; i < GMM_PAGE_BYTES / 8; i++)
		words[i] = slot << 32 | slot;
}

static int same_submit(struct gmm_store *st, struct gmm_store_io *const *ios, unsigned n)
{
	struct same *s = same_of(st);
	uint32_t word;

	for (unsigned i = 0; i < n; i++)
		if (ios[i]->verb == GMM_STORE_READ && ios[i]->slot > UINT32_MAX)
			return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		ios[i]->result = 0;
		if (ios[i]->verb == GMM_STORE_READ) {
			fill(ios[i]->page, ios[i]->slot);
			s->stats.reads++;
		} else if (is_filled(ios[i]->page, &word)) {
			ios[i]->slot = word;
			s->stats.writes++;
			s->stats.n_slots_used++;
		} else {
			ios[i]->slot = GMM_SLOT_NONE;
			ios[i]->result = -E2BIG;
		}
		ended_add(&s->ended, ios[i]);
	}
	return 0;
}

static struct gmm_store_io *same_reap(struct gmm_store *st)
{
	return ended_take(&same_of(st)->ended);
}

static int same_fd(struct gmm_store *st)
{
	(void)st;
	return -1;
}

static void same_release(struct gmm_store *st, const uint64_t *slots, unsigned n)
{
	struct same *s = same_of(st);

	for (unsigned i = 0; i < n; i++)
		if (slots[i] <= UINT32_MAX && s->stats.n_slots_used)
			s->stats.n_slots_used--;
}

static int same_maintain(struct gmm_store *st)
{
	(void)st;
	return 0;
}

static void same_stats(struct gmm_store *st, struct gmm_store_stats *out)
{
	*out = same_of(st)->stats;
	out->fixed_bytes = sizeof(struct same);
	out->flags = GMM_STORE_ASYNC;
}

static void same_free(struct gmm_store *st)
{
	free(same_of(st));
}

const struct gmm_store_ops store_same_ops = {
	.size = sizeof(struct gmm_store_ops),
	.name = "same",
	.submit = same_submit,
	.reap = same_reap,
	.fd = same_fd,
	.release = same_release,
	.maintain = same_maintain,
	.stats = same_stats,
	.free = same_free,
};

int gmm_store_same_new(struct gmm_store **out)
{
	struct same *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->base.ops = &store_same_ops;
	ended_init(&s->ended);
	*out = &s->base;
	return 0;
}
