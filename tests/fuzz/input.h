/* A fuzzer's input, taken from its beginning on. */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
	const uint8_t *at;
	size_t left;
};

/* The next bytes, at most 8, as a number; what is missing at the end is 0. */
static inline uint64_t take(struct input *in, size_t bytes)
{
	uint64_t x = 0;

	if (bytes > in->left)
		bytes = in->left;
	memcpy(&x, in->at, bytes);
	in->at += bytes;
	in->left -= bytes;
	return x;
}

#endif
