/* all: the whole job, for a demonstration. Fills most of the memory through malloc, has the
 * balloon inflated while it is full, verifies every byte in random order, has it deflated;
 * then walks and samples a part of the memory by touch and zipf. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <system.h>

#include "balloon.h"
#include "list.h"
#include "loads.h"

#define SMALL_MACHINE_BYTES ((size_t)256 << 20)

#define BYTES_PER_OP 16384u

static uint64_t balloon_bytes;
static long balloon_given;

static void inflate(void)
{
	balloon_given = balloon_set(balloon_bytes);
	if (balloon_given >= 0)
		printf("all: balloon inflated: asked_bytes=%lu given_bytes=%ld\n", balloon_bytes,
		       balloon_given);
	else
		printf("all: balloon left out: %s here\n", strerror((int)-balloon_given));
}

/* A kernel without a balloon is no failure; one that loses pages in it is. */
static bool deflate(void)
{
	long left;

	if (balloon_given < 0)
		return balloon_given == -ENOSYS || balloon_given == -ENODEV;
	left = balloon_set(0);
	printf("all: balloon deflated: left_bytes=%ld\n", left);
	return left == 0;
}

static int all_main(int argc, char **argv)
{
	uint64_t total = 0, free = 0, bytes = UINT64_MAX, part;
	const struct option options[] = {{"bytes", OPTION_SIZE, &bytes}, {NULL, OPTION_FLAG, NULL}};
	bool ok;

	options_read(&program_all, argc, argv, options);
	if (bytes == UINT64_MAX) /* not given */
		/* malloc's own waste and the balloon want room: more of it in a small machine. */
		bytes = system_memory(&total, &free)  ? 0
			: total < SMALL_MACHINE_BYTES ? total / 2
						      : total / 4 * 3;
	if (bytes < 4ul << 20)
		usage_die(&program_all, "out of range", "--bytes is 4M at least");
	part = bytes / 4;
	balloon_bytes = bytes / 16;
	ok = malloc_load(bytes, bytes / BYTES_PER_OP, 1, inflate) == 0;
	ok &= deflate();
	ok &= touch_load(part, 2, "rand", 1) == 0;
	ok &= zipf_load(part, part / PAGE_BYTES * 2, 990000, 50, 1) == 0;
	printf("all: bytes=%lu balloon_bytes=%ld %s\n", bytes,
	       balloon_given > 0 ? balloon_given : 0, verdict(ok));
	return ok ? 0 : EXIT_FAILED;
}

const struct program program_all = {"all", "[--bytes SIZE]", all_main};
