/* Pictures of a page map (vmm/ctl/map.h): as text and as SVG. */
#ifndef VMM_CMD_MAP_H
#define VMM_CMD_MAP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <guestmm/guestmm.h>

struct map_view_region {
	uint64_t gpa, pages;
	const char *name; /* the JSON's */
	uint64_t n_chunks;
	uint32_t (*chunks)[GMM_PAGE_N_STATES]; /* pages of each chunk in each state */
};

struct map_view {
	uint64_t page_bytes, chunk_pages;
	uint64_t totals[GMM_PAGE_N_STATES]; /* pages */
	uint64_t pages;
	unsigned n_regions;
	struct map_view_region *regions;
};

/* Reads a map's JSON, which must outlive the view, and checks all of it. 0, -EPROTO, -ENOMEM. */
int map_view_new(const json_t *map, struct map_view **out);
struct map_view *map_view_free(struct map_view *view);

/* A letter a chunk, with a legend. Colours are ANSI escapes. */
void map_view_text(const struct map_view *view, FILE *to, bool colours);

/* A picture for a browser. */
void map_view_svg(const struct map_view *view, FILE *to);

/* The state that most pages of a chunk are in; poisoned wherever there is one. */
unsigned map_view_main_state(const uint32_t counts[GMM_PAGE_N_STATES]);

/* How a state is shown: its letter, its name, its colour as 0xRRGGBB. */
struct map_style {
	char letter;
	const char *name;
	unsigned rgb;
	unsigned ansi; /* colour of the 256-colour palette */
};
extern const struct map_style map_styles[GMM_PAGE_N_STATES];

#endif
