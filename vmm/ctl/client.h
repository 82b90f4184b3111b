/* The other end of the control socket. */
#ifndef VMM_CTL_CLIENT_H
#define VMM_CTL_CLIENT_H

#include <jansson.h>
#include <stddef.h>

struct ctl_client;

/* Connects. Errors, with a message for people: as socket_connect(), -ENOMEM. */
int ctl_client_new(const char *path, struct ctl_client **out, char *error, size_t error_bytes);

/* Sends a request, whose reference it takes, and waits up to five seconds for its reply, a new
 * object with "ok": true. Errors, with a message for people: -EREMOTEIO (the other side refused;
 * the message is its own), -EPIPE (it ended), -ETIMEDOUT, -EPROTO (no JSON), -ENOMEM. */
int ctl_client_call(struct ctl_client *client, json_t *request, json_t **reply, char *error,
		    size_t error_bytes);

/* Takes NULL, returns NULL. */
struct ctl_client *ctl_client_free(struct ctl_client *client);

#endif
