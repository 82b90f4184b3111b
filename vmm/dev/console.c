/* Where a guest's output goes.
 *
 * Standard output is buffered, up to the end of the line where it is a terminal; the main
 * loop flushes what is left when the guest pauses. Standard error is not buffered.
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
#define IDLE_BYTES   4096 /* a pipe that polls writable takes so much */

struct console {
	pthread_mutex_t lock;
	atomic_bool give_up;
	bool by_line;
	int error; /* once standard output fails, it stays failed */
	size_t n;
	char buffer[BUFFER_BYTES];
};

int console_new(struct console **out)
{
	struct console *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	c->by_line = isatty(STDOUT_FILENO);
	*out = c;
	return 0;
}

struct console *console_free(struct console *c)
{
	if (c)
		pthread_mutex_destroy(&c->lock);
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

void console_flush_idle(struct console *c)
{
	struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

	if (pthread_mutex_trylock(&c->lock))
		return;
	if (c->n && c->n <= IDLE_BYTES && poll(&p, 1, 0) > 0)
		flush_locked(c);
	pthread_mutex_unlock(&c->lock);
}

void console_give_up(struct console *c, bool on)
{
	atomic_store(&c->give_up, on);
}
