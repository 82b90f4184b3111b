/* Counted system calls: see syscalls.h. */
#include "syscalls.h"

#include <linux/kvm.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <sys/types.h>

#define UFFD_TYPE 0xAA /* of its ioctls */

enum { KVM_RUNS, UFFD_IOCTLS, READS, POLLS, TIMERS, PREADS, MADVISES, EPOLLS };

static _Atomic uint64_t counts[SYSCALLS_N];

static void count(unsigned i)
{
	atomic_fetch_add_explicit(&counts[i], 1, memory_order_relaxed);
}

void syscalls_get(struct syscalls *out)
{
	for (unsigned i = 0; i < SYSCALLS_N; i++)
		out->n[i] = atomic_load(&counts[i]);
}

const char *syscalls_name(unsigned i)
{
	static const char *const names[SYSCALLS_N] = {
		[KVM_RUNS] = "kvm_run", [UFFD_IOCTLS] = "uffd_ioctl", [READS] = "read",
		[POLLS] = "poll",	[TIMERS] = "timerfd_settime", [PREADS] = "pread",
		[MADVISES] = "madvise", [EPOLLS] = "epoll_wait"};

	return names[i];
}

/* The linker's names for the function that a call meant, and for what it gets instead. */
int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
ssize_t __real_read(int fd, void *to, size_t bytes);
ssize_t __wrap_read(int fd, void *to, size_t bytes);
int __real_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
int __real_timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *old);
ssize_t __real_pread(int fd, void *to, size_t bytes, off_t at);
ssize_t __wrap_pread(int fd, void *to, size_t bytes, off_t at);
int __real_epoll_wait(int fd, struct epoll_event *events, int n, int timeout_ms);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int n, int timeout_ms);
int __real_madvise(void *at, size_t bytes, int advice);
int __wrap_madvise(void *at, size_t bytes, int advice);

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	if (request == KVM_RUN)
		count(KVM_RUNS);
	else if (_IOC_TYPE(request) == UFFD_TYPE)
		count(UFFD_IOCTLS);
	return __real_ioctl(fd, request, arg);
}

ssize_t __wrap_read(int fd, void *to, size_t bytes)
{
	count(READS);
	return __real_read(fd, to, bytes);
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	count(POLLS);
	return __real_poll(fds, n, timeout_ms);
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *old)
{
	count(TIMERS);
	return __real_timerfd_settime(fd, flags, at, old);
}

ssize_t __wrap_pread(int fd, void *to, size_t bytes, off_t at)
{
	count(PREADS);
	return __real_pread(fd, to, bytes, at);
}

int __wrap_madvise(void *at, size_t bytes, int advice)
{
	count(MADVISES);
	return __real_madvise(at, bytes, advice);
}

int __wrap_epoll_wait(int fd, struct epoll_event *events, int n, int timeout_ms)
{
	count(EPOLLS);
	return __real_epoll_wait(fd, events, n, timeout_ms);
}
