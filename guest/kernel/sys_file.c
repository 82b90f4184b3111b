/* Files: standard input (empty), output and error, and the windows that the VMM offers, read
 * only. Descriptors are few and belong to the process. Kernel lock where they change.
 */
#include "kernel.h"

#define N_FDS	   16u
#define FIRST_FILE 3u
#define BOUNCE	   512u

static struct {
	const struct gmm_boot_file *file; /* NULL: closed */
	uint64_t at;
} fds[N_FDS];

const struct gmm_boot_file *file_window(uint64_t fd)
{
	return (uint32_t)fd >= FIRST_FILE && (uint32_t)fd < N_FDS ? fds[(uint32_t)fd].file : NULL;
}

static bool in_ram(uint64_t gpa)
{
	for (unsigned i = 0; i < boot.n_ranges; i++)
		if (gpa >= boot.ranges[i].start && gpa < boot.ranges[i].end)
			return true;
	return false;
}

/* What lies in one page, straight from there; from elsewhere than RAM by way of a buffer. */
static long write_page(int fd, uint64_t from, uint64_t n)
{
	static char bounce[N_CPUS][BOUNCE];
	char *here = bounce[this_cpu()->index];
	uint64_t gpa;

	if (n > BOUNCE && !have_host())
		n = BOUNCE;
	if (have_host()) {
		/* The lock keeps the page there until the VMM has read it. */
		kernel_lock();
		gpa = user_get(here, from, 1) ? 0 : paging_walk(from);
		if (gpa && in_ram(gpa))
			hostcall(GMM_HC_WRITE, (uint64_t)fd, gpa, n);
		kernel_unlock();
		if (!gpa)
			return -EFAULT;
		if (in_ram(gpa))
			return (long)n;
		n = n < BOUNCE ? n : BOUNCE;
	}
	if (user_get(here, from, n))
		return -EFAULT;
	console_write(fd, here, n);
	return (long)n;
}

long sys_write(uint64_t fd, uint64_t from, uint64_t bytes)
{
	uint64_t done = 0;

	fd = (uint32_t)fd;
	if (fd != 1 && fd != 2)
		return -EBADF;
	if (!user_ok(from, bytes))
		return -EFAULT;
	while (done < bytes) {
		uint64_t n = PAGE_BYTES - (from + done) % PAGE_BYTES;
		long put = write_page((int)fd, from + done, n < bytes - done ? n : bytes - done);

		if (put < 0)
			return done ? (long)done : put;
		done += (uint64_t)put;
	}
	return (long)done;
}

long sys_writev(uint64_t fd, uint64_t vector, uint64_t n)
{
	long done = 0;

	if (n > 1024)
		return -EINVAL;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t v[2];
		long put;

		if (user_get(v, vector + i * 16, 16))
			return done ? done : -EFAULT;
		put = sys_write(fd, v[0], v[1]);
		if (put < 0)
			return done ? done : put;
		done += put;
	}
	return done;
}

static long read_at(const struct gmm_boot_file *f, uint64_t at, uint64_t to, uint64_t bytes)
{
	if (at >= f->bytes)
		return 0;
	if (bytes > f->bytes - at)
		bytes = f->bytes - at;
	return user_put(to, direct(f->gpa + at), bytes) ? -EFAULT : (long)bytes;
}

long sys_read(uint64_t fd, uint64_t to, uint64_t bytes)
{
	const struct gmm_boot_file *f = file_window(fd);
	long n;

	if (!(uint32_t)fd)
		return 0;
	if (!f)
		return -EBADF;
	n = read_at(f, fds[(uint32_t)fd].at, to, bytes);
	if (n > 0)
		fds[(uint32_t)fd].at += (uint64_t)n;
	return n;
}

long sys_pread64(uint64_t fd, uint64_t to, uint64_t bytes, uint64_t at)
{
	const struct gmm_boot_file *f = file_window(fd);

	return f ? read_at(f, at, to, bytes) : -EBADF;
}

/* A NUL-terminated name from a program. */
static long get_name(char *name, uint64_t from)
{
	for (unsigned i = 0; i < GMM_FILE_NAME_BYTES; i++) {
		if (user_get(&name[i], from + i, 1))
			return -EFAULT;
		if (!name[i])
			return 0;
	}
	return -ENAMETOOLONG;
}

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static const struct gmm_boot_file *find(const char *name)
{
	for (unsigned i = 0; i < boot.n_files; i++)
		if (same(boot.files[i].name, name))
			return &boot.files[i];
	return NULL;
}

long sys_openat(uint64_t dir, uint64_t name_at, uint64_t flags)
{
	const struct gmm_boot_file *f;
	char name[GMM_FILE_NAME_BYTES];
	long result = get_name(name, name_at);

	(void)dir;
	if (result)
		return result;
	f = find(name);
	if (!f)
		return -ENOENT;
	if (flags & 3)
		return -EROFS;
	kernel_lock();
	result = -EMFILE;
	for (unsigned i = FIRST_FILE; i < N_FDS && result < 0; i++) {
		if (!fds[i].file) {
			fds[i].file = f;
			fds[i].at = 0;
			result = (long)i;
		}
	}
	kernel_unlock();
	return result;
}

long sys_open(uint64_t name_at, uint64_t flags)
{
	return sys_openat(0, name_at, flags);
}

long sys_close(uint64_t fd)
{
	if ((uint32_t)fd < FIRST_FILE)
		return 0;
	if (!file_window(fd))
		return -EBADF;
	fds[(uint32_t)fd].file = NULL;
	return 0;
}

struct linux_stat {
	uint64_t dev, ino, nlink;
	uint32_t mode, uid, gid, pad;
	uint64_t rdev;
	int64_t size, block_bytes, blocks;
	uint64_t times[6];
	int64_t reserved[3];
};
_Static_assert(sizeof(struct linux_stat) == 144, "Linux's layout");

static long put_stat(const struct gmm_boot_file *f, uint64_t to)
{
	struct linux_stat s = {
		.nlink = 1,
		.mode = f ? 0100444 : 0010666, /* a file, or a pipe */
		.block_bytes = (int64_t)PAGE_BYTES,
	};

	if (f) {
		s.ino = (uint64_t)(f - boot.files) + 1;
		s.size = (int64_t)f->bytes;
		s.blocks = (s.size + 511) / 512;
	}
	return user_put(to, &s, sizeof(s));
}

long sys_fstat(uint64_t fd, uint64_t to)
{
	const struct gmm_boot_file *f = file_window(fd);

	return f || (uint32_t)fd < FIRST_FILE ? put_stat(f, to) : -EBADF;
}

long sys_newfstatat(uint64_t dir, uint64_t name_at, uint64_t to, uint64_t flags)
{
	const struct gmm_boot_file *f;
	char name[GMM_FILE_NAME_BYTES];
	long result = get_name(name, name_at);

	if (result)
		return result;
	if (!name[0])
		return flags & 0x1000 /* AT_EMPTY_PATH */ ? sys_fstat(dir, to) : -ENOENT;
	f = find(name);
	return f ? put_stat(f, to) : -ENOENT;
}

long sys_lseek(uint64_t fd, uint64_t offset, uint64_t whence)
{
	const struct gmm_boot_file *f = file_window(fd);
	uint64_t base;

	if (!f)
		return (uint32_t)fd < FIRST_FILE ? -ESPIPE : -EBADF;
	if (whence > 2)
		return -EINVAL;
	base = whence == 0 ? 0 : whence == 1 ? fds[(uint32_t)fd].at : f->bytes;
	if ((int64_t)(base + offset) < 0)
		return -EINVAL;
	fds[(uint32_t)fd].at = base + offset;
	return (long)(base + offset);
}
