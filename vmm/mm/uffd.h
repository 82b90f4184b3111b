/* userfaultfd: the system calls, one function each, and what the installed kernel headers may lack.
 *
 * Every function returns 0 or a negative errno. EVENT_REMOVE and the other non-cooperative
 * events are never asked for: the library is the only one that discards guest memory, so the
 * fault thread may discard without waiting for itself, and ioctls do not fail with EAGAIN for
 * events that nobody has read. USER_MODE_ONLY is never set: system calls and KVM touch guest
 * memory in kernel mode.
 */
#ifndef MM_UFFD_H
#define MM_UFFD_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Linux 6.6 */
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#define _UFFDIO_POISON	    0x08
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, _UFFDIO_POISON, struct uffdio_poison)
#endif
/* Linux 6.8 */
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE		 (1 << 16)
#define _UFFDIO_MOVE			 0x05
#define UFFDIO_MOVE_MODE_DONTWAKE	 ((__u64)1 << 0)
#define UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES ((__u64)1 << 1)
struct uffdio_move {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;
	__s64 move;
};
#define UFFDIO_MOVE _IOWR(UFFDIO, _UFFDIO_MOVE, struct uffdio_move)
#endif

struct uffd {
	int fd;		   /* -1: none */
	uint64_t features; /* what this kernel has and was asked for */
};

/* Opens a userfaultfd, by system call or /dev/userfaultfd, with every feature of `want`
 * that the kernel has. -EPERM: refused to this user. -ENOSYS: not in this kernel. */
int uffd_open(struct uffd *u, uint64_t want);
void uffd_close(struct uffd *u);

int uffd_register(const struct uffd *u, void *start, size_t bytes, uint64_t mode);

/* Whoever waits for a page of the range goes on. */
int uffd_unregister(const struct uffd *u, void *start, size_t bytes);

/* Moves pages, and wakes whoever waits for them if `wake` is set. *done: bytes moved, also on
 * failure. -EBUSY (pinned or shared), -EEXIST (destination filled), -ENOENT (source empty), -EAGAIN
 * (a race was lost; or there is more to move: call again for the rest). */
int uffd_move(const struct uffd *u, void *to, void *from, size_t bytes, size_t *done, bool wake);
int uffd_copy(const struct uffd *u, void *to, const void *from, size_t bytes, size_t *done,
	      bool wake);
int uffd_protect(const struct uffd *u, void *start, size_t bytes, bool protect);
int uffd_poison(const struct uffd *u, void *start, size_t bytes);
int uffd_wake(const struct uffd *u, void *start, size_t bytes);

/* Reads up to n events. Returns 0 with *n_read, 0 where there are none. */
int uffd_read(const struct uffd *u, struct uffd_msg *msgs, unsigned n, unsigned *n_read);

#endif
