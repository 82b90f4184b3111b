/* Windows: see window.h. Reads go through io_uring, or, where there is none, end in submit(). */
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW_DEPTH 64u

struct window {
	struct gmm_store base;
	int fd;
	uint64_t bytes;
	struct io_uring ring;
	bool has_ring;
	unsigned n_in_ring;
	struct gmm_store_io *queued, **queued_tail; /* wait for room in the ring */
	struct gmm_store_io *done;
	struct gmm_store_stats stats;
};

static struct window *window_of(struct gmm_store *st)
{
	return (struct window *)st;
}

/* How many bytes of this page the file has. */
static size_t window_want(const struct window *w, uint64_t slot)
{
	uint64_t left = w->bytes - (slot << GMM_PAGE_SHIFT);

	return left < GMM_PAGE_BYTES ? (size_t)left : (size_t)GMM_PAGE_BYTES;
}

static void window_end(struct window *w, struct gmm_store_io *io, int result)
{
	if (result)
		w->stats.errors++;
	io->result = result;
	io->next = w->done;
	w->done = io;
}

/* reserved[0] counts what has come so far: a short read is continued. */
static void window_ended(struct window *w, struct gmm_store_io *io, int64_t got)
{
	size_t want = window_want(w, io->slot);

	if (got < 0) {
		window_end(w, io, (int)got);
		return;
	}
	w->stats.reads++;
	w->stats.read_bytes += (uint64_t)got;
	io->reserved[0] += (uint64_t)got;
	if (got == 0) {
		window_end(w, io, -EIO); /* the file has shrunk */
	} else if (io->reserved[0] >= want) {
		memset((char *)io->page + want, 0, GMM_PAGE_BYTES - want);
		window_end(w, io, 0);
	} else {
		io->next = NULL;
		*w->queued_tail = io;
		w->queued_tail = &io->next;
	}
}

static struct gmm_store_io *window_dequeue(struct window *w)
{
	struct gmm_store_io *io = w->queued;

	w->queued = io->next;
	if (!w->queued)
		w->queued_tail = &w->queued;
	return io;
}

static void window_read_now(struct window *w)
{
	while (w->queued) {
		struct gmm_store_io *io = window_dequeue(w);
		uint64_t at = io->reserved[0];
		ssize_t got = pread(w->fd, (char *)io->page + at, window_want(w, io->slot) - at,
				    (off_t)((io->slot << GMM_PAGE_SHIFT) + at));

		window_ended(w, io, got < 0 ? -errno : got);
	}
}

static void window_pump(struct window *w)
{
	struct io_uring_sqe *sqe;

	if (!w->has_ring) {
		window_read_now(w);
		return;
	}
	while (w->queued && w->n_in_ring < WINDOW_DEPTH && (sqe = io_uring_get_sqe(&w->ring))) {
		struct gmm_store_io *io = window_dequeue(w);
		uint64_t at = io->reserved[0];

		io_uring_prep_read(sqe, w->fd, (char *)io->page + at,
				   (unsigned)(window_want(w, io->slot) - at),
				   (io->slot << GMM_PAGE_SHIFT) + at);
		io_uring_sqe_set_data(sqe, io);
		w->n_in_ring++;
	}
	io_uring_submit(&w->ring);
}

static int window_submit(struct gmm_store *st, struct gmm_store_io *const *ios, unsigned n)
{
	struct window *w = window_of(st);

	for (unsigned i = 0; i < n; i++)
		if (ios[i]->verb != GMM_STORE_READ || ios[i]->slot << GMM_PAGE_SHIFT >= w->bytes)
			return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		ios[i]->reserved[0] = 0;
		ios[i]->next = NULL;
		*w->queued_tail = ios[i];
		w->queued_tail = &ios[i]->next;
	}
	window_pump(w);
	return 0;
}

static void window_collect(struct window *w)
{
	struct io_uring_cqe *cqe;

	while (w->n_in_ring && io_uring_peek_cqe(&w->ring, &cqe) == 0) {
		struct gmm_store_io *io = io_uring_cqe_get_data(cqe);
		int got = cqe->res;

		io_uring_cqe_seen(&w->ring, cqe);
		w->n_in_ring--;
		window_ended(w, io, got);
	}
}

static struct gmm_store_io *window_reap(struct gmm_store *st)
{
	struct window *w = window_of(st);
	struct gmm_store_io *done;

	if (w->has_ring)
		window_collect(w);
	if (w->queued)
		window_pump(w);
	done = w->done;
	w->done = NULL;
	return done;
}

static int window_fd(struct gmm_store *st)
{
	return window_of(st)->has_ring ? window_of(st)->ring.ring_fd : -1;
}

static void window_release(struct gmm_store *st, const uint64_t *slots, unsigned n)
{
	(void)st, (void)slots, (void)n; /* the file stays as it is */
}

static int window_maintain(struct gmm_store *st)
{
	(void)st;
	return 0;
}

static void window_stats(struct gmm_store *st, struct gmm_store_stats *out)
{
	*out = window_of(st)->stats;
	out->fixed_bytes = sizeof(struct window);
}

static void window_free(struct gmm_store *st)
{
	struct window *w = window_of(st);
	struct io_uring_cqe *cqe;

	if (w->has_ring) {
		while (w->n_in_ring && io_uring_wait_cqe(&w->ring, &cqe) == 0)
			window_collect(w);
		io_uring_queue_exit(&w->ring);
	}
	close(w->fd);
	free(w);
}

static const struct gmm_store_ops window_ops = {
	.size = sizeof(struct gmm_store_ops),
	.name = "window",
	.submit = window_submit,
	.reap = window_reap,
	.fd = window_fd,
	.release = window_release,
	.maintain = window_maintain,
	.stats = window_stats,
	.free = window_free,
};

static int window_check_file(int fd, uint64_t bytes)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return -EINVAL;
	return S_ISREG(st.st_mode) && (uint64_t)st.st_size < bytes ? -ENODATA : 0;
}

int store_window_new(int fd, uint64_t bytes, struct gmm_store **out)
{
	int ret = window_check_file(fd, bytes);
	struct window *w;

	if (ret)
		return ret;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->base.ops = &window_ops;
	w->bytes = bytes;
	w->queued_tail = &w->queued;
	w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (w->fd < 0) {
		ret = -errno;
		free(w);
		return ret;
	}
	w->has_ring = io_uring_queue_init(WINDOW_DEPTH, &w->ring, 0) == 0;
	*out = &w->base;
	return 0;
}
