/* balloon: the guest gives memory up and takes it back, while it holds data that must
 * survive and allocates more. */
#include "balloon.h"

#include <errno.h>
#include <guestmm/abi.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "list.h"
#include "pattern.h"

#define HELD_BYTES (16ul << 20)
#define HELD_SEED  0xba11u

long balloon_set(uint64_t bytes)
{
	return syscall3(GMM_SYS_BALLOON, (long)(bytes / PAGE_BYTES), 0, 0);
}

/* Fresh memory, written and verified: it must read as zero first. */
static bool use_fresh(uint64_t bytes)
{
	uint64_t *memory = pages_map("balloon", bytes), wrong = 0;

	if (!memory)
		return false;
	for (uint64_t i = 0; i < bytes / 8; i += 64)
		wrong |= memory[i];
	pattern_fill(memory, bytes, bytes);
	wrong |= !pattern_verify(memory, bytes, bytes);
	munmap(memory, bytes);
	return wrong == 0;
}

/* Returns the bytes that were given up, or a negative errno. */
static long give_and_take(uint64_t bytes, const uint64_t *held, bool *ok)
{
	long given = balloon_set(bytes), left;

	if (given < 0)
		return given;
	*ok &= pattern_verify(held, HELD_BYTES, HELD_SEED);
	*ok &= use_fresh(HELD_BYTES);
	left = balloon_set(0);
	*ok &= left == 0;
	*ok &= use_fresh((uint64_t)given / 2 / PAGE_BYTES * PAGE_BYTES + PAGE_BYTES);
	*ok &= pattern_verify(held, HELD_BYTES, HELD_SEED);
	return given;
}

static int balloon_main(int argc, char **argv)
{
	uint64_t bytes = 64ul << 20, *held;
	const struct option options[] = {{"bytes", OPTION_SIZE, &bytes}, {NULL, OPTION_FLAG, NULL}};
	bool ok = true;
	long given;

	options_read(&program_balloon, argc, argv, options);
	if (bytes < PAGE_BYTES)
		usage_die(&program_balloon, "out of range", "--bytes is 4K at least");
	held = pages_map("balloon", HELD_BYTES);
	if (!held)
		return EXIT_FAILED;
	pattern_fill(held, HELD_BYTES, HELD_SEED);
	given = give_and_take(bytes, held, &ok);
	if (given == -ENOSYS)
		eprintf("balloon: this kernel has none: run it in a guest, guestmm run balloon\n");
	else if (given < 0)
		eprintf("balloon: the kernel refused it: %s\n", strerror((int)-given));
	else if ((uint64_t)given < bytes / PAGE_BYTES * PAGE_BYTES)
		eprintf("balloon: asked for %lu bytes, the guest could give %ld only: give a "
			"smaller "
			"--bytes\n",
			bytes, given);
	ok &= given > 0 && (uint64_t)given >= bytes / PAGE_BYTES * PAGE_BYTES;
	printf("balloon: bytes=%ld %s\n", given > 0 ? given : 0, verdict(ok));
	return ok ? 0 : EXIT_FAILED;
}

const struct program program_balloon = {"balloon", "[--bytes SIZE]", balloon_main};
