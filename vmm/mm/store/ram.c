/* The ram store: compressed pages in this process's memory.
 *
 * All is done inside submit(). A page that does not shrink below three quarters is refused with
 * -E2BIG: it would not pay. A slot is the name of an object in the spans (spans.h), which keep the
 * page's checksum beside what it shrank to: a page is compared with it after it was unpacked, so
 * that a bit that changed, and an unpacker that errs, are both noticed.
 */
#include "store/ram.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#define MIN_CAPACITY (UINT64_C(1) << 20)
/* Free spans given back in one maintain(), 2 MiB: some hundred microseconds. */
#define TRIM_SPANS 64u

static struct ram *ram_of(struct gmm_store *st)
{
	return (struct ram *)st;
}

static int ram_write(struct ram *r, struct gmm_store_io *io)
{
	unsigned bytes = codec_pack(&r->codec, io->page, r->buffer, sizeof(r->buffer));
	uint64_t name;

	io->slot = GMM_SLOT_NONE;
	if (!bytes)
		return -E2BIG;
	name = spans_add(&r->spans, r->buffer, bytes, XXH3_64bits(io->page, GMM_PAGE_BYTES));
	if (name == SPAN_NO_OBJECT)
		return -ENOSPC;
	io->slot = name;
	r->stats.writes++;
	r->stats.written_bytes += bytes;
	r->stats.n_slots_used++;
	return 0;
}

static int ram_read(struct ram *r, struct gmm_store_io *io)
{
	struct span_object object;

	if (!spans_get(&r->spans, io->slot, &object))
		return -EBADMSG;
	r->stats.reads++;
	r->stats.read_bytes += object.bytes;
	if (object.bytes > sizeof(r->buffer) ||
	    !codec_unpack(&r->codec, object.contents, object.bytes, io->page) ||
	    XXH3_64bits(io->page, GMM_PAGE_BYTES) != object.sum)
		return -EBADMSG;
	return 0;
}

static int ram_submit(struct gmm_store *st, struct gmm_store_io *const *ios, unsigned n)
{
	struct ram *r = ram_of(st);
	struct span_object object;

	for (unsigned i = 0; i < n; i++)
		if (ios[i]->verb == GMM_STORE_READ && !spans_get(&r->spans, ios[i]->slot, &object))
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
	out->capacity_bytes = r->spans.capacity_bytes;
	out->room_bytes = spans_room_bytes(&r->spans);
	out->fixed_bytes = sizeof(*r) + codec_bytes(&r->codec);
	out->metadata_bytes = spans_metadata_bytes(&r->spans);
	out->flags = GMM_STORE_ASYNC;
}

static void ram_free(struct gmm_store *st)
{
	struct ram *r = ram_of(st);

	spans_fini(&r->spans);
	codec_fini(&r->codec);
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
	    config->capacity_bytes / SPAN_BYTES > SPANS_MAX || config->codec > GMM_STORE_ZSTD)
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->base.ops = &ram_ops;
	ended_init(&r->ended);
	if (codec_init(&r->codec, config->codec) < 0 ||
	    spans_init(&r->spans, config->capacity_bytes) < 0) {
		ram_free(&r->base);
		return -ENOMEM;
	}
	*out = &r->base;
	return 0;
}
