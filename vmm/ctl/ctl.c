/* The control socket's server: one thread, one poll().
 *
 * No client can hold up another: all descriptors are non-blocking, a client that does not
 * read its reply is not read from until it does, and what is kept for each is bounded: one
 * request line and one reply. Where all places are taken, who has been silent longest loses
 * its own to a new client. Requests are handled one at a time on this thread.
 *
 * Lock: none. The server's state belongs to its thread; ctl_free() only writes to the eventfd.
 */
#include "ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "request.h"
#include "socket.h"

#define MAX_CLIENTS 16
#define IDLE_NS	    UINT64_C(2000000000) /* silent for so long, a client makes way for another */

struct client {
	int fd;		    /* -1: free */
	bool eof;	    /* it has said all that it will say */
	uint64_t active_ns; /* when it connected, or last sent or took something */
	size_t n_in;
	char in[REQUEST_MAX_BYTES + 1];
	char *out; /* NULL: nothing to send */
	size_t n_out, n_sent;
};

struct ctl {
	const struct ctl_ops *ops;
	void *user;
	char *path; /* NULL: abstract, no file */
	dev_t dev;  /* the file that is ours to remove */
	ino_t ino;
	int listen_fd, stop_fd;
	pthread_t thread;
	struct client clients[MAX_CLIENTS];
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void client_close(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	free(client->out);
	*client = (struct client){.fd = -1};
}

/* Sends what it takes without waiting. Returns false where the client is gone. */
static bool client_send(struct client *client)
{
	while (client->n_sent < client->n_out) {
		ssize_t n = send(client->fd, client->out + client->n_sent,
				 client->n_out - client->n_sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		client->n_sent += (size_t)n;
	}
	free(client->out);
	client->out = NULL;
	client->n_out = client->n_sent = 0;
	return true;
}

/* Takes a reply over and begins to send it. */
static bool client_reply(struct client *client, char *reply)
{
	if (!reply)
		return false;
	client->out = reply;
	client->n_out = strlen(reply);
	client->n_sent = 0;
	return client_send(client);
}

/* Length of the first request in the buffer, -1 where it is not there yet. What stands
 * before the end of the stream is a request even without its newline. */
static ssize_t client_line(const struct client *client)
{
	const char *end = memchr(client->in, '\n', client->n_in);

	if (end)
		return end - client->in;
	return client->eof && client->n_in ? (ssize_t)client->n_in : -1;
}

static void client_consume(struct client *client, size_t n)
{
	if (n < client->n_in && client->in[n] == '\n')
		n++;
	client->n_in -= n;
	memmove(client->in, client->in + n, client->n_in);
}

/* Handles what has been read, as long as the replies go out. False: close. */
static bool client_work(struct ctl *ctl, struct client *client)
{
	ssize_t n;

	while (!client->out && (n = client_line(client)) >= 0) {
		char *reply = NULL;

		if (n) {
			reply = request_handle(ctl->ops, ctl->user, client->in, (size_t)n);
			if (!client_reply(client, reply))
				return false;
		}
		client_consume(client, (size_t)n);
	}
	if (!client->out && client->n_in == sizeof(client->in)) {
		client_reply(client, request_refusal("the request line is longer than 4096 bytes"));
		return false;
	}
	return client->out || !client->eof || client->n_in;
}

/* Reads what is there. False: the client is gone. */
static bool client_read(struct client *client)
{
	ssize_t n = recv(client->fd, client->in + client->n_in, sizeof(client->in) - client->n_in,
			 MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	client->n_in += (size_t)n;
	client->eof = n == 0;
	return true;
}

static void client_event(struct ctl *ctl, struct client *client, short events)
{
	bool alive = true;

	client->active_ns = now_ns();
	if (client->out)
		alive = !(events & (POLLERR | POLLHUP)) && client_send(client);
	else if (events)
		alive = client_read(client);
	if (!alive || !client_work(ctl, client))
		client_close(client);
}

/* The socket's mode keeps others out where it is a file; an abstract one has no mode. */
static bool peer_may(int fd)
{
	struct ucred peer;
	socklen_t n = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n))
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

static void turn_away(int fd, const char *why)
{
	char *reply = request_refusal(why);

	if (reply)
		(void)!send(fd, reply, strlen(reply), MSG_DONTWAIT | MSG_NOSIGNAL);
	free(reply);
	close(fd);
}

/* A place for one more client: a free one, or that of the client that has been silent longest.
 * NULL: all are in use. */
static struct client *find_place(struct ctl *ctl)
{
	struct client *oldest = &ctl->clients[0];

	for (unsigned i = 0; i < MAX_CLIENTS; i++) {
		struct client *client = &ctl->clients[i];

		if (client->fd < 0)
			return client;
		if (client->active_ns < oldest->active_ns)
			oldest = client;
	}
	if (now_ns() - oldest->active_ns < IDLE_NS)
		return NULL;
	client_close(oldest);
	return oldest;
}

static void accept_client(struct ctl *ctl)
{
	struct client *client;
	int fd = accept4(ctl->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		/* Out of descriptors or memory: it stays pending; do not spin on it. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			poll(NULL, 0, 100);
		return;
	}
	if (!peer_may(fd)) {
		turn_away(fd, "only the user who started this guestmm, and root, may use it");
		return;
	}
	client = find_place(ctl);
	if (client)
		*client = (struct client){.fd = fd, .active_ns = now_ns()};
	else
		turn_away(fd, "too many clients: 16 are connected already, and none is idle");
}

/* Fills in the descriptors to wait for; clients[i] is at 2 + i. */
static void fill_polls(const struct ctl *ctl, struct pollfd *polls)
{
	polls[0] = (struct pollfd){.fd = ctl->stop_fd, .events = POLLIN};
	polls[1] = (struct pollfd){.fd = ctl->listen_fd, .events = POLLIN};
	for (unsigned i = 0; i < MAX_CLIENTS; i++) {
		const struct client *client = &ctl->clients[i];
		short events = client->out ? POLLOUT : POLLIN;

		polls[2 + i] = (struct pollfd){.fd = client->fd, .events = events};
	}
}

static void *serve(void *arg)
{
	struct pollfd polls[2 + MAX_CLIENTS];
	struct ctl *ctl = arg;

	for (;;) {
		fill_polls(ctl, polls);
		if (poll(polls, sizeof(polls) / sizeof(polls[0]), -1) < 0)
			continue;
		if (polls[0].revents)
			return NULL;
		for (unsigned i = 0; i < MAX_CLIENTS; i++) {
			if (polls[2 + i].revents)
				client_event(ctl, &ctl->clients[i], polls[2 + i].revents);
		}
		if (polls[1].revents)
			accept_client(ctl);
	}
}

/* The thread takes no signals: they are the main thread's. */
static int start_thread(struct ctl *ctl)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&ctl->thread, NULL, serve, ctl);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err)
		pthread_setname_np(ctl->thread, "guestmm-ctl");
	return -err;
}

/* Remembers the socket's file, so that no other's is ever removed. */
static int remember_file(struct ctl *ctl, const char *path)
{
	struct stat st;

	if (path[0] == '@')
		return 0;
	if (lstat(path, &st))
		return -errno;
	ctl->dev = st.st_dev;
	ctl->ino = st.st_ino;
	ctl->path = strdup(path);
	return ctl->path ? 0 : -ENOMEM;
}

static struct ctl *release(struct ctl *ctl)
{
	struct stat st;

	for (unsigned i = 0; i < MAX_CLIENTS; i++)
		client_close(&ctl->clients[i]);
	if (ctl->path && !lstat(ctl->path, &st) && st.st_dev == ctl->dev && st.st_ino == ctl->ino)
		unlink(ctl->path);
	if (ctl->listen_fd >= 0)
		close(ctl->listen_fd);
	if (ctl->stop_fd >= 0)
		close(ctl->stop_fd);
	free(ctl->path);
	free(ctl);
	return NULL;
}

int ctl_new(const char *path, const struct ctl_ops *ops, void *user, struct ctl **out, char *error,
	    size_t error_bytes)
{
	struct ctl *ctl = calloc(1, sizeof(*ctl));
	int err;

	if (!ctl) {
		snprintf(error, error_bytes, "control socket: out of memory");
		return -ENOMEM;
	}
	ctl->ops = ops;
	ctl->user = user;
	for (unsigned i = 0; i < MAX_CLIENTS; i++)
		ctl->clients[i].fd = -1;
	ctl->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ctl->listen_fd = socket_listen(path, error, error_bytes);
	if (ctl->listen_fd < 0) {
		err = ctl->listen_fd;
		goto out;
	}
	err = remember_file(ctl, path);
	if (!err)
		err = ctl->stop_fd < 0 ? -EMFILE : start_thread(ctl);
	if (!err) {
		*out = ctl;
		return 0;
	}
	snprintf(error, error_bytes, "control socket %.120s: %s", path, strerror(-err));
out:
	release(ctl);
	return err;
}

struct ctl *ctl_free(struct ctl *ctl)
{
	uint64_t one = 1;

	if (!ctl)
		return NULL;
	(void)!write(ctl->stop_fd, &one, sizeof(one));
	pthread_join(ctl->thread, NULL);
	return release(ctl);
}
