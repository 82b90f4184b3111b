/* CHECK: going on would corrupt guest memory. Always on, in every build. */
#ifndef MM_FATAL_H
#define MM_FATAL_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(cond, ...)                                                                       \
	do {                                                                                   \
		if (__builtin_expect(!(cond), 0)) {                                            \
			fprintf(stderr, "guestmm: %s:%d: CHECK(%s) failed: ", __FILE__,        \
				__LINE__, #cond);                                              \
			fprintf(stderr, __VA_ARGS__);                                          \
			fprintf(stderr, "; stopping so that no guest memory is corrupted\n");  \
			abort();                                                               \
		}                                                                              \
	} while (0)

#endif
