/* Numbers and sorting. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The value of a digit in any base; 99 for what is none. */
static unsigned digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'z')
		return (unsigned)(c - 'a') + 10;
	if (c >= 'A' && c <= 'Z')
		return (unsigned)(c - 'A') + 10;
	return 99;
}

static const char *skip_prefix(const char *s, int *base)
{
	bool hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X') && digit_of(s[2]) < 16;

	if ((*base == 0 || *base == 16) && hex) {
		*base = 16;
		return s + 2;
	}
	if (*base == 0)
		*base = s[0] == '0' ? 8 : 10;
	return s;
}

unsigned long long strtoull(const char *s, char **end, int base)
{
	const char *at = s, *digits;
	unsigned long long value = 0;
	bool negative = false, overflow = false;

	while (is_space(*at))
		at++;
	if (*at == '+' || *at == '-')
		negative = *at++ == '-';
	digits = at = skip_prefix(at, &base);
	for (; digit_of(*at) < (unsigned)base; at++) {
		overflow |= __builtin_mul_overflow(value, (unsigned)base, &value);
		overflow |= __builtin_add_overflow(value, digit_of(*at), &value);
	}
	if (end)
		*end = (char *)(uintptr_t)(at == digits ? s : at);
	if (overflow) {
		errno = ERANGE;
		return UINT64_MAX;
	}
	return negative ? 0 - value : value;
}

int parse_size(const char *s, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	const char *unit;
	uint64_t value = 0;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
			return -ERANGE;
	unit = *s ? strchr(units, *s & ~0x20) : NULL;
	if (unit) {
		unsigned shift = 10 * (unsigned)(unit - units + 1);

		if (value >> (64 - shift))
			return -ERANGE;
		value <<= shift;
		s += s[1] == 'i' && s[2] == 'B' ? 2 : 1;
	}
	if (*s && strcmp(s, "B") != 0)
		return -EINVAL;
	*bytes = value;
	return 0;
}

static void swap(char *a, char *b, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		char t = a[i];

		a[i] = b[i];
		b[i] = t;
	}
}

struct sorting {
	char *base;
	size_t size;
	int (*compare)(const void *, const void *);
};

static void sift_down(const struct sorting *s, size_t parent, size_t n)
{
	for (;;) {
		size_t child = 2 * parent + 1;

		if (child >= n)
			return;
		if (child + 1 < n &&
		    s->compare(s->base + child * s->size, s->base + (child + 1) * s->size) < 0)
			child++;
		if (s->compare(s->base + parent * s->size, s->base + child * s->size) >= 0)
			return;
		swap(s->base + parent * s->size, s->base + child * s->size, s->size);
		parent = child;
	}
}

/* A heap sort: no memory, no bad case. */
void qsort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *))
{
	struct sorting s = {base, size, compare};

	for (size_t i = n / 2; i-- > 0;)
		sift_down(&s, i, n);
	for (size_t i = n; i-- > 1;) {
		swap(s.base, s.base + i * size, size);
		sift_down(&s, 0, i);
	}
}
