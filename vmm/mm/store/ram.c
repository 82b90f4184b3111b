/* The ram store: lz4-compressed pages in this process's memory.
 *
 * All is done inside submit(). A page that does not shrink below three quarters is refused with
 * -E2BIG: it would not pay. A slot is the name of an object in the spans (spans.h).
 */
#include <errno.h>
#include <lz4.h>
#include <stdlib.h>

#include "store/ended.h"
#include "store/spans.h"

#define MIN_CAPACITY (UINT64_C(1) << 20)
#define WORTH_BYTES  ((int)(SPAN_OBJECT_MAX - SPAN_HEAD_BYTES))
/* Free spans given back in one maintain(), 2 MiB: some hundred microseconds. */
#define TRIM_SPANS 64u

struct ram {
	struct gmm_store base;
	struct ended ended;
	struct spans spans;
	struct gmm_store_stats stats;
	void *lz4_state;
	char buffer[SPAN_OBJECT_MAX];
};

static struct ram *ram_of(struct gmm_store *st)
{
	return (struct ram *)st;
}

static int ram_write(struct ram *r, struct gmm_store_io *io)
{
	int bytes = LZ4_compress_fast_extState(r->lz4_state, io->page, r->buffer,
					       (int)GMM_PAGE_BYTES, WORTH_BYTES, 1);
	uint64_t name;

	io->slot = GMM_SLOT_NONE;
	if (bytes <= 0)
		return -E2BIG;
	name = spans_add(&r->spans, r->buffer, (unsigned)bytes);
	if (name == SPAN_NO_OBJECT)
		return -ENOSPC;
	io->slot = name;
	r->stats.writes++;
	r->stats.written_bytes += (unsigned)bytes;
	r->stats.n_slots_used++;
	return 0;
}

static int ram_read(struct ram *r, struct gmm_store_io *io)
{
	unsigned bytes;
	const void *contents = spans_get(&r->spans, io->slot, &bytes);

	if (LZ4_decompress_safe(contents, io->page, (int)bytes, (int)GMM_PAGE_BYTES) !=
	    (int)GMM_PAGE_BYTES)
		return -EBADMSG;
	r->stats.reads++;
	r->stats.read_bytes += bytes;
	return 0;
}

static int ram_submit(struct gmm_store *st, struct gmm_store_io *const *ios, unsigned n)
{
	struct ram *r = ram_of(st);
	unsigned bytes;

	for (unsigned i = 0; i < n; i++)
		if (ios[i]->verb == GMM_STORE_READ && !spans_get(&r->spans, ios[i]->slot, &bytes))
			return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		ios[i]->result =
			ios[i]->verb == GMM_STORE_READ ? ram_read(r, ios[i]) : ram_write(r, ios[i]);
		if (ios[i]->result && ios[i]->result != -E2BIG)
			r->stats.errors++;
		ended_add(&r->ended, ios[i]);
	}
	return 0;
}

static struct gmm_store_io *ram_reap(struct gmm_store *st)
{
	return ended_take(&ram_of(st)->ended);
}

static int ram_fd(struct gmm_store *st)
{
	(void)st;
	return -1;
}

static void ram_release(struct gmm_store *st, const uint64_t *slots, unsigned n)
{
	struct ram *r = ram_of(st);

	for (unsigned i = 0; i < n; i++)
		if (spans_remove(&r->spans, slots[i]))
			r->stats.n_slots_used--;
}

static int ram_maintain(struct gmm_store *st)
{
	return spans_trim(&ram_of(st)->spans, TRIM_SPANS) ? -EAGAIN : 0;
}

static void ram_stats(struct gmm_store *st, struct gmm_store_stats *out)
{
	struct ram *r = ram_of(st);

	*out = r->stats;
	out->held_bytes = spans_held_bytes(&r->spans);
	out->fixed_bytes = sizeof(*r) - sizeof(r->spans) + (uint64_t)LZ4_sizeofState();
	out->metadata_bytes = spans_metadata_bytes(&r->spans);
	out->flags = GMM_STORE_ASYNC;
}

static void ram_free(struct gmm_store *st)
{
	struct ram *r = ram_of(st);

	spans_fini(&r->spans);
	free(r->lz4_state);
	free(r);
}

static const struct gmm_store_ops ram_ops = {
	.size = sizeof(struct gmm_store_ops),
	.name = "ram",
	.submit = ram_submit,
	.reap = ram_reap,
	.fd = ram_fd,
	.release = ram_release,
	.maintain = ram_maintain,
	.stats = ram_stats,
	.free = ram_free,
};

int gmm_store_ram_new(const struct gmm_store_ram_config *config, struct gmm_store **out)
{
	struct ram *r;

	if (config->size != sizeof(*config) || config->capacity_bytes < MIN_CAPACITY ||
	    config->capacity_bytes / SPAN_BYTES > UINT64_C(1) << (33 - SPAN_INDEX_BITS))
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->base.ops = &ram_ops;
	ended_init(&r->ended);
	r->lz4_state = malloc((size_t)LZ4_sizeofState());
	if (!r->lz4_state || spans_init(&r->spans, config->capacity_bytes) < 0) {
		ram_free(&r->base);
		return -ENOMEM;
	}
	*out = &r->base;
	return 0;
}
