/* A helper process that removes the control socket should guestmm be killed.
 *
 * It holds the reading end of a pipe whose other end only guestmm has. End of file without
 * a word means that guestmm died: then a socket of that name that nobody listens on is
 * removed. A byte means that guestmm has tidied up by itself. It holds nothing else open.
 */
#include "vmm/cmd/janitor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void remove_stale(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct stat st;
	int fd;

	if (strlen(path) >= sizeof(addr.sun_path) || lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 && errno == ECONNREFUSED)
		unlink(path);
	close(fd);
}

static void watch(int fd, const char *path)
{
	ssize_t n;
	char byte;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		remove_stale(path);
}

static void become_janitor(int fd, const char *path)
{
	sigset_t all;

	/* A signal to the process group or a Ctrl-C at the terminal is not for it: it must
	 * outlive guestmm by a moment. */
	setsid();
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_NAME, "guestmm-janitor");
	if (dup2(fd, STDIN_FILENO) < 0)
		_exit(1);
	close_range(STDOUT_FILENO, ~0u, 0);
	watch(STDIN_FILENO, path);
	_exit(0);
}

int janitor_start(const char *socket_path)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		close(fds[1]);
		become_janitor(fds[0], socket_path);
	}
	close(fds[0]);
	if (pid < 0) {
		int err = errno;

		close(fds[1]);
		return -err;
	}
	return fds[1];
}

void janitor_dismiss(int janitor)
{
	const char done = 0;

	if (janitor < 0)
		return;
	if (write(janitor, &done, 1) < 0)
		return;
	close(janitor);
}
