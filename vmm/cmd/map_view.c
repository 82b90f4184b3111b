/* A page map, read from JSON and shown as text. The JSON comes from another process: its every
 * field is checked before it is used. */
#include "map.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "size.h"

#define MAX_REGIONS 64
#define MAX_CHUNKS  (1u << 20)
#define COLUMNS	    64

/* Colours that stay apart for colour-blind eyes too (after Okabe and Ito). */
const struct map_style map_styles[GMM_PAGE_N_STATES] = {
	[GMM_PAGE_EMPTY] = {'.', "empty", 0xe9ecef, 252},
	[GMM_PAGE_FILLING] = {'F', "filling", 0x56b4e9, 39},
	[GMM_PAGE_RESIDENT] = {'R', "resident", 0x009e73, 35},
	[GMM_PAGE_EVICTING] = {'E', "evicting", 0xcc79a7, 175},
	[GMM_PAGE_SWAPPED] = {'S', "swapped", 0xe69f00, 214},
	[GMM_PAGE_BALLOONED] = {'B', "ballooned", 0x0072b2, 25},
	[GMM_PAGE_POISONED] = {'!', "poisoned", 0xd00000, 160},
};

static bool get_number(const json_t *object, const char *key, uint64_t max, uint64_t *out)
{
	const json_t *value = json_object_get(object, key);
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value) || number < 0 || (uint64_t)number > max)
		return false;
	*out = (uint64_t)number;
	return true;
}

static bool read_chunk(const json_t *json, uint64_t chunk_pages, uint32_t counts[])
{
	uint64_t sum = 0;

	if (json_array_size(json) != GMM_PAGE_N_STATES)
		return false;
	for (size_t i = 0; i < GMM_PAGE_N_STATES; i++) {
		const json_t *count = json_array_get(json, i);
		json_int_t n = json_integer_value(count);

		if (!json_is_integer(count) || n < 0 || n > UINT32_MAX)
			return false;
		counts[i] = (uint32_t)n;
		sum += (uint64_t)n;
	}
	return sum > 0 && sum <= chunk_pages;
}

static int read_region(const json_t *json, struct map_view *view, struct map_view_region *region)
{
	const json_t *chunks = json_object_get(json, "chunks");

	region->name = json_string_value(json_object_get(json, "name"));
	region->n_chunks = json_array_size(chunks);
	if (!region->name || region->n_chunks > MAX_CHUNKS ||
	    !get_number(json, "gpa", INT64_MAX, &region->gpa) ||
	    !get_number(json, "pages", UINT64_C(1) << 51, &region->pages))
		return -EPROTO;
	if ((region->pages + view->chunk_pages - 1) / view->chunk_pages != region->n_chunks)
		return -EPROTO;
	region->chunks = calloc(region->n_chunks + 1, sizeof(*region->chunks));
	if (!region->chunks)
		return -ENOMEM;
	for (size_t i = 0; i < region->n_chunks; i++) {
		if (!read_chunk(json_array_get(chunks, i), view->chunk_pages, region->chunks[i]))
			return -EPROTO;
		for (unsigned k = 0; k < GMM_PAGE_N_STATES; k++)
			view->totals[k] += region->chunks[i][k];
	}
	view->pages += region->pages;
	return 0;
}

/* The states must be ours, in our order: else the other side is of another version. */
static bool states_match(const json_t *states)
{
	if (json_array_size(states) != GMM_PAGE_N_STATES)
		return false;
	for (size_t i = 0; i < GMM_PAGE_N_STATES; i++) {
		const char *name = json_string_value(json_array_get(states, i));

		if (!name || strcmp(name, map_styles[i].name) != 0)
			return false;
	}
	return true;
}

int map_view_new(const json_t *map, struct map_view **out)
{
	const json_t *list = json_object_get(map, "regions");
	struct map_view *view = calloc(1, sizeof(*view));
	int err = -EPROTO;

	if (!view)
		return -ENOMEM;
	if (!states_match(json_object_get(map, "states")) ||
	    !get_number(map, "page_bytes", 1 << 20, &view->page_bytes) ||
	    !get_number(map, "chunk_pages", UINT32_MAX, &view->chunk_pages) || !view->chunk_pages ||
	    !json_is_array(list) || json_array_size(list) > MAX_REGIONS)
		goto out;
	view->regions = calloc(MAX_REGIONS, sizeof(*view->regions));
	err = view->regions ? 0 : -ENOMEM;
	for (size_t i = 0; !err && i < json_array_size(list); i++) {
		view->n_regions++;
		err = read_region(json_array_get(list, i), view, &view->regions[i]);
	}
out:
	if (err)
		map_view_free(view);
	else
		*out = view;
	return err;
}

struct map_view *map_view_free(struct map_view *view)
{
	if (!view)
		return NULL;
	for (unsigned i = 0; i < view->n_regions; i++)
		free(view->regions[i].chunks);
	free(view->regions);
	free(view);
	return NULL;
}

unsigned map_view_main_state(const uint32_t counts[GMM_PAGE_N_STATES])
{
	unsigned main = GMM_PAGE_EMPTY;

	if (counts[GMM_PAGE_POISONED])
		return GMM_PAGE_POISONED;
	for (unsigned i = 1; i < GMM_PAGE_N_STATES; i++) {
		if (counts[i] > counts[main])
			main = i;
	}
	return main;
}

/* Upper case where all pages are in that state, lower case where only most are. */
static char chunk_letter(const uint32_t counts[GMM_PAGE_N_STATES], unsigned main)
{
	for (unsigned i = 0; i < GMM_PAGE_N_STATES; i++) {
		if (i == main || !counts[i])
			continue;
		if (main == GMM_PAGE_EMPTY)
			return ',';
		return (char)tolower((unsigned char)map_styles[main].letter);
	}
	return map_styles[main].letter;
}

static void put_chunk(FILE *to, const uint32_t counts[GMM_PAGE_N_STATES], bool colours)
{
	unsigned main = map_view_main_state(counts);
	char letter = chunk_letter(counts, main);

	if (colours)
		fprintf(to, "\033[38;5;%um%c\033[0m", map_styles[main].ansi, letter);
	else
		putc(letter, to);
}

static void put_region(const struct map_view *view, const struct map_view_region *region, FILE *to,
		       bool colours)
{
	uint64_t row_bytes = COLUMNS * view->chunk_pages * view->page_bytes;
	char text[SIZE_TEXT_BYTES];

	fprintf(to, "\n%s, %s\n", region->name,
		size_format(region->pages * view->page_bytes, text));
	for (uint64_t i = 0; i < region->n_chunks; i++) {
		if (i % COLUMNS == 0)
			fprintf(to, "%s0x%010" PRIx64 "  ", i ? "\n" : "",
				region->gpa + i / COLUMNS * row_bytes);
		put_chunk(to, region->chunks[i], colours);
	}
	putc('\n', to);
}

void map_view_text(const struct map_view *view, FILE *to, bool colours)
{
	char text[SIZE_TEXT_BYTES];

	fprintf(to, "%s a letter\n", size_format(view->chunk_pages * view->page_bytes, text));
	for (unsigned i = 0; i < view->n_regions; i++)
		put_region(view, &view->regions[i], to, colours);
	fprintf(to, "\nletter  state      pages       size   share\n");
	for (unsigned i = 0; i < GMM_PAGE_N_STATES; i++) {
		uint64_t n = view->totals[i];

		fprintf(to, "  %c     %-9s %8" PRIu64 " %10s  %4.1f %%\n", map_styles[i].letter,
			map_styles[i].name, n, size_format(n * view->page_bytes, text),
			view->pages ? 100.0 * (double)n / (double)view->pages : 0.0);
	}
	fprintf(to, "Capitals: all pages of the chunk; small letters: most of them (, is mostly "
		    "empty).\n");
}
