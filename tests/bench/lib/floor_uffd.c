/* The bare userfaultfd loop: see floor_uffd.h. */
#include "floor_uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"

#ifndef USERFAULTFD_IOC_NEW /* Linux 6.1 */
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

#define PAGE UINT64_C(4096)
#define MSGS 16

/* Answers one message; false at the last one. */
static int answer(struct floor_uffd *f, uint64_t at)
{
	uint64_t page = (at - (uint64_t)(uintptr_t)f->base) / PAGE;
	struct uffdio_copy copy = {.dst = at & ~(PAGE - 1), .len = PAGE};
	const void *from = f->buffer; /* zeros */

	if (copy.dst != (uint64_t)(uintptr_t)f->last && f->fetch)
		from = f->fetch(f->user, page, (char *)f->buffer + PAGE);
	copy.src = (uint64_t)(uintptr_t)from;
	if (ioctl(f->fd, UFFDIO_COPY, &copy) && errno != EEXIST)
		bench_die("UFFDIO_COPY: %s", strerror(errno));
	f->n_faults++;
	return copy.dst != (uint64_t)(uintptr_t)f->last;
}

static void *loop(void *arg)
{
	struct floor_uffd *f = arg;
	struct uffd_msg msgs[MSGS];
	int goes_on = 1;

	placement_pin(f->where->handler);
	while (goes_on) {
		ssize_t n = read(f->fd, msgs, sizeof(msgs));

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			bench_die("userfaultfd: %s", strerror(errno));
		for (ssize_t i = 0; i < n / (ssize_t)sizeof(msgs[0]); i++)
			goes_on &= answer(f, msgs[i].arg.pagefault.address);
	}
	return NULL;
}

static void watch(struct floor_uffd *f, void *base, uint64_t bytes)
{
	struct uffdio_register reg = {.range = {(uint64_t)(uintptr_t)base, bytes},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};

	if (ioctl(f->fd, UFFDIO_REGISTER, &reg))
		bench_die("UFFDIO_REGISTER: %s", strerror(errno));
}

int floor_uffd_open(int flags)
{
	int fd = (int)syscall(SYS_userfaultfd, flags), error = errno, dev;

	if (fd >= 0)
		return fd;
	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		bench_unavailable("userfaultfd: %s", strerror(error));
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, flags);
	if (fd < 0)
		bench_unavailable("/dev/userfaultfd: %s", strerror(errno));
	close(dev);
	return fd;
}

void floor_uffd_start(struct floor_uffd *f, void *base, uint64_t bytes)
{
	struct uffdio_api api = {.api = UFFD_API};
	/* Sleeping in read() saves a poll(); looking without sleeping needs a read that returns. */
	int flags = O_CLOEXEC | (f->where->spins ? O_NONBLOCK : 0);

	f->base = base;
	f->bytes = bytes;
	f->n_faults = 0;
	f->fd = floor_uffd_open(flags);
	if (ioctl(f->fd, UFFDIO_API, &api))
		bench_die("UFFDIO_API: %s", strerror(errno));
	f->last = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	f->buffer = aligned_alloc(PAGE, 2 * PAGE);
	if (f->last == MAP_FAILED || !f->buffer)
		bench_die("memory: %s", strerror(errno));
	memset(f->buffer, 0, 2 * PAGE);
	watch(f, base, bytes);
	watch(f, f->last, PAGE);
	if (pthread_create(&f->thread, NULL, loop, f))
		bench_die("cannot start a thread");
}

void floor_uffd_stop(struct floor_uffd *f)
{
	*(volatile char *)f->last = 1;
	pthread_join(f->thread, NULL);
	f->n_faults--; /* the last one was ours */
	munmap(f->last, PAGE);
	free(f->buffer);
	close(f->fd);
}
