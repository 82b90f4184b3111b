/* See sums.h. */
#include "store/sums.h"

#include <errno.h>
#include <string.h>

#include "reserve.h"

/* An entry that begins within a byte must end within the eight bytes from there. */
#define MIN_CHECK_BITS 8u

static unsigned width(const struct sums *s)
{
	return 64 - s->check_bits;
}

static uint64_t reserved_bytes(const struct sums *s)
{
	return sums_bytes(s, s->n) + sizeof(uint64_t);
}

int sums_init(struct sums *s, uint64_t n)
{
	unsigned index_bits = 1;

	while (index_bits < SUMS_NAME_BITS && n > UINT64_C(1) << index_bits)
		index_bits++;
	*s = (struct sums){.n = n, .check_bits = SUMS_NAME_BITS - index_bits};
	if (s->check_bits < MIN_CHECK_BITS)
		s->check_bits = 0;
	s->bytes = reserve_map(reserved_bytes(s));
	return s->bytes ? 0 : -ENOMEM;
}

void sums_fini(struct sums *s)
{
	reserve_unmap(s->bytes, reserved_bytes(s));
	*s = (struct sums){0};
}

static uint64_t low_bits(uint64_t v, unsigned n)
{
	return n < 64 ? v & ((UINT64_C(1) << n) - 1) : v;
}

uint64_t sums_set(struct sums *s, uint64_t i, uint64_t sum)
{
	uint64_t bit = i * width(s), word, mask = low_bits(UINT64_MAX, width(s));
	uint8_t *at = &s->bytes[bit / 8];

	memcpy(&word, at, sizeof(word));
	word = (word & ~(mask << bit % 8)) | sum >> s->check_bits << bit % 8;
	memcpy(at, &word, sizeof(word));
	return i << s->check_bits | low_bits(sum, s->check_bits);
}

bool sums_match(const struct sums *s, uint64_t name, uint64_t sum)
{
	uint64_t bit = sums_index(s, name) * width(s), word;

	memcpy(&word, &s->bytes[bit / 8], sizeof(word));
	return low_bits(word >> bit % 8, width(s)) == sum >> s->check_bits &&
	       low_bits(name, s->check_bits) == low_bits(sum, s->check_bits);
}

uint64_t sums_bytes(const struct sums *s, uint64_t n)
{
	return (n * width(s) + 7) / 8;
}
