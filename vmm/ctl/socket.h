/* Unix stream sockets by name: PATH, or @NAME for an abstract one. */
#ifndef VMM_CTL_SOCKET_H
#define VMM_CTL_SOCKET_H

#include <stddef.h>

/* Makes a listening socket, non-blocking, close-on-exec, mode 0600; replaces a socket file that
 * nobody listens on. Returns its descriptor, or a negative errno with a message for people. */
int socket_listen(const char *name, char *error, size_t error_bytes);

/* Connects, within two seconds. Returns the descriptor (blocking, close-on-exec), or a
 * negative errno with a message for people. */
int socket_connect(const char *name, char *error, size_t error_bytes);

#endif
