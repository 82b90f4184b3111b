/* A page map as SVG: a grid of chunks for each region, a bar of totals, a legend.
 *
 * A chunk's colour is the mean of its pages' colours, so that a half-resident chunk looks
 * so; chunks of one colour that stand side by side in a row become one rectangle, which keeps the
 * file small. A poisoned page colours its whole chunk, for one must not be overlooked. Everything
 * has a title that a browser shows under the pointer.
 */
#include <inttypes.h>
#include <string.h>

#include "map.h"
#include "size.h"

#define COLUMNS	    64u
#define CELL	    12u /* pixels */
#define MARGIN	    32u
#define LABEL	    108u /* for the addresses */
#define GRID	    (COLUMNS * CELL)
#define WIDTH	    (2 * MARGIN + LABEL + GRID)
#define HEAD	    168u /* title, bar, legend */
#define REGION_HEAD 34u
#define REGION_GAP  22u

struct svg {
	const struct map_view *view;
	FILE *to;
	unsigned y; /* where the next part begins */
};

static void put_escaped(FILE *to, const char *text)
{
	for (; *text; text++) {
		if (*text == '&')
			fputs("&amp;", to);
		else if (*text == '<')
			fputs("&lt;", to);
		else if (*text == '>')
			fputs("&gt;", to);
		else
			putc((unsigned char)*text < 32 ? ' ' : *text, to);
	}
}

static unsigned chunk_rgb(const uint32_t counts[GMM_PAGE_N_STATES])
{
	uint64_t pages = 0, sum[3] = {0, 0, 0};

	if (counts[GMM_PAGE_POISONED])
		return map_styles[GMM_PAGE_POISONED].rgb;
	for (unsigned i = 0; i < GMM_PAGE_N_STATES; i++) {
		pages += counts[i];
		for (unsigned k = 0; k < 3; k++)
			sum[k] += (uint64_t)counts[i] * (map_styles[i].rgb >> (8 * k) & 0xff);
	}
	if (!pages)
		return map_styles[GMM_PAGE_EMPTY].rgb;
	return (unsigned)(sum[0] / pages | sum[1] / pages << 8 | sum[2] / pages << 16);
}

static double share(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0.0;
}

static void put_shares(FILE *to, const uint64_t counts[GMM_PAGE_N_STATES])
{
	uint64_t pages = 0;
	const char *comma = "";

	for (unsigned i = 0; i < GMM_PAGE_N_STATES; i++)
		pages += counts[i];
	for (unsigned i = 0; i < GMM_PAGE_N_STATES; i++) {
		if (!counts[i])
			continue;
		fprintf(to, "%s%s %.1f %%", comma, map_styles[i].name, share(counts[i], pages));
		comma = ", ";
	}
}

/* The n chunks from `first`, all of one colour and in one row. */
static void put_run(const struct svg *svg, const struct map_view_region *region, uint64_t first,
		    uint64_t n)
{
	uint64_t chunk_bytes = svg->view->chunk_pages * svg->view->page_bytes;
	uint64_t counts[GMM_PAGE_N_STATES] = {0};

	for (uint64_t i = first; i < first + n; i++) {
		for (unsigned k = 0; k < GMM_PAGE_N_STATES; k++)
			counts[k] += region->chunks[i][k];
	}
	fprintf(svg->to,
		"<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"#%06x\"><title>",
		MARGIN + LABEL + (unsigned)(first % COLUMNS) * CELL,
		svg->y + (unsigned)(first / COLUMNS) * CELL, (unsigned)n * CELL - 1, CELL - 1,
		chunk_rgb(region->chunks[first]));
	fprintf(svg->to, "0x%" PRIx64 " to 0x%" PRIx64 ": ", region->gpa + first * chunk_bytes,
		region->gpa + (first + n) * chunk_bytes);
	put_shares(svg->to, counts);
	fputs("</title></rect>\n", svg->to);
}

static void put_row(const struct svg *svg, const struct map_view_region *region, uint64_t first)
{
	uint64_t end = first + COLUMNS < region->n_chunks ? first + COLUMNS : region->n_chunks;
	uint64_t chunk_bytes = svg->view->chunk_pages * svg->view->page_bytes;

	if (first / COLUMNS % 4 == 0)
		fprintf(svg->to,
			"<text class=\"a\" x=\"%u\" y=\"%u\" text-anchor=\"end\">0x%" PRIx64
			"</text>\n",
			MARGIN + LABEL - 10, svg->y + (unsigned)(first / COLUMNS) * CELL + 10,
			region->gpa + first * chunk_bytes);
	while (first < end) {
		unsigned rgb = chunk_rgb(region->chunks[first]);
		uint64_t n = 1;

		while (first + n < end && chunk_rgb(region->chunks[first + n]) == rgb)
			n++;
		put_run(svg, region, first, n);
		first += n;
	}
}

static unsigned region_height(const struct map_view_region *region)
{
	uint64_t rows = (region->n_chunks + COLUMNS - 1) / COLUMNS;

	return REGION_HEAD + (unsigned)rows * CELL + REGION_GAP;
}

static void put_region(struct svg *svg, const struct map_view_region *region)
{
	char text[SIZE_TEXT_BYTES];
	unsigned bottom = svg->y + region_height(region);

	fprintf(svg->to, "<text class=\"h\" x=\"%u\" y=\"%u\">", MARGIN, svg->y + 18);
	put_escaped(svg->to, region->name);
	fprintf(svg->to, "<tspan class=\"s\" dx=\"10\">%s</tspan></text>\n",
		size_format(region->pages * svg->view->page_bytes, text));
	svg->y += REGION_HEAD;
	for (uint64_t first = 0; first < region->n_chunks; first += COLUMNS)
		put_row(svg, region, first);
	svg->y = bottom;
}

/* All pages as one bar, in the order of the legend. */
static void put_bar(const struct svg *svg)
{
	double x = MARGIN, whole = LABEL + GRID;

	fprintf(svg->to, "<g clip-path=\"url(#bar)\">\n");
	for (unsigned i = 0; i < GMM_PAGE_N_STATES; i++) {
		double width = whole * share(svg->view->totals[i], svg->view->pages) / 100;

		if (!svg->view->totals[i])
			continue;
		fprintf(svg->to,
			"<rect x=\"%.2f\" y=\"84\" width=\"%.2f\" height=\"22\" fill=\"#%06x\">"
			"<title>%s %.1f %%</title></rect>\n",
			x, width, map_styles[i].rgb, map_styles[i].name,
			share(svg->view->totals[i], svg->view->pages));
		x += width;
	}
	fprintf(svg->to, "</g>\n");
}

static void put_legend(const struct svg *svg)
{
	char text[SIZE_TEXT_BYTES];
	unsigned x = MARGIN, step = (LABEL + GRID) / GMM_PAGE_N_STATES;

	for (unsigned i = 0; i < GMM_PAGE_N_STATES; i++, x += step) {
		uint64_t pages = svg->view->totals[i];

		fprintf(svg->to,
			"<rect x=\"%u\" y=\"122\" width=\"12\" height=\"12\" rx=\"3\" "
			"fill=\"#%06x\"/><text class=\"l\" x=\"%u\" y=\"132\">%s</text>"
			"<text class=\"s\" x=\"%u\" y=\"149\">%s</text>\n",
			x, map_styles[i].rgb, x + 18, map_styles[i].name, x + 18,
			size_format(pages * svg->view->page_bytes, text));
	}
}

static void put_head(const struct svg *svg, unsigned height)
{
	char all[SIZE_TEXT_BYTES], chunk[SIZE_TEXT_BYTES];

	fprintf(svg->to,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" "
		"viewBox=\"0 0 %u %u\">\n"
		"<style>text{font-family:system-ui,Helvetica,Arial,sans-serif;fill:#212529}"
		".t{font-size:22px;font-weight:600}.h{font-size:14px;font-weight:600}"
		".l{font-size:13px}.s{font-size:12px;font-weight:400;fill:#6c757d}"
		".a{font-size:10px;font-family:ui-monospace,Menlo,monospace;fill:#6c757d}"
		"</style>\n"
		"<defs><clipPath id=\"bar\"><rect x=\"%u\" y=\"84\" width=\"%u\" height=\"22\" "
		"rx=\"6\"/></clipPath></defs>\n"
		"<rect width=\"%u\" height=\"%u\" fill=\"#ffffff\"/>\n",
		WIDTH, height, WIDTH, height, MARGIN, LABEL + GRID, WIDTH, height);
	fprintf(svg->to,
		"<text class=\"t\" x=\"%u\" y=\"46\">Pages of a guest</text>\n"
		"<text class=\"s\" x=\"%u\" y=\"68\">%s of guest-physical addresses, %s a "
		"square</text>\n",
		MARGIN, MARGIN, size_format(svg->view->pages * svg->view->page_bytes, all),
		size_format(svg->view->chunk_pages * svg->view->page_bytes, chunk));
}

void map_view_svg(const struct map_view *view, FILE *to)
{
	struct svg svg = {.view = view, .to = to, .y = HEAD};
	unsigned height = HEAD + MARGIN - REGION_GAP;

	for (unsigned i = 0; i < view->n_regions; i++)
		height += region_height(&view->regions[i]);
	put_head(&svg, height);
	put_bar(&svg);
	put_legend(&svg);
	for (unsigned i = 0; i < view->n_regions; i++)
		put_region(&svg, &view->regions[i]);
	fprintf(to, "</svg>\n");
}
