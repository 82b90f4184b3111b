/* userfaultfd: see uffd.h. */
#include "uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 6.1: a way in for those who may open the device file. */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

static int uffd_open_raw(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	int dev, err = errno;

	if (fd >= 0)
		return fd;
	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -err;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	err = errno;
	close(dev);
	return fd >= 0 ? fd : -err;
}

static int uffd_api(int fd, uint64_t *features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = *features};

	if (ioctl(fd, UFFDIO_API, &api))
		return -errno;
	*features = api.features;
	return 0;
}

int uffd_open(struct uffd *u, uint64_t want)
{
	uint64_t have = 0;
	int probe, fd, ret;

	u->fd = -1;
	/* A descriptor takes one UFFDIO_API that enables features: ask on another first. */
	probe = uffd_open_raw();
	if (probe < 0)
		return probe;
	ret = uffd_api(probe, &have);
	close(probe);
	if (ret)
		return ret == -EINVAL ? -ENOSYS : ret;
	fd = uffd_open_raw();
	if (fd < 0)
		return fd;
	want &= have;
	u->features = want;
	ret = uffd_api(fd, &want);
	if (ret) {
		close(fd);
		return ret;
	}
	u->fd = fd;
	return 0;
}

void uffd_close(struct uffd *u)
{
	if (u->fd >= 0)
		close(u->fd);
	u->fd = -1;
}

int uffd_register(const struct uffd *u, void *start, size_t bytes, uint64_t mode)
{
	struct uffdio_register reg = {.range = {(uintptr_t)start, bytes}, .mode = mode};

	return ioctl(u->fd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

int uffd_unregister(const struct uffd *u, void *start, size_t bytes)
{
	struct uffdio_range range = {(uintptr_t)start, bytes};

	return ioctl(u->fd, UFFDIO_UNREGISTER, &range) ? -errno : 0;
}

/* The kernel reports progress in a field that may hold a negative errno instead. */
static int uffd_result(int ret, int64_t field, size_t *done)
{
	int err = errno;

	*done = field > 0 ? (size_t)field : 0;
	if (ret == 0)
		return 0;
	return field < 0 ? (int)field : -err;
}

int uffd_move(const struct uffd *u, void *to, void *from, size_t bytes, size_t *done, bool wake)
{
	struct uffdio_move move = {.dst = (uintptr_t)to,
				   .src = (uintptr_t)from,
				   .len = bytes,
				   .mode = wake ? 0 : UFFDIO_MOVE_MODE_DONTWAKE};
	int ret = ioctl(u->fd, UFFDIO_MOVE, &move);

	return uffd_result(ret, move.move, done);
}

int uffd_copy(const struct uffd *u, void *to, const void *from, size_t bytes, size_t *done,
	      bool wake)
{
	struct uffdio_copy copy = {.dst = (uintptr_t)to,
				   .src = (uintptr_t)from,
				   .len = bytes,
				   .mode = wake ? 0 : UFFDIO_COPY_MODE_DONTWAKE};
	int ret = ioctl(u->fd, UFFDIO_COPY, &copy);

	return uffd_result(ret, copy.copy, done);
}

int uffd_protect(const struct uffd *u, void *start, size_t bytes, bool protect)
{
	struct uffdio_writeprotect wp = {.range = {(uintptr_t)start, bytes},
					 .mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0};

	return ioctl(u->fd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}

int uffd_poison(const struct uffd *u, void *start, size_t bytes)
{
	struct uffdio_poison poison = {.range = {(uintptr_t)start, bytes}};

	return ioctl(u->fd, UFFDIO_POISON, &poison) ? -errno : 0;
}

int uffd_wake(const struct uffd *u, void *start, size_t bytes)
{
	struct uffdio_range range = {(uintptr_t)start, bytes};

	return ioctl(u->fd, UFFDIO_WAKE, &range) ? -errno : 0;
}

int uffd_read(const struct uffd *u, struct uffd_msg *msgs, unsigned n, unsigned *n_read)
{
	ssize_t got = read(u->fd, msgs, n * sizeof(*msgs));

	*n_read = 0;
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	*n_read = (unsigned)((size_t)got / sizeof(*msgs));
	return 0;
}
