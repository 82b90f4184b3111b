/* Sampling: one page of each 2^level, picked by a hash and the same each time.
 *
 * A group of 2^level pages side by side has one page in the sample. Of two groups' pages a hash
 * picks the one that their common group has: the sample of a level is part of the one below, and
 * page and group are found from each other without a table.
 */
#ifndef MM_SAMPLING_H
#define MM_SAMPLING_H

#include <stdbool.h>
#include <stdint.h>

/* Which half of a group of level `height` + 1 is picked. */
static inline unsigned sampling_half(unsigned height, uint32_t group)
{
	return (unsigned)(((uint64_t)group + 1) * (UINT64_C(0x9e3779b97f4a7c15) + 2 * height) >>
			  41) &
	       1;
}

static inline bool sampling_has(unsigned level, uint32_t page)
{
	for (unsigned h = 0; h < level; h++)
		if ((page >> h & 1) != sampling_half(h, page >> h >> 1))
			return false;
	return true;
}

static inline uint32_t sampling_page(unsigned level, uint32_t group)
{
	while (level-- > 0)
		group = group << 1 | sampling_half(level, group);
	return group;
}

#endif
