/* See waker.h. */
#include "store/waker.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int watch(struct waker *w, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int open_both(struct waker *w)
{
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll_fd < 0)
		return -errno;
	w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->event_fd < 0)
		return -errno;
	return watch(w, w->event_fd);
}

int waker_init(struct waker *w, struct gmm_store *const *stores, unsigned n)
{
	int error = 0;

	*w = (struct waker){.epoll_fd = -1, .event_fd = -1};
	for (unsigned i = 0; i < n && !error; i++) {
		int fd = stores[i]->ops->fd(stores[i]);

		if (fd < 0)
			continue;
		if (w->epoll_fd < 0)
			error = open_both(w);
		if (!error)
			error = watch(w, fd);
	}
	if (error)
		waker_fini(w);
	return error;
}

void waker_fini(struct waker *w)
{
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	if (w->event_fd >= 0)
		close(w->event_fd);
	w->epoll_fd = w->event_fd = -1;
}

void waker_set(struct waker *w)
{
	if (w->event_fd >= 0 && !w->set)
		w->set = eventfd_write(w->event_fd, 1) == 0;
}

void waker_clear(struct waker *w)
{
	eventfd_t value;

	if (w->set && eventfd_read(w->event_fd, &value) == 0)
		w->set = false;
}

void waker_wait(struct gmm_store *st)
{
	struct pollfd pfd = {.fd = st->ops->fd(st), .events = POLLIN};

	if (pfd.fd >= 0)
		while (poll(&pfd, 1, -1) < 0 && errno == EINTR)
			;
}
