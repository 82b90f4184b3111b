/* What `guestmm top` shows: statistics in, lines of text out. No terminal here. */
#ifndef VMM_CMD_TOP_VIEW_H
#define VMM_CMD_TOP_VIEW_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define TOP_COLUMNS 80
#define TOP_LINES   24

struct top_screen {
	unsigned n_lines;
	char lines[TOP_LINES][TOP_COLUMNS + 1];
};

/* Draws `now` (guestmm-stats-1). Rates are over the time since `before`, an earlier sample of the
 * same guest, or since the guest's start where that is NULL. What is missing from the JSON, or
 * of a wrong type, counts as zero. */
void top_render(const json_t *now, const json_t *before, struct top_screen *screen);

#endif
