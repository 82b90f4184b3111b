/* Where a guest's output goes.
 *
 * Standard output is buffered, up to the end of the line where it is a terminal; the main
 * loop flushes what is left when the guest pauses, and so does whoever is about to say something
 * in guestmm's name. Standard error is not buffered.
 * Lock: `lock` guards the buffer and is held while a writer waits for a full pipe, so
 * the main loop only ever tries it.
 */
#include "vmm/dev/console.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/say.h"

#define BUFFER_BYTES 16384
#define PIECE_BYTES  4096 /* a pipe that polls writable takes so much */

struct console {
	pthread_mutex_t lock;
	atomic_bool give_up;
	bool by_line, mid_line;
	int error; /* once standard output fails, it stays failed */
	size_t n;
	char buffer[BUFFER_BYTES];
};

/* Writes what goes out without waiting, in pieces that a pipe which polls writable takes. */
static void flush_ready(struct console *c)
{
	struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};
	size_t sent = 0;

	while (sent < c->n && !c->error && poll(&p, 1, 0) > 0) {
		size_t n = c->n - sent < PIECE_BYTES ? c->n - sent : PIECE_BYTES;
		int rc = say_output(STDOUT_FILENO, c->buffer + sent, n, &c->give_up);

		if (rc && rc != -EINTR)
			c->error = rc;
		if (rc)
			break;
		sent += n;
	}
	memmove(c->buffer, c->buffer + sent, c->n - sent);
	c->n -= sent;
}

void console_flush_idle(struct console *c)
{
	if (pthread_mutex_trylock(&c->lock))
		return;
	flush_ready(c);
	pthread_mutex_unlock(&c->lock);
}

static void flush_before_words(void *user)
{
	console_flush_idle(user);
}

int console_new(struct console **out)
{
	struct console *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	c->by_line = isatty(STDOUT_FILENO);
	say_after(flush_before_words, c);
	*out = c;
	return 0;
}

struct console *console_free(struct console *c)
{
	if (c) {
		say_after(NULL, NULL);
		pthread_mutex_destroy(&c->lock);
	}
	free(c);
	return NULL;
}

static int flush_locked(struct console *c)
{
	int rc;

	if (c->error)
		return c->error;
	rc = say_output(STDOUT_FILENO, c->buffer, c->n, &c->give_up);
	c->n = 0;
	if (rc && rc != -EINTR)
		c->error = rc;
	return rc;
}

static int write_locked(struct console *c, const char *data, size_t bytes)
{
	int rc = c->error;

	if (bytes)
		c->mid_line = data[bytes - 1] != '\n';
	while (bytes && !rc) {
		size_t room = BUFFER_BYTES - c->n;
		size_t n = bytes < room ? bytes : room;

		memcpy(c->buffer + c->n, data, n);
		c->n += n;
		data += n;
		bytes -= n;
		if (c->n == BUFFER_BYTES || (c->by_line && memchr(data - n, '\n', n)))
			rc = flush_locked(c);
	}
	return rc;
}

int console_write(struct console *c, int stream, const void *data, size_t bytes)
{
	int rc;

	if (stream != STDOUT_FILENO)
		return say_output(STDERR_FILENO, data, bytes, &c->give_up);
	pthread_mutex_lock(&c->lock);
	rc = write_locked(c, data, bytes);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

int console_flush(struct console *c)
{
	int rc;

	pthread_mutex_lock(&c->lock);
	rc = flush_locked(c);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

bool console_is_mid_line(struct console *c)
{
	bool mid_line;

	pthread_mutex_lock(&c->lock);
	mid_line = c->mid_line;
	pthread_mutex_unlock(&c->lock);
	return mid_line;
}

void console_give_up(struct console *c, bool on)
{
	atomic_store(&c->give_up, on);
}
