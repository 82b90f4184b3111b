/* The states of a guest's pages, counted in chunks. The number of chunks is bounded, so
 * that neither a huge guest nor a strangely chequered one makes a reply large. */
#include "map.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_PAGES 4096u

struct map_walk {
	map_states_fn *states;
	void *user;
	uint64_t chunk_pages;
	uint8_t batch[BATCH_PAGES];
};

const char *map_state_name(unsigned state)
{
	static const char *const names[GMM_PAGE_N_STATES] = {
		[GMM_PAGE_EMPTY] = "empty",	  [GMM_PAGE_FILLING] = "filling",
		[GMM_PAGE_RESIDENT] = "resident", [GMM_PAGE_EVICTING] = "evicting",
		[GMM_PAGE_SWAPPED] = "swapped",	  [GMM_PAGE_BALLOONED] = "ballooned",
		[GMM_PAGE_POISONED] = "poisoned",
	};

	return state < GMM_PAGE_N_STATES ? names[state] : NULL;
}

static json_t *states_json(void)
{
	json_t *states = json_array();

	for (unsigned i = 0; states && i < GMM_PAGE_N_STATES; i++)
		json_array_append_new(states, json_string(map_state_name(i)));
	return states;
}

/* Counts the states of n pages from gfn. */
static int count_chunk(struct map_walk *walk, uint64_t gfn, uint64_t n, json_int_t *counts)
{
	memset(counts, 0, GMM_PAGE_N_STATES * sizeof(*counts));
	while (n) {
		uint64_t batch = n < BATCH_PAGES ? n : BATCH_PAGES;
		int err = walk->states(walk->user, (gmm_gfn){gfn}, batch, walk->batch);

		if (err)
			return err;
		for (uint64_t i = 0; i < batch; i++) {
			if (walk->batch[i] < GMM_PAGE_N_STATES)
				counts[walk->batch[i]]++;
		}
		gfn += batch;
		n -= batch;
	}
	return 0;
}

static json_t *chunk_json(struct map_walk *walk, uint64_t gfn, uint64_t n)
{
	json_int_t counts[GMM_PAGE_N_STATES];
	json_t *chunk;

	if (count_chunk(walk, gfn, n, counts))
		return NULL;
	chunk = json_array();
	for (unsigned i = 0; chunk && i < GMM_PAGE_N_STATES; i++)
		json_array_append_new(chunk, json_integer(counts[i]));
	return chunk;
}

static json_t *region_json(struct map_walk *walk, const struct map_region *region)
{
	uint64_t gfn = gmm_gfn_of(region->start).v, pages = region->bytes >> GMM_PAGE_SHIFT;
	json_t *chunks = json_array();

	for (uint64_t at = 0; at < pages; at += walk->chunk_pages) {
		uint64_t n = pages - at < walk->chunk_pages ? pages - at : walk->chunk_pages;

		if (json_array_append_new(chunks, chunk_json(walk, gfn + at, n))) {
			json_decref(chunks);
			return NULL;
		}
	}
	return json_pack("{s:I, s:I, s:s, s:o}", "gpa", (json_int_t)region->start.v, "pages",
			 (json_int_t)pages, "name", region->name, "chunks", chunks);
}

/* The smallest power of two of pages that keeps all regions within max_chunks chunks. */
static uint64_t pick_chunk(const struct map_region *regions, unsigned n, unsigned max_chunks)
{
	uint64_t pages = 0, chunk = 1;

	for (unsigned i = 0; i < n; i++)
		pages += regions[i].bytes >> GMM_PAGE_SHIFT;
	while (pages / chunk > max_chunks)
		chunk *= 2;
	return chunk;
}

json_t *map_json(const struct map_region *regions, unsigned n_regions, unsigned max_chunks,
		 map_states_fn *states, void *user)
{
	struct map_walk walk = {.states = states, .user = user};
	json_t *list = json_array();

	walk.chunk_pages = pick_chunk(regions, n_regions, max_chunks ? max_chunks : 1);
	for (unsigned i = 0; i < n_regions; i++) {
		if (json_array_append_new(list, region_json(&walk, &regions[i]))) {
			json_decref(list);
			return NULL;
		}
	}
	return json_pack("{s:I, s:I, s:o, s:o}", "page_bytes", (json_int_t)GMM_PAGE_BYTES,
			 "chunk_pages", (json_int_t)walk.chunk_pages, "states", states_json(),
			 "regions", list);
}
