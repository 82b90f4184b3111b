/* Memory, numbers, sorting, the end of a program. */
#ifndef GUEST_STDLIB_H
#define GUEST_STDLIB_H

#include <stddef.h>
#include <stdint.h>

#define EXIT_SUCCESS 0
#define EXIT_FAILURE 1

/* See guest/malloc/malloc.h. */
void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t n);
void *aligned_alloc(size_t align, size_t n);
int posix_memalign(void **p, size_t align, size_t n);
void free(void *p);
size_t malloc_usable_size(const void *p);

/* As in ISO C: base 0 or 2..36; ERANGE and UINT64_MAX where the number is too big. */
unsigned long long strtoull(const char *s, char **end, int base);

/* Whole string: decimal digits and at most one of K, M, G, T (powers of 1024, an
 * "iB" or "B" may follow). 0, or -EINVAL, -ERANGE; *bytes is untouched then. */
int parse_size(const char *s, uint64_t *bytes);

void qsort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *));
_Noreturn void exit(int status);
_Noreturn void abort(void);

#endif
