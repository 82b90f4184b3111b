/* The standard names, for programs that have no other malloc. */
#include <stdlib.h>

#include "malloc.h"

void *malloc(size_t n)
{
	return gm_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return gm_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	return gm_realloc(p, n);
}

void *aligned_alloc(size_t align, size_t n)
{
	return gm_aligned_alloc(align, n);
}

int posix_memalign(void **p, size_t align, size_t n)
{
	return gm_posix_memalign(p, align, n);
}

void free(void *p)
{
	gm_free(p);
}

size_t malloc_usable_size(const void *p)
{
	return gm_malloc_usable_size(p);
}
