/* Guards past each block, and the words for those who ran over one. */
#include <stdio.h>
#include <string.h>

#include "heap.h"
#include "os.h"

static uint64_t guard_word(const struct heap *heap, const void *p)
{
	uint64_t word = ((uintptr_t)p ^ heap->secret) * 0x9e3779b97f4a7c15u;

	return word | 0x0101010101010101u;
}

static size_t guard_bytes(size_t slack)
{
	return slack < sizeof(uint64_t) ? slack : sizeof(uint64_t);
}

void guard_set(const struct heap *heap, void *p, size_t n, size_t slack)
{
	uint64_t word = guard_word(heap, p);
	char *at = (char *)p + n;

	if (slack >= sizeof(word)) {
		__builtin_memcpy(at, &word, sizeof(word));
		return;
	}
	for (size_t i = 0; i < slack; i++)
		at[i] = (char)(word >> (8 * i));
}

void guard_check(const struct heap *heap, const void *p, size_t n, size_t slack)
{
	uint64_t word = guard_word(heap, p);
	const char *at = (const char *)p + n;

	for (size_t i = 0; i < guard_bytes(slack); i++)
		if (at[i] != (char)(word >> (8 * i)))
			heap_die(p, n, "was written past its end: look for what writes to it");
}

_Noreturn void heap_die(const void *p, size_t n, const char *what)
{
	char message[256];

	if (n == SIZE_UNKNOWN)
		snprintf(message, sizeof(message), "malloc: %p %s\n", p, what);
	else
		snprintf(message, sizeof(message), "malloc: block %p of %zu bytes %s\n", p, n,
			 what);
	os_die(message);
}
