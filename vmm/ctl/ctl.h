/* The control socket: whoever may open it watches and steers a running guest.
 *
 * Newline-delimited JSON over a Unix stream socket, one reply a request, in order:
 *   {"cmd":"stats"}                   {"ok":true,"stats":{...}}     guestmm-stats-1
 *   {"cmd":"map","chunks":N}          {"ok":true,"map":{...}}       see map.h; chunks may be left
 * out
 *   {"cmd":"balloon","bytes":N}       {"ok":true}                   asks the guest; it follows in
 * its time
 *   {"cmd":"limit","bytes":N}         {"ok":true}
 *   {"cmd":"pause"} {"cmd":"resume"} {"cmd":"quit"}                 {"ok":true}
 * Anything else: {"ok":false,"error":"..."}. A request's "id", of any type, comes back in
 * its reply.
 */
#ifndef VMM_CTL_CTL_H
#define VMM_CTL_CTL_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* What the requests do. All are called from the server's thread, one at a time; none may wait for
 * the guest. The int ones return 0, or a negative errno after writing a message for people. */
struct ctl_ops {
	json_t *(*stats)(void *user); /* a new object, NULL without memory */
	json_t *(*map)(void *user, unsigned max_chunks);
	int (*balloon)(void *user, uint64_t bytes, char *error, size_t error_bytes);
	int (*limit)(void *user, uint64_t bytes, char *error, size_t error_bytes);
	int (*pause)(void *user, char *error, size_t error_bytes);
	int (*resume)(void *user, char *error, size_t error_bytes);
	int (*quit)(void *user, char *error, size_t error_bytes); /* begins the end */
};

/* Room for every message of ctl_new() and of the operations. */
#define CTL_ERROR_BYTES 256

struct ctl;

/* Makes the socket, mode 0600, and starts the server's thread. A path that begins with '@'
 * names an abstract socket, which leaves no file however the process ends. A stale socket
 * file, one that nobody listens on, is replaced. Only the same user, and root, are
 * served. Errors, with a message for people: -EADDRINUSE (somebody listens there),
 * -EEXIST (a file that is no socket), -ENAMETOOLONG, -ENOMEM, -EAGAIN, and bind()'s. */
int ctl_new(const char *path, const struct ctl_ops *ops, void *user, struct ctl **out, char *error,
	    size_t error_bytes);

/* Answers what it has begun, ends the thread, closes and removes the socket.
 * Takes NULL, returns NULL. */
struct ctl *ctl_free(struct ctl *ctl);

#endif
