/* Slots: one bitmap, searched from where the last search ended. */
#include "store/slots.h"

#include <errno.h>
#include <sys/mman.h>

#include "reserve.h"

static uint64_t bitmap_bytes(const struct slots *s)
{
	return (s->n + 63) / 64 * 8;
}

int slots_init(struct slots *s, uint64_t n)
{
	uint64_t **maps[] = {&s->taken, &s->live, &s->busy, &s->backed};

	*s = (struct slots){.n = n};
	for (unsigned i = 0; i < 4; i++) {
		*maps[i] = reserve_map(bitmap_bytes(s));
		if (!*maps[i]) {
			slots_fini(s);
			return -ENOMEM;
		}
	}
	return 0;
}

void slots_fini(struct slots *s)
{
	reserve_unmap(s->taken, bitmap_bytes(s));
	reserve_unmap(s->live, bitmap_bytes(s));
	reserve_unmap(s->busy, bitmap_bytes(s));
	reserve_unmap(s->backed, bitmap_bytes(s));
	*s = (struct slots){0};
}

/* The first bit that is `value` in [from, n), n where there is none. */
static uint64_t find_bit(const uint64_t *bits, uint64_t from, uint64_t n, bool value)
{
	while (from < n) {
		uint64_t word = (value ? bits[from / 64] : ~bits[from / 64]) >> (from % 64);

		if (word) {
			from += (uint64_t)__builtin_ctzll(word);
			return from < n ? from : n;
		}
		from = (from / 64 + 1) * 64;
	}
	return n;
}

static void take(struct slots *s, uint64_t slot)
{
	slots_bit_set(s->taken, slot);
	s->n_taken++;
	if (slots_bit(s->backed, slot))
		s->n_stale--;
}

unsigned slots_get(struct slots *s, unsigned max, uint64_t *first)
{
	uint64_t at, n = 0;

	if (s->n_taken == s->n || !max)
		return 0;
	at = find_bit(s->taken, s->cursor, s->n, false);
	if (at == s->n)
		at = find_bit(s->taken, 0, s->n, false);
	*first = at;
	while (n < max && at + n < s->n && !slots_bit(s->taken, at + n))
		take(s, at + n++);
	s->cursor = at + n;
	if (s->n_high < s->cursor)
		s->n_high = s->cursor;
	return (unsigned)n;
}

void slots_put(struct slots *s, uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++) {
		slots_bit_clear(s->taken, i);
		s->n_taken--;
		if (slots_bit(s->backed, i))
			s->n_stale++;
	}
	/* An empty file is filled from its beginning again: it stays short. */
	if (!s->n_taken)
		s->cursor = 0;
}

uint64_t slots_get_stale(struct slots *s, uint64_t *from, uint64_t max, uint64_t *first)
{
	uint64_t at = *from, n = 0;

	do {
		at = find_bit(s->backed, at, s->n_high, true);
		if (at == s->n_high) {
			*from = at;
			return 0;
		}
	} while (slots_bit(s->taken, at) && ++at);
	*first = at;
	while (n < max && at + n < s->n_high && slots_bit(s->backed, at + n) &&
	       !slots_bit(s->taken, at + n))
		take(s, at + n++);
	*from = at + n;
	return n;
}

void slots_unback(struct slots *s, uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++)
		slots_bit_clear(s->backed, i);
}

uint64_t slots_metadata_bytes(const struct slots *s)
{
	return 4 * ((s->n_high + 63) / 64 * 8);
}
