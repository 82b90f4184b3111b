/* Memory moved in by userfaultfd: see moved.h. */
#include "moved.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bare_vm.h"
#include "floor_uffd.h"
#include "harness.h"
#include "vmm/mm/uffd.h"

#define HUGE UINT64_C(0x200000)

static void fill(struct moved *m)
{
	char *from = bare_data_new(HUGE, true);

	for (uint64_t at = 0; at < m->bytes; at += HUGE) {
		struct uffdio_move move = {.dst = (uint64_t)(uintptr_t)m->data + at,
					   .src = (uint64_t)(uintptr_t)from,
					   .len = HUGE};

		memset(from, 0, HUGE);
		if (ioctl(m->fd, UFFDIO_MOVE, &move))
			bench_die("UFFDIO_MOVE: %s", strerror(errno));
	}
	bare_data_free(from, HUGE);
}

bool moved_is_possible(void)
{
	struct uffd u;
	bool possible;

	if (uffd_open(&u, UFFD_FEATURE_MOVE))
		return false;
	possible = u.features & UFFD_FEATURE_MOVE;
	uffd_close(&u);
	return possible;
}

void moved_new(struct moved *m, uint64_t bytes)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};

	m->bytes = bytes;
	m->data = bare_data_new(bytes, true);
	m->fd = floor_uffd_open(O_CLOEXEC | O_NONBLOCK);
	reg.range = (struct uffdio_range){(uint64_t)(uintptr_t)m->data, bytes};
	if (ioctl(m->fd, UFFDIO_API, &api) || ioctl(m->fd, UFFDIO_REGISTER, &reg))
		bench_die("userfaultfd: %s", strerror(errno));
	fill(m);
}

void moved_free(struct moved *m)
{
	close(m->fd);
	bare_data_free(m->data, m->bytes);
}

void moved_drop(struct moved *m, uint64_t bytes, uint64_t step)
{
	for (uint64_t at = 0; at < bytes; at += step) {
		uint64_t n = bytes - at < step ? bytes - at : step;

		if (madvise((char *)m->data + at, n, MADV_DONTNEED))
			bench_die("madvise: %s", strerror(errno));
	}
}
