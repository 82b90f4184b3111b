/* Files that are read whole, into memory: a file that changes meanwhile cannot hurt then. */
#include "vmm/cmd/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/say.h"

#define MAX_BYTES (UINT64_C(2) << 30)

extern const unsigned char guest_elf_start[], guest_elf_end[];

static int read_whole(int fd, void *to, size_t bytes)
{
	size_t done = 0;

	while (done < bytes) {
		ssize_t n = read(fd, (char *)to + done, bytes - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO; /* it shrank */
		done += (size_t)n;
	}
	return 0;
}

static int read_image(int fd, const char *path, struct image *out)
{
	struct stat st;
	void *data;
	int rc;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size == 0 || (uint64_t)st.st_size > MAX_BYTES)
		return st.st_size ? -EFBIG : -ENODATA;
	data = malloc((size_t)st.st_size);
	if (!data)
		return -ENOMEM;
	rc = read_whole(fd, data, (size_t)st.st_size);
	if (rc) {
		free(data);
		return rc;
	}
	*out = (struct image){
		.name = path, .data = data, .bytes = (size_t)st.st_size, .owned = true};
	return 0;
}

int image_open(const char *path, struct image *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int rc = fd < 0 ? -errno : read_image(fd, path, out);

	if (fd >= 0)
		close(fd);
	if (rc == -ENODATA)
		say("%s is empty.", path);
	else if (rc == -EINVAL)
		say("%s is no regular file.", path);
	else if (rc)
		say("cannot read %s: %s.", path, strerror(-rc));
	return rc;
}

void image_close(struct image *image)
{
	if (image->owned)
		free((void *)(uintptr_t)image->data);
	*image = (struct image){0};
}

struct image image_bundled_kernel(void)
{
	return (struct image){
		.name = "(built in)",
		.data = guest_elf_start,
		/* cppcheck-suppress comparePointers ; both are labels of one section */
		.bytes = (size_t)(guest_elf_end - guest_elf_start),
	};
}
