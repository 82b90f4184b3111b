/* Opening what is behind a file store: each refusal as early as it can be seen. */
#include "store/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <guestmm/types.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* What must be there at the start: a store that cannot hold this is no store. */
#define FIRST_BYTES (UINT64_C(1) << 20)

static int open_named(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	if (unlink(path) < 0) {
		int error = -errno;

		close(fd);
		return error;
	}
	return fd;
}

/* A file without a name in the directory; -EOPNOTSUPP where that is not offered. */
static int open_nameless(const char *dir)
{
	int fd = open(dir, O_RDWR | O_TMPFILE | O_EXCL | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	/* Kernels and file systems without O_TMPFILE see a directory opened for writing. */
	return errno == EISDIR || errno == EINVAL ? -EOPNOTSUPP : -errno;
}

static int open_block_device(const char *path, uint64_t bytes)
{
	uint64_t device_bytes;
	int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, BLKGETSIZE64, &device_bytes) < 0 || device_bytes < bytes) {
		close(fd);
		return -ENOSPC;
	}
	return fd;
}

static int open_path(const char *path, uint64_t bytes, bool *is_device)
{
	struct stat st;
	char *copy;
	int fd;

	if (stat(path, &st) == 0) {
		*is_device = S_ISBLK(st.st_mode);
		if (*is_device)
			return open_block_device(path, bytes);
		return S_ISDIR(st.st_mode) ? -EISDIR : -EEXIST;
	}
	if (errno != ENOENT)
		return -errno;
	if (lstat(path, &st) == 0) /* a link to nowhere */
		return -EEXIST;
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	fd = open_nameless(dirname(copy));
	free(copy);
	return fd == -EOPNOTSUPP ? open_named(path) : fd;
}

const char *backing_private_dir(void)
{
	const char *dir = getenv("TMPDIR");

	return dir && *dir ? dir : "/var/tmp";
}

static int open_private(void)
{
	const char *dir = backing_private_dir();
	char path[4096];
	uint64_t random;
	int fd;

	fd = open_nameless(dir);
	if (fd != -EOPNOTSUPP)
		return fd;
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	if ((size_t)snprintf(path, sizeof(path), "%s/guestmm-%016llx", dir,
			     (unsigned long long)random) >= sizeof(path))
		return -ENAMETOOLONG;
	return open_named(path);
}

/* Growing past RLIMIT_FSIZE would not fail but kill the process (SIGXFSZ). */
static int set_size(int fd, uint64_t bytes)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes)
		return -EFBIG;
	if (ftruncate(fd, (off_t)bytes) < 0)
		return -errno;
	return 0;
}

static int check_space(int fd)
{
	struct statvfs vfs;
	int error;

	do {
		error = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)FIRST_BYTES) < 0 ? -errno : 0;
	} while (error == -EINTR);
	if (error == -EDQUOT)
		return -ENOSPC;
	if (error != -EOPNOTSUPP && error != -ENOSYS)
		return error;
	/* Those without a size of their own, such as ramfs, say 0 of 0. */
	if (fstatvfs(fd, &vfs) == 0 && vfs.f_blocks &&
	    (uint64_t)vfs.f_bavail * vfs.f_frsize < FIRST_BYTES)
		return -ENOSPC;
	return 0;
}

/* Some file systems accept the flag and refuse its use: try one page. What was there
 * (on a device) is written over: it is ours from here on. */
static int try_direct(struct backing *b)
{
	int flags = fcntl(b->fd, F_GETFL);
	void *page;
	ssize_t n;

	if (flags < 0 || fcntl(b->fd, F_SETFL, flags | O_DIRECT) < 0)
		return 0;
	page = aligned_alloc(GMM_PAGE_BYTES, GMM_PAGE_BYTES);
	if (!page)
		return -ENOMEM;
	memset(page, 0, GMM_PAGE_BYTES);
	do {
		n = pwrite(b->fd, page, GMM_PAGE_BYTES, 0);
	} while (n < 0 && errno == EINTR);
	free(page);
	b->direct = true;
	if (n != (ssize_t)GMM_PAGE_BYTES) {
		if (n < 0 && (errno == ENOSPC || errno == EIO))
			return -errno;
		return backing_drop_direct(b);
	}
	return 0;
}

int backing_open(struct backing *b, const char *path, uint64_t bytes, bool no_direct)
{
	bool is_device = false;
	int error = 0;

	*b = (struct backing){.fd = -1, .trim = BACKING_TRIM_PUNCH};
	b->fd = path ? open_path(path, bytes, &is_device) : open_private();
	if (b->fd < 0)
		return b->fd;
	if (is_device)
		b->trim = BACKING_TRIM_COMMAND;
	if (!is_device) {
		error = set_size(b->fd, bytes);
		if (!error)
			error = check_space(b->fd);
	}
	if (!error && !no_direct)
		error = try_direct(b);
	if (error)
		backing_close(b);
	return error;
}

void backing_close(struct backing *b)
{
	if (b->fd >= 0)
		close(b->fd);
	b->fd = -1;
}

int backing_drop_direct(struct backing *b)
{
	int flags = fcntl(b->fd, F_GETFL);

	if (flags < 0 || fcntl(b->fd, F_SETFL, flags & ~O_DIRECT) < 0)
		return -errno;
	b->direct = false;
	return 0;
}

int backing_discard(const struct backing *b, uint64_t offset, uint64_t bytes)
{
	uint64_t range[2] = {offset, bytes};
	int ret;

	if (b->trim == BACKING_TRIM_PUNCH)
		ret = fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
				(off_t)bytes);
	else
		ret = ioctl(b->fd, BLKDISCARD, range);
	return ret < 0 ? -errno : 0;
}

void backing_trim_failed(struct backing *b, int error)
{
	if (error == -EINTR || error == -EAGAIN || error == -ECANCELED)
		return;
	b->trim = b->trim == BACKING_TRIM_COMMAND ? BACKING_TRIM_IOCTL : BACKING_TRIM_NOT;
}
