/* The file store's insides: what file.c (the store) and file_batch.c (its batches) share.
 *
 * Operations wait in two queues, reads before writes, and go out as batches of neighbouring
 * slots, one system call's worth each. A batch ends page by page: what a short transfer
 * left over is tried again, and a batch that fails is tried once more a page at a time, so
 * that an error costs only the pages it concerns.
 *
 * With encryption a batch's pages are sealed once, into a buffer of the batch's own: the caller's
 * stay as they are. What was read is opened where it lies, page by page as it ends. Checksums are
 * of the contents, so that they tell of whatever happened between.
 */
#ifndef MM_STORE_FILE_H
#define MM_STORE_FILE_H

#include <guestmm/store.h>
#include <liburing.h>
#include <sys/uio.h>

#include "store/backing.h"
#include "store/cipher.h"
#include "store/slots.h"
#include "store/sums.h"

/* 512 KiB: larger ones are no faster on what was measured, smaller ones are. */
#define FILE_BATCH_PAGES 128u

/* Batches of sealed pages that may be under way: 4 MiB at most, made as they are needed. */
#define FILE_SEALS 8u

enum file_batch_kind { FILE_BATCH_READ, FILE_BATCH_WRITE, FILE_BATCH_PUNCH };

struct file_batch {
	enum file_batch_kind kind;
	unsigned n;	  /* pages; for a punch see n_slots */
	unsigned done;	  /* of these, ended */
	unsigned step;	  /* pages to ask for at a time */
	unsigned n_tries; /* since the last progress */
	bool direct;	  /* was O_DIRECT on when it went out */
	uint64_t first;	  /* slot */
	uint64_t n_slots;
	char *sealed;		  /* its pages as they are written, NULL: as they are */
	struct gmm_store_io *ios; /* those that have not ended, a list */
	struct iovec iov[FILE_BATCH_PAGES];
	struct file_batch *next; /* free list */
};

struct file_queue {
	struct gmm_store_io *head, *tail;
	unsigned n;
};

struct file_store {
	struct gmm_store base;
	struct backing backing;
	struct slots slots;
	struct sums sums;
	struct io_uring ring;
	bool has_ring; /* otherwise submit() does all itself */
	bool waking;   /* a no-op is under way to make fd() readable */
	bool punching, sweeping;
	uint64_t punch_from;
	bool disk_is_full; /* it was, once: slots with blocks come first since then */
	uint64_t reuse_from;
	uint64_t n_bad;			 /* slots that are not used any more */
	struct file_queue reads, writes; /* wait for a batch */
	struct gmm_store_io *done, **done_tail;
	unsigned n_under_way; /* operations, waiting ones included */
	unsigned n_dup_reads; /* reads of a slot that is being read already */
	unsigned n_write_batches, max_write_batches, n_batches;
	struct file_batch *batches, *free_batches;
	struct cipher *cipher;	 /* NULL: nothing is encrypted */
	char *seals[FILE_SEALS]; /* buffers, those below n_seals are free */
	unsigned n_seals, n_seals_made;
	struct gmm_store_stats stats;
};

/* May another batch of writes be filled? */
bool file_batch_may_write(struct file_store *f);

/* Sends a filled batch out. Without a ring it ends before this returns. */
void file_batch_start(struct file_store *f, struct file_batch *b);

/* Takes in what has ended. */
void file_batch_collect(struct file_store *f);

/* Hands queued requests to the kernel. */
void file_ring_flush(struct file_store *f);

struct file_batch *file_batch_get(struct file_store *f, enum file_batch_kind kind);

/* With no batch under way. */
void file_seals_free(struct file_store *f);

/* One operation is over (file.c). */
void file_io_end(struct file_store *f, struct gmm_store_io *io, int result);

/* A punched range is over (file.c). */
void file_punch_end(struct file_store *f, struct file_batch *b, int result);

#endif
