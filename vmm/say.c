/* guestmm's own words, and guest output where it shares a terminal with them.
 *
 * A message first clears the progress line and draws it again below, so that neither
 * garbles the other; while guest output stands in the middle of a line, the progress line
 * stays away. Lock: `lock` guards all of it and is a leaf. Output that does not go to a
 * terminal takes no lock: a full pipe must not stop messages.
 */
#include "vmm/say.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A write of so many bytes to a pipe that polls writable does not block. */
#define CHUNK_BYTES 4096
#define LOOK_UP_MS  100
#define DIVIDER	    " | "

static struct {
	pthread_mutex_t lock;
	char progress[256];
	bool drawn, mid_line;
	void (*write_first)(void *user);
	void *user;
} saying = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void hide(void)
{
	if (saying.drawn)
		fputs("\r\033[K", stderr);
	saying.drawn = false;
}

/* How much of the progress line one line of the terminal shows. The last column stays free: what
 * is written there makes some terminals go on to the next line. */
static int progress_length(void)
{
	struct winsize size = {0};
	const char *end = saying.progress, *next;
	size_t columns = 79;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
		columns = size.ws_col - 1u;
	if (strlen(saying.progress) <= columns)
		return (int)strlen(saying.progress);
	while ((next = strstr(end + 1, DIVIDER)) && (size_t)(next - saying.progress) <= columns)
		end = next;
	return end > saying.progress ? (int)(end - saying.progress) : (int)columns;
}

static void show(void)
{
	saying.drawn = saying.progress[0] && !saying.mid_line;
	if (saying.drawn)
		fprintf(stderr, "%.*s", progress_length(), saying.progress);
	fflush(stderr);
}

void say_after(void (*write_first)(void *user), void *user)
{
	pthread_mutex_lock(&saying.lock);
	saying.write_first = write_first;
	saying.user = user;
	pthread_mutex_unlock(&saying.lock);
}

static void write_first(void)
{
	void (*write)(void *user);
	void *user;

	pthread_mutex_lock(&saying.lock);
	write = saying.write_first;
	user = saying.user;
	pthread_mutex_unlock(&saying.lock);
	if (write)
		write(user);
}

void say_v(const char *format, va_list args)
{
	write_first();
	pthread_mutex_lock(&saying.lock);
	hide();
	if (saying.mid_line)
		fputc('\n', stderr);
	saying.mid_line = false;
	fputs("guestmm: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	show();
	pthread_mutex_unlock(&saying.lock);
}

void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_v(format, args);
	va_end(args);
}

bool say_can_progress(void)
{
	const char *term = getenv("TERM");

	return isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

void say_progress(const char *line)
{
	pthread_mutex_lock(&saying.lock);
	hide();
	snprintf(saying.progress, sizeof(saying.progress), "%s", line ? line : "");
	show();
	pthread_mutex_unlock(&saying.lock);
}

static int write_all(int fd, const char *data, size_t bytes, const atomic_bool *give_up)
{
	while (bytes) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		int ready = poll(&p, 1, LOOK_UP_MS);
		ssize_t n;

		if (ready < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (ready <= 0) {
			if (atomic_load(give_up))
				return -EINTR;
			continue;
		}
		n = write(fd, data, bytes < CHUNK_BYTES ? bytes : CHUNK_BYTES);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n == 0)
			return -EIO;
		if (n > 0) {
			data += n;
			bytes -= (size_t)n;
		}
	}
	return 0;
}

int say_output(int fd, const void *data, size_t bytes, const atomic_bool *give_up)
{
	int rc;

	if (bytes == 0)
		return 0;
	if (!isatty(fd))
		return write_all(fd, data, bytes, give_up);
	pthread_mutex_lock(&saying.lock);
	hide();
	fflush(stderr);
	rc = write_all(fd, data, bytes, give_up);
	saying.mid_line = ((const char *)data)[bytes - 1] != '\n';
	show();
	pthread_mutex_unlock(&saying.lock);
	return rc;
}
