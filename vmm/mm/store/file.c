/* The file store: evicted pages in a private file or on a block device.
 *
 * See file.h for how operations become batches. Each slot's checksum is kept in memory,
 * taken when its write goes out and compared when it is read back. What reaches
 * the file is encrypted where that is asked for (cipher.h).
 *
 * A slot:
 *   free -> taken             start_write()   a write was given a place
 *   taken -> live             file_io_end()   the write ended well: its owner may read it
 *   taken -> free             file_io_end()   the write failed: the page never left its owner
 *   taken -> taken for ever   file_io_end()   it failed in a way that hints at a bad block
 *   live -> free              file_release()  at once, or
 *   live -> taken, busy       file_release()  a read of it is under way, and then
 *   taken, busy -> free       file_io_end()   that read has ended
 *   free -> taken -> free     file_maintain() blocks are given back to the file system
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "store/file.h"

#define DEFAULT_DEPTH 128u
#define MAX_DEPTH     4096u
#define MIN_CAPACITY  (UINT64_C(1) << 20)
/* A caller that runs ahead of the device is asked to wait beyond this. */
#define MAX_UNDER_WAY 8192u
/* Slots punched at a time: at most so many are out of use meanwhile. */
#define PUNCH_SLOTS 4096u
/* At most one slot in so many is given up as bad. */
#define MAX_BAD_SHARE 16u

static struct file_store *file_of(struct gmm_store *st)
{
	return (struct file_store *)st;
}

static void enqueue(struct file_queue *q, struct gmm_store_io *io)
{
	io->next = NULL;
	if (q->head)
		q->tail->next = io;
	else
		q->head = io;
	q->tail = io;
	q->n++;
}

static struct gmm_store_io *dequeue(struct file_queue *q)
{
	struct gmm_store_io *io = q->head;

	q->head = io->next;
	q->n--;
	return io;
}

/* An operation's slot while it is under way; io->slot is its name (see sums.h). */
static uint64_t *slot_of(struct gmm_store_io *io)
{
	return &io->reserved[0];
}

static bool reads_slot(const struct gmm_store_io *io, uint64_t slot)
{
	return io->verb == GMM_STORE_READ && io->reserved[0] == slot;
}

/* Is any read of the slot under way still? Walks all: only called after a double read. */
static bool slot_is_read(const struct file_store *f, uint64_t slot)
{
	for (const struct gmm_store_io *io = f->reads.head; io; io = io->next)
		if (reads_slot(io, slot))
			return true;
	for (unsigned i = 0; i < f->n_batches; i++)
		for (const struct gmm_store_io *io = f->batches[i].ios; io; io = io->next)
			if (reads_slot(io, slot))
				return true;
	return false;
}

static int read_end(struct file_store *f, struct gmm_store_io *io, int result)
{
	uint64_t slot = *slot_of(io);

	if (f->n_dup_reads && slot_is_read(f, slot)) {
		f->n_dup_reads--;
	} else {
		slots_bit_clear(f->slots.busy, slot);
		if (!slots_bit(f->slots.live, slot))
			slots_put(&f->slots, slot, 1);
	}
	if (!result && !sums_match(&f->sums, io->slot, XXH3_64bits(io->page, GMM_PAGE_BYTES)))
		return -EBADMSG;
	return result;
}

/* A bad block would be handed out again and again: it is left alone, unless there are so
 * many that it must be something else. */
static bool retire(struct file_store *f)
{
	if (f->n_bad >= f->slots.n / MAX_BAD_SHARE)
		return false;
	f->n_bad++;
	return true;
}

static void write_end(struct file_store *f, struct gmm_store_io *io, int result)
{
	uint64_t slot = *slot_of(io);

	/* A write that failed may have left blocks behind too, unless for lack of them. */
	if (result != -ENOSPC)
		slots_bit_set(f->slots.backed, slot);
	else
		f->disk_is_full = true;
	if (!result) {
		slots_bit_set(f->slots.live, slot);
		return;
	}
	if (result != -EIO || !retire(f))
		slots_put(&f->slots, slot, 1);
	io->slot = GMM_SLOT_NONE;
}

static void give_back(struct file_store *f, struct gmm_store_io *io, int result)
{
	io->result = result;
	io->next = NULL;
	if (result)
		f->stats.errors++;
	*f->done_tail = io;
	f->done_tail = &io->next;
	f->n_under_way--;
}

/* The batch counts the page as ended already. */
void file_io_end(struct file_store *f, struct gmm_store_io *io, int result)
{
	if (io->verb == GMM_STORE_READ)
		result = read_end(f, io, result);
	else
		write_end(f, io, result);
	give_back(f, io, result);
}

static void start_read(struct file_store *f, struct file_batch *b)
{
	struct gmm_store_io **tail = &b->ios;

	b->first = *slot_of(f->reads.head);
	do {
		*tail = dequeue(&f->reads);
		tail = &(*tail)->next;
		b->n++;
	} while (b->n < FILE_BATCH_PAGES && f->reads.head &&
		 *slot_of(f->reads.head) == b->first + b->n);
	*tail = NULL;
	file_batch_start(f, b);
}

static void start_write(struct file_store *f, struct file_batch *b, uint64_t first, unsigned n)
{
	struct gmm_store_io **tail = &b->ios;

	b->first = first;
	while (b->n < n) {
		struct gmm_store_io *io = dequeue(&f->writes);

		*slot_of(io) = first + b->n++;
		io->slot = sums_set(&f->sums, *slot_of(io), XXH3_64bits(io->page, GMM_PAGE_BYTES));
		*tail = io;
		tail = &io->next;
	}
	*tail = NULL;
	file_batch_start(f, b);
}

/* A run of slots to write to. On a full disk those that have blocks already are as good
 * as all there are. */
static unsigned get_slots(struct file_store *f, unsigned max, uint64_t *first)
{
	uint64_t n = 0;

	if (f->disk_is_full && f->slots.n_stale) {
		n = slots_get_stale(&f->slots, &f->reuse_from, max, first);
		if (!n) {
			f->reuse_from = 0;
			n = slots_get_stale(&f->slots, &f->reuse_from, max, first);
		}
	}
	return n ? (unsigned)n : slots_get(&f->slots, max, first);
}

static bool pump_writes(struct file_store *f)
{
	unsigned n = f->writes.n < FILE_BATCH_PAGES ? f->writes.n : FILE_BATCH_PAGES;
	uint64_t first;

	if (!n || !file_batch_may_write(f))
		return false;
	n = get_slots(f, n, &first);
	if (n) {
		start_write(f, file_batch_get(f, FILE_BATCH_WRITE), first, n);
		return true;
	}
	if (f->punching) /* free slots are on their way */
		return false;
	while (f->writes.head) {
		struct gmm_store_io *io = dequeue(&f->writes);

		io->slot = GMM_SLOT_NONE;
		give_back(f, io, -ENOSPC);
	}
	return false;
}

/* Turns waiting operations into batches as long as there are any free. */
static void pump(struct file_store *f)
{
	while (f->reads.head && f->free_batches)
		start_read(f, file_batch_get(f, FILE_BATCH_READ));
	while (pump_writes(f))
		;
}

/* Makes fd() readable when something has ended that no completion tells of. */
static void wake(struct file_store *f)
{
	struct io_uring_sqe *sqe;

	if (!f->done || f->waking)
		return;
	sqe = io_uring_get_sqe(&f->ring);
	if (!sqe)
		return; /* the ring is full of requests that will wake the caller */
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data(sqe, NULL);
	f->waking = true;
}

static void flush(struct file_store *f)
{
	if (f->has_ring)
		file_ring_flush(f);
}

static bool is_live(const struct file_store *f, uint64_t slot)
{
	return slot < f->slots.n && slots_bit(f->slots.live, slot);
}

static bool acceptable(const struct file_store *f, const struct gmm_store_io *io)
{
	if ((uintptr_t)io->page % GMM_PAGE_BYTES)
		return false;
	return io->verb == GMM_STORE_WRITE || is_live(f, sums_index(&f->sums, io->slot));
}

static void enqueue_read(struct file_store *f, struct gmm_store_io *io)
{
	uint64_t slot = sums_index(&f->sums, io->slot);

	*slot_of(io) = slot;
	if (slots_bit(f->slots.busy, slot))
		f->n_dup_reads++;
	slots_bit_set(f->slots.busy, slot);
	enqueue(&f->reads, io);
}

static int file_submit(struct gmm_store *st, struct gmm_store_io *const *ios, unsigned n)
{
	struct file_store *f = file_of(st);

	if (f->n_under_way && f->n_under_way + n > MAX_UNDER_WAY)
		return -EAGAIN;
	for (unsigned i = 0; i < n; i++)
		if (!acceptable(f, ios[i]))
			return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		if (ios[i]->verb == GMM_STORE_READ)
			enqueue_read(f, ios[i]);
		else
			enqueue(&f->writes, ios[i]);
	}
	f->n_under_way += n;
	f->sweeping = false; /* a hole that is being punched keeps others out of the file */
	pump(f);
	if (f->has_ring)
		wake(f);
	flush(f);
	return 0;
}

/* Free slots that keep their blocks because they will soon be used again. */
static uint64_t stale_to_keep(const struct file_store *f)
{
	return f->slots.n_taken / 8;
}

/* Punches the next range of the sweep, if there is one. With a ring the sweep goes on in
 * reap() when that has ended. */
static void punch_next(struct file_store *f)
{
	uint64_t n_free = f->slots.n - f->slots.n_taken;
	uint64_t max = n_free / 2 < PUNCH_SLOTS ? n_free / 2 + 1 : PUNCH_SLOTS;
	uint64_t first, n;
	struct file_batch *b;

	if (!f->sweeping || f->punching || !f->free_batches)
		return;
	n = slots_get_stale(&f->slots, &f->punch_from, max, &first);
	if (!n) {
		f->punch_from = 0;
		f->sweeping = false;
		return;
	}
	f->punching = true;
	f->sweeping = f->slots.n_stale > stale_to_keep(f);
	b = file_batch_get(f, FILE_BATCH_PUNCH);
	b->first = first;
	b->n_slots = n;
	file_batch_start(f, b);
}

static struct gmm_store_io *file_reap(struct gmm_store *st)
{
	struct file_store *f = file_of(st);
	struct gmm_store_io *done;

	if (f->has_ring) {
		file_batch_collect(f);
		pump(f);
		punch_next(f);
		flush(f);
	}
	done = f->done;
	f->done = NULL;
	f->done_tail = &f->done;
	return done;
}

static int file_fd(struct gmm_store *st)
{
	struct file_store *f = file_of(st);

	return f->has_ring ? f->ring.ring_fd : -1;
}

static void file_release(struct gmm_store *st, const uint64_t *slots, unsigned n)
{
	struct file_store *f = file_of(st);

	for (unsigned i = 0; i < n; i++) {
		uint64_t slot = sums_index(&f->sums, slots[i]);

		if (!is_live(f, slot))
			continue;
		slots_bit_clear(f->slots.live, slot);
		if (!slots_bit(f->slots.busy, slot))
			slots_put(&f->slots, slot, 1);
	}
}

void file_punch_end(struct file_store *f, struct file_batch *b, int result)
{
	f->punching = false;
	if (result == 0) {
		slots_unback(&f->slots, b->first, b->n_slots);
	} else {
		backing_trim_failed(&f->backing, result);
		f->sweeping = false; /* the next maintain() tries again, if there is a way */
	}
	slots_put(&f->slots, b->first, b->n_slots);
}

static int file_maintain(struct gmm_store *st)
{
	struct file_store *f = file_of(st);

	if (f->backing.trim == BACKING_TRIM_NOT || f->slots.n_stale <= stale_to_keep(f))
		return 0;
	f->sweeping = true;
	punch_next(f);
	flush(f);
	return f->sweeping && !f->punching ? -EAGAIN : 0; /* reap() goes on with the rest */
}

static void file_stats(struct gmm_store *st, struct gmm_store_stats *out)
{
	struct file_store *f = file_of(st);

	*out = f->stats;
	out->n_slots = f->slots.n - f->n_bad;
	out->n_slots_used = f->slots.n_taken - f->n_bad;
	out->n_slots_high = f->slots.n_high;
	out->fixed_bytes = sizeof(*f) + f->n_batches * sizeof(*f->batches) +
			   f->n_seals_made * FILE_BATCH_PAGES * GMM_PAGE_BYTES;
	out->metadata_bytes =
		sums_bytes(&f->sums, f->slots.n_high) + slots_metadata_bytes(&f->slots);
	out->flags = (f->has_ring ? GMM_STORE_ASYNC : 0u) |
		     (f->backing.direct ? GMM_STORE_DIRECT : 0u) |
		     (f->cipher ? GMM_STORE_ENCRYPTED : GMM_STORE_PLAIN);
}

static bool file_holds(struct gmm_store *st, uint64_t slot, const void *page)
{
	struct file_store *f = file_of(st);

	return is_live(f, sums_index(&f->sums, slot)) &&
	       sums_match(&f->sums, slot, XXH3_64bits(page, GMM_PAGE_BYTES));
}

static void wait_for_all(struct file_store *f)
{
	struct io_uring_cqe *cqe;

	f->sweeping = false;
	while (f->has_ring && (f->n_under_way || f->punching || f->waking)) {
		flush(f);
		if (io_uring_wait_cqe(&f->ring, &cqe) < 0)
			continue;
		file_batch_collect(f);
		pump(f);
	}
}

static void file_free(struct gmm_store *st)
{
	struct file_store *f = file_of(st);

	wait_for_all(f);
	if (f->has_ring)
		io_uring_queue_exit(&f->ring);
	backing_close(&f->backing);
	file_seals_free(f);
	cipher_free(f->cipher);
	sums_fini(&f->sums);
	slots_fini(&f->slots);
	free(f->batches);
	free(f);
}

static const struct gmm_store_ops file_ops = {
	.size = sizeof(struct gmm_store_ops),
	.name = "file",
	.submit = file_submit,
	.reap = file_reap,
	.fd = file_fd,
	.release = file_release,
	.maintain = file_maintain,
	.stats = file_stats,
	.free = file_free,
	.holds = file_holds,
};

static int make_batches(struct file_store *f, unsigned depth)
{
	f->batches = calloc(depth, sizeof(*f->batches));
	if (!f->batches)
		return -ENOMEM;
	f->n_batches = depth;
	f->max_write_batches = depth - depth / 4;
	for (unsigned i = 0; i < depth; i++) {
		f->batches[i].next = f->free_batches;
		f->free_batches = &f->batches[i];
	}
	return 0;
}

static int make_insides(struct file_store *f, const struct gmm_store_file_config *config)
{
	unsigned depth = config->queue_depth ? config->queue_depth : DEFAULT_DEPTH;
	int error;

	error = slots_init(&f->slots, config->capacity_bytes / GMM_PAGE_BYTES);
	if (error)
		return error;
	error = sums_init(&f->sums, f->slots.n);
	if (!error)
		error = make_batches(f, depth);
	if (!error && config->encrypt)
		error = cipher_new(&f->cipher);
	if (error)
		return error;
	/* Not offered by the kernel, switched off (kernel.io_uring_disabled), forbidden by
	 * a system call filter: all are served by waiting inside submit(). One place more
	 * than batches, for the wake-up. */
	f->has_ring = !config->no_uring && io_uring_queue_init(depth + 1, &f->ring, 0) == 0;
	return 0;
}

static bool config_is_valid(const struct gmm_store_file_config *config)
{
	return config->size == sizeof(*config) && config->capacity_bytes >= MIN_CAPACITY &&
	       config->capacity_bytes % GMM_PAGE_BYTES == 0 &&
	       config->capacity_bytes / GMM_PAGE_BYTES <= GMM_FRAMES_MAX &&
	       config->queue_depth <= MAX_DEPTH;
}

int gmm_store_file_new(const struct gmm_store_file_config *config, struct gmm_store **out)
{
	struct file_store *f;
	int error;

	if (!config_is_valid(config))
		return -EINVAL;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->base.ops = &file_ops;
	f->done_tail = &f->done;
	f->backing.fd = -1;
	error = backing_open(&f->backing, config->path, config->capacity_bytes, config->no_direct);
	if (!error)
		error = make_insides(f, config);
	if (error) {
		file_free(&f->base);
		return error;
	}
	*out = &f->base;
	return 0;
}
