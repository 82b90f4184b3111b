/* Batches of the file store: sending, ending, trying again. See file.h for the idea. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "reserve.h"
#include "store/file.h"

/* How often the same transfer is asked for without any progress. */
#define MAX_TRIES 8u

/* user_data of the request that only wakes the caller up */
#define WAKE_DATA NULL

#define SEAL_BYTES ((size_t)FILE_BATCH_PAGES * GMM_PAGE_BYTES)

/* ---- Sealing ---- */

static bool seal_make(struct file_store *f)
{
	char *buffer;

	if (f->n_seals_made == FILE_SEALS)
		return false;
	buffer = reserve_map(SEAL_BYTES);
	if (!buffer)
		return false;
	f->n_seals_made++;
	f->seals[f->n_seals++] = buffer;
	return true;
}

void file_seals_free(struct file_store *f)
{
	while (f->n_seals)
		reserve_unmap(f->seals[--f->n_seals], SEAL_BYTES);
}

/* Encrypts what a batch is to write. False: it cannot, nothing may be written. */
static bool batch_seal(struct file_store *f, struct file_batch *b)
{
	uint64_t slot = b->first;
	char *to = b->sealed;
	bool good = cipher_begin(f->cipher, CIPHER_ENCRYPT);

	if (!good)
		return false;
	for (const struct gmm_store_io *io = b->ios; io && good; io = io->next) {
		good = cipher_page(f->cipher, slot++, io->page, to);
		to += GMM_PAGE_BYTES;
	}
	cipher_end(f->cipher);
	return good;
}

/* Decrypts the next n pages that a batch has read. */
static bool batch_open(struct file_store *f, const struct file_batch *b, unsigned n)
{
	const struct gmm_store_io *io = b->ios;
	uint64_t slot = b->first + b->done;
	bool good = cipher_begin(f->cipher, CIPHER_DECRYPT);

	if (!good)
		return false;
	for (; n && good; n--, io = io->next)
		good = cipher_page(f->cipher, slot++, io->page, io->page);
	cipher_end(f->cipher);
	return good;
}

/* ---- Batches ---- */

bool file_batch_may_write(struct file_store *f)
{
	return f->free_batches && f->n_write_batches < f->max_write_batches &&
	       (!f->cipher || f->n_seals || seal_make(f));
}

struct file_batch *file_batch_get(struct file_store *f, enum file_batch_kind kind)
{
	struct file_batch *b = f->free_batches;

	if (!b)
		return NULL;
	f->free_batches = b->next;
	b->kind = kind;
	b->n = b->done = b->n_tries = 0;
	b->step = FILE_BATCH_PAGES;
	b->ios = NULL;
	b->sealed = NULL;
	if (kind == FILE_BATCH_WRITE) {
		f->n_write_batches++;
		if (f->cipher)
			b->sealed = f->seals[--f->n_seals];
	}
	return b;
}

static void batch_put(struct file_store *f, struct file_batch *b)
{
	if (b->kind == FILE_BATCH_WRITE)
		f->n_write_batches--;
	if (b->sealed)
		f->seals[f->n_seals++] = b->sealed;
	b->next = f->free_batches;
	f->free_batches = b;
}

/* Fills iov[] with the pages from `done` on; pages that lie side by side are one. */
static unsigned batch_vector(struct file_batch *b, size_t *bytes)
{
	const struct gmm_store_io *io = b->ios;
	unsigned n_iov = 0, n = b->n - b->done < b->step ? b->n - b->done : b->step;

	*bytes = n * GMM_PAGE_BYTES;
	if (b->sealed) {
		b->iov[0].iov_base = b->sealed + b->done * GMM_PAGE_BYTES;
		b->iov[0].iov_len = *bytes;
		return 1;
	}
	for (; n; n--, io = io->next) {
		struct iovec *last = n_iov ? &b->iov[n_iov - 1] : NULL;

		if (last && (char *)last->iov_base + last->iov_len == io->page) {
			last->iov_len += GMM_PAGE_BYTES;
		} else {
			b->iov[n_iov].iov_base = io->page;
			b->iov[n_iov++].iov_len = GMM_PAGE_BYTES;
		}
	}
	return n_iov;
}

static uint64_t batch_offset(const struct file_batch *b)
{
	return (b->first + b->done) * GMM_PAGE_BYTES;
}

/* The block layer's own command. Not in every kernel's headers. */
#define DISCARD_COMMAND _IO(0x12, 0)

static void punch_queue(struct file_store *f, struct io_uring_sqe *sqe, const struct file_batch *b)
{
	uint64_t bytes = b->n_slots * GMM_PAGE_BYTES;

	if (f->backing.trim == BACKING_TRIM_PUNCH) {
		io_uring_prep_fallocate(sqe, f->backing.fd,
					FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)batch_offset(b), (off_t)bytes);
		return;
	}
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, f->backing.fd, NULL, 0, 0);
	sqe->cmd_op = DISCARD_COMMAND;
	sqe->addr = batch_offset(b);
	sqe->addr3 = bytes;
}

static void batch_queue(struct file_store *f, struct file_batch *b)
{
	/* Never NULL: the ring has a place for every batch and the wake-up. */
	struct io_uring_sqe *sqe = io_uring_get_sqe(&f->ring);
	size_t bytes;
	unsigned n_iov;

	if (b->kind == FILE_BATCH_PUNCH) {
		punch_queue(f, sqe, b);
	} else {
		n_iov = batch_vector(b, &bytes);
		/* One piece of memory needs no vector to be copied in. */
		if (b->kind == FILE_BATCH_READ && n_iov == 1)
			io_uring_prep_read(sqe, f->backing.fd, b->iov->iov_base, (unsigned)bytes,
					   batch_offset(b));
		else if (b->kind == FILE_BATCH_READ)
			io_uring_prep_readv(sqe, f->backing.fd, b->iov, n_iov, batch_offset(b));
		else if (n_iov == 1)
			io_uring_prep_write(sqe, f->backing.fd, b->iov->iov_base, (unsigned)bytes,
					    batch_offset(b));
		else
			io_uring_prep_writev(sqe, f->backing.fd, b->iov, n_iov, batch_offset(b));
	}
	io_uring_sqe_set_data(sqe, b);
}

static int batch_do(struct file_store *f, struct file_batch *b)
{
	off_t offset = (off_t)batch_offset(b);
	size_t bytes;
	int n_iov;
	ssize_t n;

	if (b->kind == FILE_BATCH_PUNCH)
		return backing_discard(&f->backing, batch_offset(b), b->n_slots * GMM_PAGE_BYTES);
	n_iov = (int)batch_vector(b, &bytes);
	n = b->kind == FILE_BATCH_READ ? preadv(f->backing.fd, b->iov, n_iov, offset)
				       : pwritev(f->backing.fd, b->iov, n_iov, offset);
	return n < 0 ? -errno : (int)n;
}

static void end_pages(struct file_store *f, struct file_batch *b, unsigned n, int result)
{
	if (f->cipher && b->kind == FILE_BATCH_READ && !result && !batch_open(f, b, n))
		result = -ENOMEM;
	while (n--) {
		struct gmm_store_io *io = b->ios;

		b->ios = io->next;
		b->done++;
		file_io_end(f, io, result);
	}
}

static void count(struct file_store *f, const struct file_batch *b, unsigned n_pages)
{
	if (b->kind == FILE_BATCH_READ) {
		f->stats.reads++;
		f->stats.read_bytes += n_pages * GMM_PAGE_BYTES;
	} else {
		f->stats.writes++;
		f->stats.written_bytes += n_pages * GMM_PAGE_BYTES;
	}
}

/* A try made no progress. Ends those pages that it proves hopeless. */
static void batch_failed(struct file_store *f, struct file_batch *b, int error)
{
	switch (error) {
	case -EAGAIN:
	case -EINTR:
	case -ECANCELED: /* the thread that sent it has ended */
	case -ENOMEM:
		if (++b->n_tries < MAX_TRIES)
			return;
		break;
	case -EINVAL:
		if (b->direct && (!f->backing.direct || backing_drop_direct(&f->backing) == 0))
			return;
		break;
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
		if (b->kind == FILE_BATCH_WRITE) {
			end_pages(f, b, b->n - b->done, -ENOSPC);
			return;
		}
		break;
	default:
		break;
	}
	b->n_tries = 0;
	if (b->step > 1 && b->n - b->done > 1)
		b->step = 1;
	else
		end_pages(f, b, 1, error == -ENOMEM ? -ENOMEM : -EIO);
}

/* Takes in the result of one try. True: the batch is over. */
static bool batch_ended(struct file_store *f, struct file_batch *b, int res)
{
	unsigned n_pages = res > 0 ? (unsigned)((size_t)res / GMM_PAGE_BYTES) : 0;

	if (b->kind == FILE_BATCH_PUNCH) {
		file_punch_end(f, b, res);
		return true;
	}
	if (res > 0)
		count(f, b, n_pages);
	if (n_pages) {
		b->n_tries = 0;
		end_pages(f, b, n_pages, 0);
	} else if (res > 0) {
		/* Less than a page: a file's end, or the last room on a disk. */
		batch_failed(f, b, b->kind == FILE_BATCH_WRITE ? -ENOSPC : -EAGAIN);
	} else {
		batch_failed(f, b, res ? res : -EIO); /* 0: the file ends here */
	}
	return b->done == b->n;
}

/* Sends what is left of a batch out. */
static void batch_send(struct file_store *f, struct file_batch *b)
{
	b->direct = f->backing.direct;
	if (f->has_ring && (b->kind != FILE_BATCH_PUNCH || f->backing.trim != BACKING_TRIM_IOCTL)) {
		batch_queue(f, b);
		return;
	}
	while (!batch_ended(f, b, batch_do(f, b)))
		b->direct = f->backing.direct;
	batch_put(f, b);
}

void file_batch_start(struct file_store *f, struct file_batch *b)
{
	if (b->sealed && !batch_seal(f, b)) {
		end_pages(f, b, b->n, -ENOMEM);
		batch_put(f, b);
		return;
	}
	batch_send(f, b);
}

void file_ring_flush(struct file_store *f)
{
	/* A refusal (no memory in the kernel, completions not taken in) leaves requests
	 * in the queue: the next call sends them. */
	while (io_uring_sq_ready(&f->ring)) {
		int n = io_uring_submit(&f->ring);

		if (n <= 0 && n != -EINTR)
			return;
	}
}

void file_batch_collect(struct file_store *f)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&f->ring, &cqe) == 0) {
		struct file_batch *b = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&f->ring, cqe);
		if (b == WAKE_DATA) {
			f->waking = false;
		} else if (batch_ended(f, b, res)) {
			batch_put(f, b);
		} else {
			batch_send(f, b);
		}
	}
}
