/* The map of page states: every page counted once, in a bounded number of chunks. */
#include <errno.h>
#include <string.h>

#include "unit.h"
#include "vmm/ctl/map.h"

#define GIB (UINT64_C(1) << 30)

/* A page's state is made from its number, so that each test can foretell it. */
static int made_up(void *user, gmm_gfn gfn, uint64_t n_pages, uint8_t *states)
{
	uint64_t *n_asked = user;

	*n_asked += n_pages;
	for (uint64_t i = 0; i < n_pages; i++)
		states[i] = (uint8_t)((gfn.v + i) % GMM_PAGE_N_STATES);
	return 0;
}

static int failing(void *user, gmm_gfn gfn, uint64_t n_pages, uint8_t *states)
{
	(void)user, (void)gfn, (void)n_pages, (void)states;
	return -EFAULT;
}

static uint64_t sum_chunks(const json_t *region, uint64_t chunk_pages)
{
	const json_t *chunks = json_object_get(region, "chunks"), *chunk, *count;
	uint64_t all = 0;
	size_t i, k;

	json_array_foreach(chunks, i, chunk)
	{
		uint64_t here = 0;

		ck_assert_uint_eq(json_array_size(chunk), GMM_PAGE_N_STATES);
		json_array_foreach(chunk, k, count) here += (uint64_t)json_integer_value(count);
		ck_assert_uint_le(here, chunk_pages);
		ck_assert(here == chunk_pages || i + 1 == json_array_size(chunks));
		all += here;
	}
	return all;
}

START_TEST(every_page_is_counted_once)
{
	const struct map_region regions[] = {{{0}, 3 * GIB, "ram"},
					     {{4 * GIB}, 5 * GIB + 0x3000, "ram"},
					     {{64 * GIB}, 0x1000, "/f"}};
	uint64_t n_asked = 0, chunk_pages, n_chunks = 0;
	json_t *map = map_json(regions, 3, 1000, made_up, &n_asked), *list, *region;

	ck_assert_ptr_nonnull(map);
	chunk_pages = (uint64_t)json_integer_value(json_object_get(map, "chunk_pages"));
	list = json_object_get(map, "regions");
	for (size_t i = 0; i < 3; i++) {
		region = json_array_get(list, i);
		ck_assert_uint_eq(sum_chunks(region, chunk_pages), regions[i].bytes >> 12);
		ck_assert_str_eq(json_string_value(json_object_get(region, "name")),
				 regions[i].name);
		n_chunks += json_array_size(json_object_get(region, "chunks"));
	}
	ck_assert_uint_eq(n_asked, (8 * GIB + 0x4000) >> 12);
	ck_assert_uint_le(n_chunks, 1003);
	ck_assert_uint_ge(n_chunks, 500);
	json_decref(map);
}
END_TEST

START_TEST(a_small_guest_is_shown_page_by_page)
{
	const struct map_region region = {{0x10000}, 64 << 12, "ram"};
	uint64_t n_asked = 0;
	json_t *map = map_json(&region, 1, 64, made_up, &n_asked), *chunks;

	ck_assert_int_eq(json_integer_value(json_object_get(map, "chunk_pages")), 1);
	chunks = json_object_get(json_array_get(json_object_get(map, "regions"), 0), "chunks");
	ck_assert_uint_eq(json_array_size(chunks), 64);
	for (size_t i = 0; i < 64; i++) {
		size_t state = (16 + i) % GMM_PAGE_N_STATES;

		ck_assert_int_eq(
			json_integer_value(json_array_get(json_array_get(chunks, i), state)), 1);
	}
	json_decref(map);
}
END_TEST

START_TEST(every_state_has_a_name)
{
	uint64_t n_asked = 0;
	json_t *map = map_json(NULL, 0, 64, made_up, &n_asked), *states;

	states = json_object_get(map, "states");
	ck_assert_uint_eq(json_array_size(states), GMM_PAGE_N_STATES);
	for (unsigned i = 0; i < GMM_PAGE_N_STATES; i++)
		ck_assert_str_eq(json_string_value(json_array_get(states, i)), map_state_name(i));
	ck_assert_ptr_null(map_state_name(GMM_PAGE_N_STATES));
	ck_assert_str_eq(map_state_name(GMM_PAGE_RESIDENT), "resident");
	json_decref(map);
}
END_TEST

START_TEST(states_that_cannot_be_had_make_no_map)
{
	const struct map_region region = {{0}, GIB, "ram"};

	ck_assert_ptr_null(map_json(&region, 1, 64, failing, NULL));
}
END_TEST

UNIT_MAIN("map", every_page_is_counted_once, a_small_guest_is_shown_page_by_page,
	  every_state_has_a_name, states_that_cannot_be_had_make_no_map)
