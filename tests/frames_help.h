/* What the tests of gmm_frames share. */
#ifndef TESTS_FRAMES_HELP_H
#define TESTS_FRAMES_HELP_H

#include <guestmm/frames.h>
#include <string.h>

#include "unit.h"

/* An allocator in a block that held something else before. */
static inline struct gmm_frames *make_frames(uint64_t n_frames)
{
	size_t bytes = gmm_frames_bytes(n_frames);
	struct gmm_frames *f = aligned_alloc(128, (bytes + 127) & ~(size_t)127);

	memset(f, 0xa5, bytes);
	ck_assert_int_eq(gmm_frames_init(f, bytes, n_frames), 0);
	return f;
}

static inline uint64_t count_free(struct gmm_frames *f)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < f->n_frames; i++)
		n += gmm_frames_is_free(f, i);
	return n;
}

#endif
