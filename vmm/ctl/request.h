/* One request of the control socket: a line in, a reply out. No input or output here. */
#ifndef VMM_CTL_REQUEST_H
#define VMM_CTL_REQUEST_H

#include "ctl.h"

/* Longest request line, its newline not counted. */
#define REQUEST_MAX_BYTES 4096

/* Does what the line of n bytes asks for. Returns the reply as text that ends with a newline,
 * to be free()d; NULL without memory. */
char *request_handle(const struct ctl_ops *ops, void *user, const char *line, size_t n);

/* The reply {"ok":false,"error":"..."} as text. */
char *request_refusal(const char *error);

#endif
