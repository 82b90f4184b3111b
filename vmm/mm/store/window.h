/* Windows: a file that backs guest pages read-only, in the shape of a store.
 *
 * A slot is a page's index in the file. Nothing is ever written, nothing needs releasing. The last
 * page is filled up with zeros. Bytes that vanish because somebody truncates the file are an
 * I/O error, as a mapping of it would raise SIGBUS.
 */
#ifndef MM_STORE_WINDOW_H
#define MM_STORE_WINDOW_H

#include <guestmm/store.h>

/* The store keeps a duplicate of fd. Errors: -EBADF, -EISDIR, -EINVAL (no regular file or block
 * device), -ENODATA (the file is shorter than `bytes`), -ENOMEM. */
int store_window_new(int fd, uint64_t bytes, struct gmm_store **out);

#endif
