/* Unix stream sockets by name. A socket file outlives a process that is killed, so that a
 * new one has to tell a stale file from a socket in use: connecting tells. An abstract
 * name ('@') has no file and thus no such trouble. */
#include "socket.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16

static int say(int err, char *error, size_t error_bytes, const char *name, const char *what)
{
	snprintf(error, error_bytes, "control socket %.120s: %s", name, what);
	return err;
}

static int make_address(const char *name, struct sockaddr_un *addr, socklen_t *addr_bytes)
{
	size_t n = strlen(name);

	if (!n || (name[0] == '@' && n == 1))
		return -EINVAL;
	if (n >= sizeof(addr->sun_path))
		return -ENAMETOOLONG;
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(addr->sun_path, name, n);
	*addr_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	if (name[0] == '@') {
		addr->sun_path[0] = '\0';
		--*addr_bytes;
	}
	return 0;
}

static int open_address(const char *name, struct sockaddr_un *addr, socklen_t *addr_bytes,
			char *error, size_t error_bytes)
{
	int err = make_address(name, addr, addr_bytes), fd;

	if (err == -EINVAL)
		return say(err, error, error_bytes, name, "the name is empty");
	if (err)
		return say(err, error, error_bytes, name,
			   "the path is too long: at most 107 bytes; a relative one may do");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return fd >= 0 ? fd : say(-errno, error, error_bytes, name, strerror(errno));
}

static int connect_to(const char *name, char *error, size_t error_bytes)
{
	struct timeval patience = {.tv_sec = 2};
	struct sockaddr_un addr;
	socklen_t addr_bytes;
	int fd = open_address(name, &addr, &addr_bytes, error, error_bytes), err;

	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (!connect(fd, (struct sockaddr *)&addr, addr_bytes))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int socket_connect(const char *name, char *error, size_t error_bytes)
{
	int fd;

	error[0] = '\0';
	fd = connect_to(name, error, error_bytes);
	if (fd >= 0 || error[0])
		return fd;
	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return say(fd, error, error_bytes, name,
			   "no guestmm listens there: was it started with --control, and does it "
			   "still run?");
	if (fd == -EACCES)
		return say(fd, error, error_bytes, name,
			   "permission denied: it belongs to the user who started that guestmm");
	return say(fd, error, error_bytes, name, strerror(-fd));
}

/* Makes way for a new socket file. 0, or a negative errno with its message. */
static int clear_stale(const char *name, char *error, size_t error_bytes)
{
	struct stat st;
	int fd;

	if (lstat(name, &st))
		return errno == ENOENT ? 0 : say(-errno, error, error_bytes, name, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return say(-EEXIST, error, error_bytes, name,
			   "there is such a file, and it is no socket: choose another path");
	fd = connect_to(name, error, error_bytes);
	if (fd >= 0) {
		close(fd);
		return say(-EADDRINUSE, error, error_bytes, name,
			   "another process listens there: choose another path");
	}
	if (fd != -ECONNREFUSED)
		return say(fd, error, error_bytes, name, strerror(-fd));
	if (unlink(name) && errno != ENOENT)
		return say(-errno, error, error_bytes, name, strerror(errno));
	return 0;
}

int socket_listen(const char *name, char *error, size_t error_bytes)
{
	struct sockaddr_un addr;
	socklen_t addr_bytes;
	int fd = open_address(name, &addr, &addr_bytes, error, error_bytes), err;

	if (fd < 0)
		return fd;
	err = name[0] == '@' ? 0 : clear_stale(name, error, error_bytes);
	if (err)
		goto out;
	/* Before bind(): Linux makes the file with the socket's own mode. */
	if (fchmod(fd, S_IRUSR | S_IWUSR) || bind(fd, (struct sockaddr *)&addr, addr_bytes)) {
		err = errno == EADDRINUSE
			      ? say(-errno, error, error_bytes, name,
				    "another process listens there: choose another name")
			      : say(-errno, error, error_bytes, name, strerror(errno));
		goto out;
	}
	if (!listen(fd, BACKLOG))
		return fd;
	err = say(-errno, error, error_bytes, name, strerror(errno));
out:
	close(fd);
	return err;
}
