/* Write-back of a tier: a level's coldest pages, those stored first, go to a level below.
 *
 * It begins when a level refused a page, or says that less than a 32nd of its capacity is left, and
 * goes on until a 16th is. The pages are read into buffers, a few for each call, since a store in
 * memory unpacks them on the spot and a fault may be waiting; then all are handed down at once.
 * There is one write-back at a time. A page is read from its old place until it has a new one: an
 * error leaves it where it was.
 */
#include <errno.h>
#include <stdlib.h>

#include "store/tier.h"

/* Pages read for one call: some 20 us of unpacking. */
#define STEP	    8u
#define DRAIN_BELOW 32u /* parts of the capacity */
#define DRAIN_UP_TO 16u

int tier_back_init(struct tier_back *b)
{
	ended_init(&b->gathered);
	b->buffers = aligned_alloc(GMM_PAGE_BYTES, TIER_MOVES * GMM_PAGE_BYTES);
	return b->buffers ? 0 : -ENOMEM;
}

void tier_back_fini(struct tier_back *b)
{
	free(b->buffers);
	b->buffers = NULL;
}

/* Does the level want pages to be written back? */
static bool wants(struct level *l)
{
	struct gmm_store_stats stats = {0};

	if (!l->fills || !queue_pages(&l->queue, TIER_QUEUE))
		return false;
	if (l->full)
		return true;
	if (l->stuck)
		return false;
	l->st->ops->stats(l->st, &stats);
	l->draining =
		stats.room_bytes < stats.capacity_bytes / (l->draining ? DRAIN_UP_TO : DRAIN_BELOW);
	return l->draining;
}

static bool find_level(struct tier *t, unsigned *level)
{
	for (unsigned i = 0; i + 1 < t->n; i++) {
		if (!wants(&t->levels[i]))
			continue;
		*level = i;
		return true;
	}
	return false;
}

bool tier_back_gather(struct tier *t)
{
	struct tier_back *b = &t->back;
	struct gmm_store_io *ios[STEP];
	unsigned n = 0;
	uint64_t handle;

	if (!b->n_moving && !b->gathering) {
		if (!find_level(t, &b->level))
			return false;
		t->levels[b->level].full = false;
		b->n_begun = 0;
		b->gathering = true;
	}
	if (!b->gathering)
		return false;
	while (n < STEP && b->n_begun < TIER_MOVES &&
	       queue_pop(&t->levels[b->level].queue, TIER_QUEUE, &handle)) {
		struct tier_io *tio = &b->moves[b->n_begun];

		t->handles.all[handle].state = HANDLE_MOVING;
		*tio = (struct tier_io){.handle = handle, .level = b->level};
		tio->sub.verb = GMM_STORE_READ;
		tio->sub.slot = t->handles.all[handle].slot;
		tio->sub.page = b->buffers + (size_t)b->n_begun++ * GMM_PAGE_BYTES;
		ios[n++] = &tio->sub;
	}
	b->n_moving += n;
	b->gathering = n == STEP && b->n_begun < TIER_MOVES;
	if (n)
		tier_hand_down(t, b->level, ios, n);
	return b->gathering;
}

static void move_end(struct tier *t, struct tier_io *tio, bool moved)
{
	struct handle *h = &t->handles.all[tio->handle];

	t->back.n_moving--;
	if (h->state == HANDLE_DEAD) {
		tier_release_at(t, h->level, h->slot);
		if (moved)
			tier_release_at(t, tio->level, tio->sub.slot);
		handles_put(&t->handles, tio->handle);
		return;
	}
	h->state = HANDLE_LIVE;
	if (moved) {
		tier_release_at(t, h->level, h->slot);
		h->level = tio->level & 3u;
		h->slot = tio->sub.slot & GMM_SLOT_NONE;
	} else if (tio->sub.verb == GMM_STORE_WRITE) {
		t->levels[h->level].stuck = true;
	}
	/* A page that cannot be read stays where it is: its owner will be told. */
	if (t->levels[h->level].fills && (moved || tio->sub.verb == GMM_STORE_WRITE))
		queue_push(&t->levels[h->level].queue, TIER_QUEUE, tio->handle);
}

bool tier_back_forward(struct tier *t)
{
	struct tier_back *b = &t->back;
	struct gmm_store_io *list, *next;
	struct ended down;

	if (b->gathering || !b->n_gathered || b->n_gathered < b->n_moving)
		return false;
	ended_init(&down);
	b->n_gathered = 0;
	for (list = ended_take(&b->gathered); list; list = next) {
		struct tier_io *tio = (struct tier_io *)list;

		next = list->next;
		if (t->handles.all[tio->handle].state == HANDLE_DEAD) {
			move_end(t, tio, false);
			continue;
		}
		tio->sub.verb = GMM_STORE_WRITE;
		ended_add(&down, &tio->sub);
	}
	tier_hand_down_list(t, b->level + 1, down.head);
	return true;
}

bool tier_back_ended(struct tier *t, struct tier_io *tio)
{
	int result = tio->sub.result;

	if (tio->sub.verb == GMM_STORE_READ) {
		if (result) {
			move_end(t, tio, false);
		} else {
			ended_add(&t->back.gathered, &tio->sub);
			t->back.n_gathered++;
		}
		return false;
	}
	if (result == -ENOSPC && t->levels[tio->level].fills)
		t->levels[tio->level].full = true;
	if (result && tio->level + 1 < t->n)
		return true;
	move_end(t, tio, result == 0);
	return false;
}
