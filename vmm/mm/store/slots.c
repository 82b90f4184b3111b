/* Slots: runs of frames. See slots.h. */
#include "store/slots.h"

#include <errno.h>

#include "reserve.h"

/* One thread at a time uses a store. */
#define CALLER 0u

static uint64_t bitmap_bytes(const struct slots *s)
{
	return (s->n + 63) / 64 * 8;
}

int slots_init(struct slots *s, uint64_t n)
{
	size_t frames_bytes = gmm_frames_bytes(n);

	*s = (struct slots){.n = n};
	if (!n || n > GMM_FRAMES_MAX)
		return -EINVAL;
	s->frames = reserve_map(frames_bytes);
	s->live = reserve_map(bitmap_bytes(s));
	s->busy = reserve_map(bitmap_bytes(s));
	s->backed = reserve_map(bitmap_bytes(s));
	if (!s->frames || !s->live || !s->busy || !s->backed) {
		slots_fini(s);
		return -ENOMEM;
	}
	return gmm_frames_init_zeroed(s->frames, frames_bytes, n);
}

void slots_fini(struct slots *s)
{
	reserve_unmap(s->frames, gmm_frames_bytes(s->n));
	reserve_unmap(s->live, bitmap_bytes(s));
	reserve_unmap(s->busy, bitmap_bytes(s));
	reserve_unmap(s->backed, bitmap_bytes(s));
	*s = (struct slots){0};
}

/* The first bit set in [from, n), n where there is none. */
static uint64_t find_bit(const uint64_t *bits, uint64_t from, uint64_t n)
{
	while (from < n) {
		uint64_t word = bits[from / 64] >> (from % 64);

		if (word) {
			from += (uint64_t)__builtin_ctzll(word);
			return from < n ? from : n;
		}
		from = (from / 64 + 1) * 64;
	}
	return n;
}

static void take(struct slots *s, uint64_t first, uint64_t n)
{
	s->n_taken += n;
	for (uint64_t i = first; i < first + n; i++)
		if (slots_bit(s->backed, i))
			s->n_stale--;
	if (s->n_high < first + n)
		s->n_high = first + n;
}

/* Gets as many spare slots as there are, up to all places. */
static bool fill_spare(struct slots *s)
{
	unsigned n = SLOTS_SPARE;

	while (n && gmm_frames_get(s->frames, CALLER, n, s->spare) < 0)
		n /= 2;
	s->i_spare = 0;
	s->n_spare = n;
	return n > 0;
}

static void drop_spare(struct slots *s)
{
	unsigned n = s->n_spare - s->i_spare;

	if (n)
		gmm_frames_put(s->frames, CALLER, n, &s->spare[s->i_spare]);
	s->i_spare = s->n_spare = 0;
}

unsigned slots_get(struct slots *s, unsigned max, uint64_t *first)
{
	unsigned n = 0;

	/* A run may go on in the next spare ones. */
	while (n < max && (s->i_spare < s->n_spare || fill_spare(s))) {
		uint64_t next = s->spare[s->i_spare];

		if (!n)
			*first = next;
		else if (next != *first + n)
			break;
		s->i_spare++;
		n++;
	}
	if (n)
		take(s, *first, n);
	return n;
}

void slots_put(struct slots *s, uint64_t first, uint64_t n)
{
	uint64_t list[SLOTS_SPARE];

	s->n_taken -= n;
	while (n) {
		unsigned k = 0;

		for (; n && k < SLOTS_SPARE; n--, first++) {
			list[k++] = first;
			if (slots_bit(s->backed, first))
				s->n_stale++;
		}
		gmm_frames_put(s->frames, CALLER, k, list);
	}
}

static bool is_stale(const struct slots *s, uint64_t slot)
{
	return slots_bit(s->backed, slot) && gmm_frames_is_free(s->frames, slot);
}

uint64_t slots_get_stale(struct slots *s, uint64_t *from, uint64_t max, uint64_t *first)
{
	uint64_t at = *from, n = 0;

	drop_spare(s);
	for (; at < s->n_high; at++) {
		at = find_bit(s->backed, at, s->n_high);
		if (at < s->n_high && is_stale(s, at))
			break;
	}
	while (n < max && at + n < s->n_high && is_stale(s, at + n))
		n++;
	*first = at;
	*from = at + n;
	if (n && gmm_frames_claim(s->frames, at, n) < 0)
		return 0;
	take(s, at, n);
	return n;
}

void slots_unback(struct slots *s, uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++)
		slots_bit_clear(s->backed, i);
}

uint64_t slots_metadata_bytes(const struct slots *s)
{
	return gmm_frames_bytes(s->n_high) + 3 * ((s->n_high + 63) / 64 * 8);
}
