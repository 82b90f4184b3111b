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

/* The highest rank of the entries below node i of a level; none is higher than `most`. */
static uint8_t rank_below(const struct ranks *r, unsigned level, uint64_t i, uint8_t most)
{
	const uint8_t *entries = level > 1 ? r->maxima[level - 1] : r->bytes;
	uint64_t from = i * RANKS_FAN, end = from + RANKS_FAN;
	uint8_t max = 0;

	if (end > r->n[level - 1])
		end = r->n[level - 1];
	for (uint64_t k = from; k < end && max < most; k++) {
		uint8_t rank = level > 1 ? entries[k] : r->rank_of[entries[k]];

		max = rank > max ? rank : max;
	}
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
			*max = rank_below(r, level, i, before);
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

/* The last of entries [beginning of their node, end) at a level with that rank or a higher one. */
static bool rank_scan(const struct ranks *r, unsigned level, unsigned rank, uint64_t end,
		      uint64_t *at)
{
	uint64_t first = end ? (end - 1) / RANKS_FAN * RANKS_FAN : 0;

	while (end > first && rank_at(r, level, end - 1) < rank)
		end--;
	*at = end - 1;
	return end > first;
}

/* The end of a node's entries, one level down. */
static uint64_t rank_end(const struct ranks *r, unsigned level, uint64_t node)
{
	uint64_t end = (node + 1) * RANKS_FAN;

	return end < r->n[level] ? end : r->n[level];
}

/* Up until a node to the left has it, then down to the last page there. */
static bool rank_before(const struct ranks *r, unsigned rank, uint64_t end, uint64_t *at)
{
	unsigned level = 0;

	while (!rank_scan(r, level, rank, end, at)) {
		if (end == 0 || ++level > r->n_levels)
			return false;
		end = (end - 1) / RANKS_FAN;
	}
	while (level--)
		rank_scan(r, level, rank, rank_end(r, level, *at), at);
	return true;
}

uint64_t ranks_find(const struct ranks *r, uint64_t before)
{
	unsigned rank = ranks_highest(r);
	uint64_t page;

	if (before > r->n[0])
		before = r->n[0];
	if (!rank_before(r, rank, before, &page))
		rank_before(r, rank, r->n[0], &page);
	return page;
}

uint64_t ranks_metadata_bytes(const struct ranks *r)
{
	uint64_t bytes = 0;

	for (unsigned level = 1; level <= r->n_levels; level++)
		bytes += r->n[level];
	return bytes;
}
