/* Backing: the file or block device behind a file store.
 *
 * A file has no name from the beginning (O_TMPFILE), or for an instant only where the file system
 * cannot do that: nothing stays behind however the process ends.
 */
#ifndef MM_STORE_BACKING_H
#define MM_STORE_BACKING_H

#include <stdbool.h>
#include <stdint.h>

struct backing {
	int fd;
	bool direct; /* O_DIRECT is on */
	bool can_punch;
};

/* Errors: see gmm_store_file_new(). */
int backing_open(struct backing *b, const char *path, uint64_t bytes, bool no_direct);
void backing_close(struct backing *b);

/* The directory of files that are given no path: $TMPDIR, or /var/tmp where that is not set. */
const char *backing_private_dir(void);

/* Goes on through the page cache, for files that refuse O_DIRECT only when it is used. */
int backing_drop_direct(struct backing *b);

#endif
