/* Stores: where evicted pages live.
 *
 * A store is a table of functions around an object of its own. Built in are
 * `file` (io_uring, O_DIRECT), `ram` (compressed) and `tier` (a chain);
 * an embedder may write others. A store is used by one thread at a time: the
 * caller's (a space calls its store with the space's lock held), so a store needs
 * no lock. It may keep helper threads of the kernel (io_uring) busy, but it
 * creates none.
 *
 * All input and output is asynchronous in form: submit() queues operations and
 * reap() returns those that have ended, in any order. A store that works in
 * memory ends them inside submit(); fd() is then -1.
 */
#ifndef GUESTMM_STORE_H
#define GUESTMM_STORE_H

#include <guestmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A slot names a stored page. Only the low 36 bits are used, so that a page's state word
 * can hold it. Pages with the same content may get the same slot; each of them is released. */
#define GMM_SLOT_BITS 36
#define GMM_SLOT_NONE ((UINT64_C(1) << GMM_SLOT_BITS) - 1)

enum gmm_store_verb {
	GMM_STORE_WRITE, /* page -> store; the store sets `slot` */
	GMM_STORE_READ,	 /* slot -> page; the slot stays valid */
};

/* One page's transfer. The caller owns it and keeps it, and the 4 KiB-aligned
 * page, untouched from submit() until reap() has returned it. */
struct gmm_store_io {
	enum gmm_store_verb verb;
	/* Ended: 0, or a negative errno: -EIO (the device failed), -EBADMSG
	 * (what came back is not what was written: checksum), -ENOSPC (the
	 * store is full; nothing was lost, the caller keeps the page),
	 * -E2BIG (this store does not take such pages), -ENOMEM. A write that
	 * failed has GMM_SLOT_NONE as its slot. */
	int result;
	uint64_t slot;
	void *page;
	void *user;		   /* the caller's */
	struct gmm_store_io *next; /* the store's while submitted, then the caller's */
	uint64_t reserved[2];	   /* the store's while submitted */
};

struct gmm_store_stats {
	uint64_t reads, writes;		    /* device operations; a batch of neighbours is one */
	uint64_t read_bytes, written_bytes; /* bytes that went to or came from it */
	uint64_t errors;		    /* operations that ended with an error */
	uint64_t n_slots_used, n_slots;	    /* n_slots: 0 where there is no fixed number */
	uint64_t metadata_bytes; /* host memory its bookkeeping takes: what grows with the slots, */
	uint64_t fixed_bytes;	 /* and what it takes however few there are */
	uint64_t held_bytes;	 /* host memory that holds stored pages (ram) */
	uint32_t flags;		 /* GMM_STORE_ASYNC, GMM_STORE_DIRECT */
	uint64_t n_slots_high;	 /* bookkeeping is there for so many slots; more cost more of it */
	uint64_t capacity_bytes; /* host memory that it may take (ram), 0: none is counted; */
	uint64_t room_bytes;	 /* and what of it is left for pages */
};

#define GMM_STORE_ASYNC	    (1u << 0) /* submit() does not wait for a device */
#define GMM_STORE_DIRECT    (1u << 1) /* past the page cache */
#define GMM_STORE_ENCRYPTED (1u << 2) /* all that reaches a device is encrypted */
#define GMM_STORE_PLAIN	    (1u << 3) /* what reaches a device is not */

struct gmm_store;

/* Every function returns 0 or a negative errno, never a short count. */
struct gmm_store_ops {
	uint32_t size; /* sizeof(struct gmm_store_ops): later fields are optional */
	const char *name;

	/* Queues n operations in the given order. Writes that stand side by
	 * side in ios[] should end up in neighbouring slots. Either all are
	 * accepted (0), each to be returned by reap() with its own result, or
	 * none: -EAGAIN (too many under way: reap, then try again), -ENOMEM,
	 * -EINVAL (a read of a slot that holds nothing, a page that is not
	 * aligned). */
	int (*submit)(struct gmm_store *st, struct gmm_store_io *const *ios, unsigned n);

	/* Returns the list (through `next`) of ended operations, NULL if none. */
	struct gmm_store_io *(*reap)(struct gmm_store *st);

	/* A descriptor that polls readable while reap() has something to
	 * return, or -1 where submit() ends everything itself. */
	int (*fd)(struct gmm_store *st);

	/* Frees n slots. A slot with a read under way may be released: that
	 * read's result is unaffected. A slot is the caller's from the moment
	 * reap() has returned its write. Unknown slots are ignored. */
	void (*release)(struct gmm_store *st, const uint64_t *slots, unsigned n);

	/* Does what can wait (trim, write-back between tiers); called when the
	 * caller is idle. Returns 0, or -EAGAIN where more is left to do. */
	int (*maintain)(struct gmm_store *st);

	void (*stats)(struct gmm_store *st, struct gmm_store_stats *out);

	/* Waits for everything under way, then frees the store and what it
	 * made on disk. */
	void (*free)(struct gmm_store *st);

	/* Does the slot hold just this page's content, as far as its 64-bit checksum
	 * tells? A page that was read back and evicted again need then not be written.
	 * Optional (NULL, as in `ram` and `tier`, where a copy of a resident page would take
	 * memory: such pages are written). */
	bool (*holds)(struct gmm_store *st, uint64_t slot, const void *page);
};

/* The head of every store object. */
struct gmm_store {
	const struct gmm_store_ops *ops;
};

struct gmm_store_file_config {
	uint32_t size;		 /* sizeof(struct gmm_store_file_config) */
	const char *path;	 /* NULL: an unlinked file in $TMPDIR, else /var/tmp */
	uint64_t capacity_bytes; /* a multiple of 4 KiB, 1 MiB to 16 TiB */
	uint32_t queue_depth;	 /* 0: 128 */
	bool no_direct;		 /* do not even try O_DIRECT */
	bool no_uring;		 /* do not even try io_uring */
	bool encrypt;		 /* what reaches the file or device */
};

/* Makes a store in a file. With a path the file is created there exclusively with
 * mode 0600 and has no name (or, where the file system cannot do that, loses it at once), so
 * that nothing stays behind however the process ends; a block device is used as it
 * is (opened O_EXCL, which the kernel refuses while it is mounted). The file takes up disk
 * space as it fills, and gives it back in maintain().
 *
 * Where io_uring is not to be had (old kernel, kernel.io_uring_disabled, a system call
 * filter), submit() does the transfers itself and waits for them: fd() is -1 then and
 * GMM_STORE_ASYNC is missing in the statistics.
 *
 * With `encrypt` each page is encrypted with AES-256-XTS, its slot's number being the tweak, under
 * a key that is made here and never leaves the process: it is locked in memory, left out of core
 * dumps and children, and wiped in free(). That hides contents. It does not hide which slots are
 * written and when, nor that a slot's content, or an aligned 16 bytes of it, is what it was
 * once before; whether something was changed is told by the checksums, as without it.
 *
 * Errors: -EEXIST (there is such a file already), -EISDIR, -EACCES, -ENOENT, -EROFS,
 * -EBUSY (the device is in use), -ENOSPC (not even 1 MiB is free, or the device is
 * smaller than capacity_bytes), -EFBIG (capacity_bytes is more than the file size limit,
 * ulimit -f, or than the file system can do), -ENOLCK (the key cannot be locked in memory:
 * ulimit -l), -ENOTSUP (OpenSSL has no AES-256-XTS), -EIO, -EINVAL (capacity), -ENOMEM, -EMFILE. */
GMM_API int gmm_store_file_new(const struct gmm_store_file_config *config, struct gmm_store **out);

enum gmm_store_codec {
	GMM_STORE_LZ4,	/* fastest */
	GMM_STORE_ZSTD, /* smaller, several times slower */
};

struct gmm_store_ram_config {
	uint32_t size; /* sizeof(struct gmm_store_ram_config) */
	enum gmm_store_codec codec;
	uint64_t capacity_bytes; /* memory that it may take in all, at least 1 MiB */
};

/* Makes a store of compressed pages in this process's memory. A page that does not shrink to
 * three quarters is refused with -E2BIG, so that a tier passes it on. The capacity counts
 * compressed bytes with all that keeping them costs. Memory is taken as it fills, and
 * given back in maintain(). Errors: -EINVAL (capacity: less than 1 MiB, more than 64 GiB; codec),
 * -ENOMEM. */
GMM_API int gmm_store_ram_new(const struct gmm_store_ram_config *config, struct gmm_store **out);

/* Makes a store of pages filled with one 32-bit word, which cost nothing at all: the
 * word is the slot. All other pages are refused with -E2BIG: it stands first in a
 * tier. Errors: -ENOMEM. */
GMM_API int gmm_store_same_new(struct gmm_store **out);

/* Chains stores, fastest first; a page goes to the first that takes it. When an
 * upper store is full its coldest pages are written back to the next one down.
 * Owns the given stores on success. 2 to 4 of them. A store below that is asked to
 * accept more than it can is waited for. Errors: -EINVAL, -ENOMEM, -EMFILE. */
GMM_API int gmm_store_tier_new(struct gmm_store *const *stores, unsigned n, struct gmm_store **out);

/* Wraps a store for tests: makes every operation that `fail` picks end with the
 * errno it returns (0: let it pass). n_seen counts the operations before this one.
 * Owns `under` on success. Errors: -ENOMEM, -EMFILE. */
typedef int gmm_store_fail_fn(void *user, enum gmm_store_verb verb, uint64_t n_seen);
GMM_API int gmm_store_faulty_new(struct gmm_store *under, gmm_store_fail_fn *fail, void *user,
				 struct gmm_store **out);

/* Makes a store from a description:
 *   file:PATH[,size=SIZE]    a new file, or a block device (gmm_store_file_new)
 *   file[,size=SIZE]         an unlinked file in $TMPDIR or /var/tmp
 *   ram[:SIZE][,codec=NAME]  compressed memory; SIZE counts compressed bytes; lz4 or zstd
 *   same                     pages filled with one word; for tiers
 *   tier:A+B[+C]             a chain of these, fastest first; `same` goes before them unasked
 *   off                      none: *out is NULL
 * SIZE is a number with K, M, G or T (powers of two). default_bytes is the capacity of stores
 * without one, rounded to what a store takes. On failure `error` holds a sentence for
 * people (what, to what, what to do about it). Errors: -EINVAL (the description), and those of the
 * stores. */
GMM_API int gmm_store_parse(const char *spec, uint64_t default_bytes, struct gmm_store **out,
			    char *error, size_t error_bytes);

struct gmm_store_parse_config {
	uint32_t size; /* sizeof(struct gmm_store_parse_config) */
	bool encrypt;  /* every file or device of the description; what stays in memory is not */
	uint64_t default_bytes;
};

/* As gmm_store_parse(), with more to ask for. */
GMM_API int gmm_store_parse_with(const char *spec, const struct gmm_store_parse_config *config,
				 struct gmm_store **out, char *error, size_t error_bytes);

/* Frees a store of any kind and what it made. Takes NULL, returns NULL. */
GMM_API struct gmm_store *gmm_store_free(struct gmm_store *st);

#ifdef __cplusplus
}
#endif
#endif
