/* Ranks: see ranks.h. */
#include "policy/ranks.h"

#include <errno.h>

#include "reserve.h"

int ranks_init(struct ranks *r, const uint8_t *bytes, uint64_t n, const uint8_t rank_of[256])
{
	*r = (struct ranks){.bytes = bytes, .rank_of = rank_of, .n = {n}};
	do {
		unsigned level = ++r->n_levels;

		r->n[level] = (r->n[level - 1] + RANKS_FAN - 1) / RANKS_FAN;
		r->maxima[level] = reserve_map(r->n[level]);
		if (!r->maxima[level]) {
			ranks_fini(r);
			return -ENOMEM;
		}
	} while (r->n[r->n_levels] > 1);
	return 0;
}

void ranks_fini(struct ranks *r)
{
	for (unsigned level = 1; level <= r->n_levels; level++)
		reserve_unmap(r->maxima[level], r->n[level]);
	*r = (struct ranks){0};
}

static uint8_t rank_at(const struct ranks *r, unsigned level, uint64_t i)
{
	return level ? r->maxima[level][i] : r->rank_of[r->bytes[i]];
}

/* The highest rank of the entries below node i of a level. */
static uint8_t rank_below(const struct ranks *r, unsigned level, uint64_t i)
{
	uint64_t from = i * RANKS_FAN, end = from + RANKS_FAN;
	uint8_t max = 0;

	if (end > r->n[level - 1])
		end = r->n[level - 1];
	for (uint64_t k = from; k < end; k++)
		if (rank_at(r, level - 1, k) > max)
			max = rank_at(r, level - 1, k);
	return max;
}

void ranks_changed(struct ranks *r, uint64_t page, uint8_t old)
{
	uint8_t was = r->rank_of[old], is = r->rank_of[r->bytes[page]];
	uint64_t i = page;

	if (is == was)
		return;
	for (unsigned level = 1; level <= r->n_levels; level++) {
		uint8_t *max = &r->maxima[level][i /= RANKS_FAN], before = *max;

		if (is >= before)
			*max = is;
		else if (was == before) /* it may have been the only one */
			*max = rank_below(r, level, i);
		if (*max == before)
			return;
		was = before;
		is = *max;
	}
}

unsigned ranks_highest(const struct ranks *r)
{
	return r->maxima[r->n_levels][0];
}

/* The first of entries [from, end of from's node) at a level with that rank or a higher one. */
static bool rank_scan(const struct ranks *r, unsigned level, unsigned rank, uint64_t *from)
{
	uint64_t end = (*from / RANKS_FAN + 1) * RANKS_FAN;

	if (end > r->n[level])
		end = r->n[level];
	while (*from < end && rank_at(r, level, *from) < rank)
		++*from;
	return *from < end;
}

/* Up until a node to the right has it, then down to the first page there. */
static bool rank_next(const struct ranks *r, unsigned rank, uint64_t *at)
{
	unsigned level = 0;

	while (!rank_scan(r, level, rank, at)) {
		if (++level > r->n_levels)
			return false;
		*at = (*at + RANKS_FAN - 1) / RANKS_FAN;
	}
	while (level--) {
		*at *= RANKS_FAN;
		rank_scan(r, level, rank, at);
	}
	return true;
}

uint64_t ranks_find(const struct ranks *r, uint64_t from)
{
	unsigned rank = ranks_highest(r);

	if (from >= r->n[0] || !rank_next(r, rank, &from)) {
		from = 0;
		rank_next(r, rank, &from);
	}
	return from;
}

uint64_t ranks_metadata_bytes(const struct ranks *r)
{
	uint64_t bytes = 0;

	for (unsigned level = 1; level <= r->n_levels; level++)
		bytes += r->n[level];
	return bytes;
}
