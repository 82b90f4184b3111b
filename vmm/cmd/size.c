/* Sizes as people write them. Everything that is not plainly a size is refused with a
 * message that says which rule it broke, for a wrong limit is worse than a refused one. */
#include "size.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_CHARS 40 /* of a text that may be long */

static int refuse(int err, const char *text, const char *why, char *error, size_t error_bytes)
{
	bool is_long = strlen(text) > SHOWN_CHARS;

	snprintf(error, error_bytes, "'%.*s%s' %s", SHOWN_CHARS, text, is_long ? "..." : "", why);
	return err;
}

/* The power of two that a suffix stands for, -1 where it is none. */
static int suffix_shift(const char *suffix)
{
	static const char letters[] = "KMGT";
	const char *at;

	if (!suffix[0])
		return 0;
	if (suffix[1])
		return -1;
	at = strchr(letters, toupper((unsigned char)suffix[0]));
	return at ? 10 * (int)(at - letters + 1) : -1;
}

int size_parse_or_zero(const char *text, uint64_t *bytes, char *error, size_t error_bytes)
{
	const char *at = text;
	uint64_t number = 0;
	int shift;

	if (!*at)
		return refuse(-EINVAL, text, "is empty: give a size, 128M for one", error,
			      error_bytes);
	if (*at == '-')
		return refuse(-EINVAL, text, "is negative: a size is above zero", error,
			      error_bytes);
	if (!isdigit((unsigned char)*at))
		return refuse(-EINVAL, text, "is not a size: it begins with no digit", error,
			      error_bytes);
	for (; isdigit((unsigned char)*at); at++) {
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
			return refuse(-ERANGE, text, "is too large: it does not fit 64 bits", error,
				      error_bytes);
	}
	if (*at == '.' || *at == ',')
		return refuse(-EINVAL, text,
			      "is no whole number: use a smaller unit, 1536M for 1.5G", error,
			      error_bytes);
	shift = suffix_shift(at);
	if (shift < 0)
		return refuse(-EINVAL, text, "has an unknown unit: K, M, G and T are known", error,
			      error_bytes);
	if (number > UINT64_MAX >> shift)
		return refuse(-ERANGE, text, "is too large: it does not fit 64 bits", error,
			      error_bytes);
	*bytes = number << shift;
	return 0;
}

int size_parse(const char *text, uint64_t *bytes, char *error, size_t error_bytes)
{
	uint64_t parsed;
	int err = size_parse_or_zero(text, &parsed, error, error_bytes);

	if (err)
		return err;
	if (!parsed)
		return refuse(-EINVAL, text, "is zero: a size is above zero", error, error_bytes);
	*bytes = parsed;
	return 0;
}

char *size_format(uint64_t bytes, char text[SIZE_TEXT_BYTES])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned unit = 0;
	double value = (double)bytes;

	while (value >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	if (value < 99.5 && value != (double)(uint64_t)value)
		snprintf(text, SIZE_TEXT_BYTES, "%.1f %s", value, units[unit]);
	else
		snprintf(text, SIZE_TEXT_BYTES, "%.0f %s", value, units[unit]);
	return text;
}
