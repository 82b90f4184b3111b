/* Backing: the file or block device behind a file store.
 *
 * A file has no name from the beginning (O_TMPFILE), or for an instant only where the file system
 * cannot do that: nothing stays behind however the process ends.
 */
#ifndef MM_STORE_BACKING_H
#define MM_STORE_BACKING_H

#include <stdbool.h>
#include <stdint.h>

/* How free slots' blocks are given back. */
enum backing_trim {
	BACKING_TRIM_NOT,     /* they stay */
	BACKING_TRIM_PUNCH,   /* a file: fallocate() */
	BACKING_TRIM_COMMAND, /* a device: a command through io_uring (Linux 6.12) */
	BACKING_TRIM_IOCTL,   /* a device: BLKDISCARD, which waits */
};

struct backing {
	int fd;
	bool direct; /* O_DIRECT is on */
	enum backing_trim trim;
};

/* Errors: see gmm_store_file_new(). */
int backing_open(struct backing *b, const char *path, uint64_t bytes, bool no_direct);
void backing_close(struct backing *b);

/* Gives blocks back, waits. 0, or a negative errno. */
int backing_discard(const struct backing *b, uint64_t offset, uint64_t bytes);

/* An attempt failed with this error: the next way is tried from now on, if there is one. */
void backing_trim_failed(struct backing *b, int error);

/* The directory of files that are given no path: $TMPDIR, or /var/tmp where that is not set. */
const char *backing_private_dir(void);

/* Goes on through the page cache, for files that refuse O_DIRECT only when it is used. */
int backing_drop_direct(struct backing *b);

#endif
