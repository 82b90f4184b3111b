/* The tier store: a chain of stores, fastest first.
 *
 * A write is offered to one level after the other until one takes it. When a level is full, or
 * nearly so, its coldest pages are written to a level below (tier_back.c), so that new pages find
 * room. Those that find none pass by.
 *
 * Slots. A page on a level from which nothing is written back keeps its place: its slot is
 * "level, slot there" and costs nothing here. Others get a handle (handles.h) that follows the
 * page. A write-back in flight and the page's owner:
 *   read      is served from the old place, which is released only when the new one is known;
 *             the stores below let reads under way finish
 *   release   marks the handle DEAD; the write-back's end releases both places
 *
 * The stores below are used by nobody else. One that does not accept more operations now is
 * waited for: with what is let in here (MAX_UNDER_WAY) the built-in ones always accept.
 */
#include "store/tier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_UNDER_WAY 4096u
/* Operations handed down in one go. */
#define CHUNK 256u

#define HANDLE_BIT	 (UINT64_C(1) << (GMM_SLOT_BITS - 1))
#define DIRECT_SLOT_BITS (GMM_SLOT_BITS - 3)
#define DIRECT_SLOT_MASK ((UINT64_C(1) << DIRECT_SLOT_BITS) - 1)

static struct tier *tier_of(struct gmm_store *st)
{
	return (struct tier *)st;
}

void tier_release_at(struct tier *t, unsigned level, uint64_t slot)
{
	struct gmm_store *st = t->levels[level].st;

	st->ops->release(st, &slot, 1);
}

/* Hands n operations to a level. What it refuses altogether has ended with its error. */
void tier_hand_down(struct tier *t, unsigned level, struct gmm_store_io **ios, unsigned n)
{
	struct level *l = &t->levels[level];
	int error;

	while ((error = l->st->ops->submit(l->st, ios, n)) == -EAGAIN) {
		struct gmm_store_io *list, *next;

		waker_wait(l->st);
		for (list = l->st->ops->reap(l->st); list; list = next) {
			next = list->next;
			ended_add(&l->stash, list);
		}
	}
	for (unsigned i = 0; error && i < n; i++) {
		ios[i]->result = error;
		ended_add(&l->stash, ios[i]);
	}
}

void tier_hand_down_list(struct tier *t, unsigned level, struct gmm_store_io *list)
{
	struct gmm_store_io *ios[CHUNK];

	while (list) {
		unsigned n = 0;

		for (; list && n < CHUNK; list = list->next) {
			((struct tier_io *)list)->level = level;
			ios[n++] = list;
		}
		tier_hand_down(t, level, ios, n);
	}
}

static void give_back(struct tier *t, struct tier_io *tio, int result)
{
	struct gmm_store_io *io = tio->io;

	io->result = result;
	if (io->verb == GMM_STORE_WRITE && result)
		io->slot = GMM_SLOT_NONE;
	if (result)
		t->n_errors++;
	ended_add(&t->ended, io);
	tio->next_free = t->free;
	t->free = tio;
	t->n_free++;
	t->n_under_way--;
}

/* A level took a caller's page: gives it a name. */
static void name_page(struct tier *t, struct tier_io *tio)
{
	struct level *l = &t->levels[tio->level];
	uint64_t slot = tio->sub.slot, handle;

	if (!l->fills && slot <= DIRECT_SLOT_MASK) {
		tio->io->slot = (uint64_t)tio->level << DIRECT_SLOT_BITS | slot;
	} else if (handles_get(&t->handles, tio->level, slot, &handle)) {
		tio->io->slot = HANDLE_BIT | handle;
		if (l->fills)
			queue_push(&l->queue, TIER_QUEUE, handle);
	} else {
		tier_release_at(t, tio->level, slot);
		give_back(t, tio, -ENOSPC);
		return;
	}
	give_back(t, tio, 0);
}

/* Looks at a caller's write that has ended on its level. True: on to the next level. */
static bool write_ended(struct tier *t, struct tier_io *tio)
{
	struct level *l = &t->levels[tio->level];
	int result = tio->sub.result;

	if (!result) {
		name_page(t, tio);
		return false;
	}
	if (result == -ENOSPC && l->fills)
		l->full = true;
	if (result != -E2BIG)
		tio->error = result;
	if (tio->level + 1 < t->n)
		return true;
	give_back(t, tio, tio->error ? tio->error : -ENOSPC);
	return false;
}

/* Takes in what has ended on one level. True: something had. */
static bool collect_level(struct tier *t, unsigned level)
{
	struct level *l = &t->levels[level];
	struct gmm_store_io *list, *next;
	struct ended down;
	bool any = false;

	ended_init(&down);
	*l->stash.tail = l->st->ops->reap(l->st);
	for (list = ended_take(&l->stash); list; list = next) {
		struct tier_io *tio = (struct tier_io *)list;
		bool forward;

		next = list->next;
		any = true;
		if (!tio->io) {
			forward = tier_back_ended(t, tio);
		} else if (tio->sub.verb == GMM_STORE_WRITE) {
			forward = write_ended(t, tio);
		} else {
			give_back(t, tio, tio->sub.result);
			forward = false;
		}
		if (forward)
			ended_add(&down, &tio->sub);
	}
	if (down.head)
		tier_hand_down_list(t, level + 1, down.head);
	return any;
}

static void collect(struct tier *t)
{
	bool any;

	do {
		any = false;
		for (unsigned level = 0; level < t->n; level++)
			any |= collect_level(t, level);
	} while (any);
}

/* All that can go on without waiting, and of a write-back a few pages: the caller has others to
 * serve, and comes back, as fd() tells it to. Without a descriptor all ends here. */
static void advance(struct tier *t)
{
	bool more;

	do {
		more = tier_back_gather(t);
		collect(t);
		while (tier_back_forward(t))
			collect(t);
	} while (more && t->waker.event_fd < 0);
	if (more)
		waker_set(&t->waker);
}

static bool grow(struct tier *t, unsigned n)
{
	while (t->n_free < n) {
		struct tier_chunk *chunk = calloc(1, sizeof(*chunk));

		if (!chunk)
			return false;
		chunk->next = t->chunks;
		t->chunks = chunk;
		for (unsigned i = 0; i < sizeof(chunk->ios) / sizeof(chunk->ios[0]); i++) {
			chunk->ios[i].next_free = t->free;
			t->free = &chunk->ios[i];
			t->n_free++;
		}
	}
	return true;
}

/* Where a page is. False: the slot names none. */
static bool find(struct tier *t, uint64_t slot, unsigned *level, uint64_t *at)
{
	const struct handle *h;

	if (slot >= HANDLE_BIT) {
		h = handles_find(&t->handles, slot & ~HANDLE_BIT);
		if (!h)
			return false;
		*level = h->level;
		*at = h->slot;
		return true;
	}
	*level = (unsigned)(slot >> DIRECT_SLOT_BITS);
	*at = slot & DIRECT_SLOT_MASK;
	return *level < t->n && !t->levels[*level].fills;
}

static struct tier_io *wrap(struct tier *t, struct gmm_store_io *io)
{
	struct tier_io *tio = t->free;

	t->free = tio->next_free;
	t->n_free--;
	t->n_under_way++;
	*tio = (struct tier_io){.io = io};
	tio->sub.verb = io->verb;
	tio->sub.page = io->page;
	if (io->verb == GMM_STORE_READ)
		find(t, io->slot, &tio->level, &tio->sub.slot);
	return tio;
}

static int tier_submit(struct gmm_store *st, struct gmm_store_io *const *ios, unsigned n)
{
	struct tier *t = tier_of(st);
	struct ended lists[TIER_LEVELS_MAX];
	unsigned level;
	uint64_t at;

	if (t->n_under_way && t->n_under_way + n > MAX_UNDER_WAY)
		return -EAGAIN;
	for (unsigned i = 0; i < n; i++)
		if (ios[i]->verb == GMM_STORE_READ && !find(t, ios[i]->slot, &level, &at))
			return -EINVAL;
	if (!grow(t, n))
		return -ENOMEM;
	for (level = 0; level < TIER_LEVELS_MAX; level++)
		ended_init(&lists[level]);
	for (unsigned i = 0; i < n; i++) {
		struct tier_io *tio = wrap(t, ios[i]);

		ended_add(&lists[tio->level], &tio->sub);
	}
	for (level = 0; level < t->n; level++)
		tier_hand_down_list(t, level, lists[level].head);
	advance(t);
	if (t->ended.head)
		waker_set(&t->waker);
	return 0;
}

static struct gmm_store_io *tier_reap(struct gmm_store *st)
{
	struct tier *t = tier_of(st);

	waker_clear(&t->waker);
	advance(t);
	return ended_take(&t->ended);
}

static int tier_fd(struct gmm_store *st)
{
	return tier_of(st)->waker.epoll_fd;
}

static void release_handle(struct tier *t, uint64_t handle)
{
	struct handle *h = handles_find(&t->handles, handle);

	if (!h)
		return;
	if (h->state == HANDLE_MOVING) {
		h->state = HANDLE_DEAD;
		return;
	}
	if (t->levels[h->level].fills)
		queue_drop(&t->levels[h->level].queue, handle);
	tier_release_at(t, h->level, h->slot);
	handles_put(&t->handles, handle);
}

static void tier_release(struct gmm_store *st, const uint64_t *slots, unsigned n)
{
	struct tier *t = tier_of(st);
	unsigned level;
	uint64_t at;

	for (unsigned i = 0; i < t->n; i++)
		t->levels[i].stuck = false; /* there may be room below again */
	for (unsigned i = 0; i < n; i++) {
		if (slots[i] >= HANDLE_BIT)
			release_handle(t, slots[i] & ~HANDLE_BIT);
		else if (find(t, slots[i], &level, &at))
			tier_release_at(t, level, at);
	}
}

static int tier_maintain(struct gmm_store *st)
{
	struct tier *t = tier_of(st);
	int result = 0;

	for (unsigned i = 0; i < t->n; i++)
		if (t->levels[i].st->ops->maintain(t->levels[i].st) == -EAGAIN)
			result = -EAGAIN;
	return result;
}

static uint64_t own_metadata_bytes(const struct tier *t)
{
	uint64_t bytes = t->handles.n_touched * sizeof(struct handle);

	for (const struct tier_chunk *chunk = t->chunks; chunk; chunk = chunk->next)
		bytes += sizeof(*chunk);
	for (unsigned i = 0; i < t->n; i++)
		if (t->levels[i].fills)
			bytes += queue_ring_bytes(&t->levels[i].queue) + t->handles.n_touched / 2;
	return bytes;
}

static void tier_stats(struct gmm_store *st, struct gmm_store_stats *out)
{
	struct tier *t = tier_of(st);

	*out = (struct gmm_store_stats){
		.errors = t->n_errors,
		.metadata_bytes = own_metadata_bytes(t),
		.fixed_bytes = sizeof(*t) + TIER_MOVES * GMM_PAGE_BYTES,
		.flags = GMM_STORE_ASYNC,
	};
	for (unsigned i = 0; i < t->n; i++) {
		struct gmm_store_stats level;

		t->levels[i].st->ops->stats(t->levels[i].st, &level);
		out->reads += level.reads;
		out->writes += level.writes;
		out->read_bytes += level.read_bytes;
		out->written_bytes += level.written_bytes;
		out->n_slots_used += level.n_slots_used;
		out->metadata_bytes += level.metadata_bytes;
		out->fixed_bytes += level.fixed_bytes;
		out->held_bytes += level.held_bytes;
		out->flags = (out->flags & level.flags & GMM_STORE_ASYNC) |
			     ((out->flags | level.flags) & ~GMM_STORE_ASYNC);
	}
	if (out->flags & GMM_STORE_PLAIN)
		out->flags &= ~GMM_STORE_ENCRYPTED;
}

static void wait_for_all(struct tier *t)
{
	advance(t);
	while (t->n_under_way || t->back.n_moving) {
		waker_wait(&t->base);
		waker_clear(&t->waker);
		advance(t);
	}
}

static void free_own(struct tier *t)
{
	for (unsigned i = 0; i < t->n; i++)
		queue_fini(&t->levels[i].queue);
	while (t->chunks) {
		struct tier_chunk *next = t->chunks->next;

		free(t->chunks);
		t->chunks = next;
	}
	handles_fini(&t->handles);
	waker_fini(&t->waker);
	tier_back_fini(&t->back);
	free(t);
}

static void tier_free(struct gmm_store *st)
{
	struct tier *t = tier_of(st);

	wait_for_all(t);
	for (unsigned i = 0; i < t->n; i++)
		gmm_store_free(t->levels[i].st);
	free_own(t);
}

static const struct gmm_store_ops tier_ops = {
	.size = sizeof(struct gmm_store_ops),
	.name = "tier",
	.submit = tier_submit,
	.reap = tier_reap,
	.fd = tier_fd,
	.release = tier_release,
	.maintain = tier_maintain,
	.stats = tier_stats,
	.free = tier_free,
};

static int make_level(struct tier *t, unsigned i, struct gmm_store *st)
{
	struct level *l = &t->levels[i];

	l->st = st;
	ended_init(&l->stash);
	/* `same` cannot fill up, and below the last level there is nothing. */
	l->fills = i + 1 < t->n && st->ops != &store_same_ops;
	return l->fills ? queue_init(&l->queue, HANDLES_MAX) : 0;
}

static int make_insides(struct tier *t, struct gmm_store *const *stores)
{
	int error = handles_init(&t->handles);

	for (unsigned i = 0; i < t->n && !error; i++)
		error = make_level(t, i, stores[i]);
	if (error)
		return error;
	error = tier_back_init(&t->back);
	return error ? error : waker_init(&t->waker, stores, t->n);
}

int gmm_store_tier_new(struct gmm_store *const *stores, unsigned n, struct gmm_store **out)
{
	struct tier *t;
	int error;

	if (n < 2 || n > TIER_LEVELS_MAX)
		return -EINVAL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->base.ops = &tier_ops;
	t->n = n;
	t->waker.epoll_fd = t->waker.event_fd = -1;
	ended_init(&t->ended);
	error = make_insides(t, stores);
	if (error) {
		free_own(t);
		return error;
	}
	*out = &t->base;
	return 0;
}
