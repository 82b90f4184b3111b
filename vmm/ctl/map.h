/* The states of a guest's pages as JSON, in a bounded number of chunks: what the control
 * socket's "map" replies and `guestmm map` draws.
 *
 *   {"page_bytes":4096,"chunk_pages":N,"states":["empty","filling",...],
 *    "regions":[{"gpa":0,"pages":N,"name":"ram","chunks":[[n_empty,n_filling,...],...]},...]}
 *
 * A chunk is chunk_pages neighbouring pages (a region's last one may be shorter), given as the
 * number of its pages in each state, in the order of "states".
 */
#ifndef VMM_CTL_MAP_H
#define VMM_CTL_MAP_H

#include <guestmm/guestmm.h>
#include <jansson.h>

#define MAP_MIN_CHUNKS	   64
#define MAP_MAX_CHUNKS	   16384
#define MAP_DEFAULT_CHUNKS 2048

struct map_region {
	gmm_gpa start;
	uint64_t bytes;	  /* whole pages */
	const char *name; /* "ram", or a file window's name */
};

/* As gmm_space_states(): states of n_pages pages from gfn. 0 or a negative errno. */
typedef int map_states_fn(void *user, gmm_gfn gfn, uint64_t n_pages, uint8_t *states);

/* The word for a state in the JSON, NULL past the last. */
const char *map_state_name(unsigned state);

/* Returns a new object of at most max_chunks chunks and one more a region; NULL without
 * memory or where a state cannot be had. */
json_t *map_json(const struct map_region *regions, unsigned n_regions, unsigned max_chunks,
		 map_states_fn *states, void *user);

#endif
