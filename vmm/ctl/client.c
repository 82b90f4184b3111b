/* The other end of the control socket: one request, one reply, within a time limit. */
#include "client.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "socket.h"

#define PATIENCE_S	5
#define REPLY_MAX_BYTES (16u << 20)

struct ctl_client {
	int fd;
	char *in; /* what came after the last reply, and room */
	size_t n_in, room;
};

static int say(int err, char *error, size_t error_bytes, const char *what)
{
	snprintf(error, error_bytes, "%s", what);
	return err;
}

int ctl_client_new(const char *path, struct ctl_client **out, char *error, size_t error_bytes)
{
	struct timeval patience = {.tv_sec = PATIENCE_S};
	struct ctl_client *client = calloc(1, sizeof(*client));

	if (!client)
		return say(-ENOMEM, error, error_bytes, "out of memory");
	client->fd = socket_connect(path, error, error_bytes);
	if (client->fd < 0) {
		int err = client->fd;

		free(client);
		return err;
	}
	setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	*out = client;
	return 0;
}

static int io_error(ssize_t n)
{
	if (n == 0)
		return -EPIPE;
	return errno == EAGAIN ? -ETIMEDOUT : -errno;
}

static int send_all(struct ctl_client *client, const char *text, size_t n)
{
	while (n) {
		ssize_t sent = send(client->fd, text, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return io_error(sent);
		text += sent;
		n -= (size_t)sent;
	}
	return 0;
}

static int grow(struct ctl_client *client)
{
	size_t room = client->room ? 2 * client->room : 4096;
	char *in;

	if (room > REPLY_MAX_BYTES)
		return -EPROTO;
	in = realloc(client->in, room);
	if (!in)
		return -ENOMEM;
	client->in = in;
	client->room = room;
	return 0;
}

/* Reads until the buffer holds a line; *n is its length. */
static int read_line(struct ctl_client *client, size_t *n)
{
	size_t seen = 0;

	for (;;) {
		const char *end = client->n_in > seen
					  ? memchr(client->in + seen, '\n', client->n_in - seen)
					  : NULL;
		ssize_t got;
		int err;

		if (end) {
			*n = (size_t)(end - client->in);
			return 0;
		}
		seen = client->n_in;
		err = client->n_in == client->room ? grow(client) : 0;
		if (err)
			return err;
		got = recv(client->fd, client->in + client->n_in, client->room - client->n_in, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return io_error(got);
		client->n_in += (size_t)got;
	}
}

static json_t *take_reply(struct ctl_client *client, size_t n)
{
	json_t *reply = json_loadb(client->in, n, 0, NULL);

	client->n_in -= n + 1;
	memmove(client->in, client->in + n + 1, client->n_in);
	return reply;
}

static int exchange(struct ctl_client *client, json_t *request, json_t **reply)
{
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t n = 0;
	int err;

	if (!text)
		return -ENOMEM;
	err = send_all(client, text, strlen(text));
	if (!err)
		err = send_all(client, "\n", 1);
	/* Where it hung up while we sent, it may have said why. */
	if (!err || err == -EPIPE)
		err = read_line(client, &n);
	free(text);
	if (err)
		return err;
	*reply = take_reply(client, n);
	return *reply ? 0 : -EPROTO;
}

int ctl_client_call(struct ctl_client *client, json_t *request, json_t **reply, char *error,
		    size_t error_bytes)
{
	json_t *got = NULL;
	const char *why;
	int err = exchange(client, request, &got);

	json_decref(request);
	switch (err) {
	case 0:
		break;
	case -EPIPE:
	case -ECONNRESET:
		return say(-EPIPE, error, error_bytes, "that guestmm has ended");
	case -ETIMEDOUT:
		return say(err, error, error_bytes,
			   "no reply within 5 s: that guestmm hangs or is stopped");
	case -EPROTO:
		return say(err, error, error_bytes,
			   "the reply is no JSON: is that guestmm's socket?");
	default:
		return say(err, error, error_bytes, strerror(-err));
	}
	if (json_is_true(json_object_get(got, "ok"))) {
		*reply = got;
		return 0;
	}
	why = json_string_value(json_object_get(got, "error"));
	say(-EREMOTEIO, error, error_bytes, why ? why : "it refused without a reason");
	json_decref(got);
	return -EREMOTEIO;
}

struct ctl_client *ctl_client_free(struct ctl_client *client)
{
	if (!client)
		return NULL;
	close(client->fd);
	free(client->in);
	free(client);
	return NULL;
}
