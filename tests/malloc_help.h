/* What the tests of the guest's malloc share. */
#ifndef TESTS_MALLOC_HELP_H
#define TESTS_MALLOC_HELP_H

#include "guest/malloc/malloc.h"

#include "guest/malloc/heap.h"
#include "unit.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

/* One size of each kind of place: slab, run, mapping. */
static const size_t one_of_each[] = {1,	    24,	   100,	   1000,    5000,
				     31000, 40000, 300000, 1 << 20, 3 << 20};
#define N_EACH (sizeof(one_of_each) / sizeof(one_of_each[0]))

static inline struct gm_malloc_stats stats_now(void)
{
	struct gm_malloc_stats stats;

	gm_malloc_stats(&stats);
	return stats;
}

#endif
