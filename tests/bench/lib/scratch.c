/* Files for floors: see scratch.h. */
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest_code.h"
#include "harness.h"

#define PAGE  UINT64_C(4096)
#define BATCH 256u /* pages for one write */

int scratch_new(uint64_t bytes)
{
	const char *folder = getenv("TMPDIR");
	int fd;

	folder = folder && *folder ? folder : "/var/tmp";
	fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC | O_DIRECT, 0600);
	if (fd < 0)
		bench_unavailable("no file for O_DIRECT in %s: %s", folder, strerror(errno));
	if (ftruncate(fd, (off_t)bytes))
		bench_die("a file of %llu bytes in %s: %s", (unsigned long long)bytes, folder,
			  strerror(errno));
	return fd;
}

int scratch_new_filled(uint64_t n_pages, uint64_t n_noise)
{
	int fd = scratch_new(n_pages * PAGE);
	uint64_t *pages = aligned_alloc(PAGE, BATCH * PAGE);

	if (!pages)
		bench_die("out of memory");
	for (uint64_t i = 0; i < n_pages; i += BATCH) {
		uint64_t n = n_pages - i < BATCH ? n_pages - i : BATCH;

		for (uint64_t k = 0; k < n; k++)
			guest_fill_page(pages + k * 512, i + k, n_noise);
		if (pwrite(fd, pages, n * PAGE, (off_t)(i * PAGE)) != (ssize_t)(n * PAGE))
			bench_die("writing a file: %s", strerror(errno));
	}
	free(pages);
	return fd;
}

void scratch_read(int fd, uint64_t page, void *to)
{
	if (pread(fd, to, PAGE, (off_t)(page * PAGE)) != (ssize_t)PAGE)
		bench_die("reading a file: %s", strerror(errno));
}
