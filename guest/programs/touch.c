/* touch: visits every page of a mapping, pass after pass. A page carries a stamp of the pass
 * that wrote it last, at a place of its own, so that a page that was lost, swapped with
 * another or served from the pass before is found. Without writing, pages must be zero. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "list.h"
#include "loads.h"
#include "random.h"
#include "references.h"

enum order { ORDER_SEQ, ORDER_RAND, ORDER_STRIDE };

struct share {
	char *memory;	     /* NULL: only told which pages */
	uint64_t n_pages;    /* of the mapping */
	uint64_t first, end; /* steps of the visit that are this worker's */
	uint64_t pass;
	enum order order;
	uint64_t stride;
	bool write;
	uint64_t n_wrong;
};

/* The page visited at a step. */
static uint64_t page_at(const struct share *s, uint64_t step)
{
	uint64_t full, rest;

	switch (s->order) {
	case ORDER_SEQ:
		return step;
	case ORDER_RAND:
		return permute(step, s->n_pages, mix64(s->pass));
	case ORDER_STRIDE:
		break;
	}
	/* Column by column of a table `stride` wide whose last row may be short. */
	full = (s->n_pages + s->stride - 1) / s->stride;
	rest = s->n_pages % s->stride ? s->n_pages % s->stride : s->stride;
	if (step < rest * full)
		return step % full * s->stride + step / full;
	step -= rest * full;
	return step % (full - 1) * s->stride + rest + step / (full - 1);
}

static uint64_t stamp(uint64_t page, uint64_t pass)
{
	return pass ? mix64(page * 0x10001 + pass) : 0;
}

static void share_run(void *arg)
{
	struct share *s = arg;

	for (uint64_t step = s->first; step < s->end; step++) {
		uint64_t page = page_at(s, step), *word;

		if (!s->memory) {
			references_add(page, s->write);
			continue;
		}
		word = (uint64_t *)(s->memory + page * PAGE_BYTES + page % 512 * 8);
		if (*(volatile uint64_t *)word != stamp(page, s->write ? s->pass - 1 : 0))
			s->n_wrong++;
		if (s->write)
			*(volatile uint64_t *)word = stamp(page, s->pass);
	}
}

/* One pass by all workers; returns the pages that were wrong. */
static uint64_t pass_run(struct share *shares, unsigned n, uint64_t pass)
{
	uint64_t n_wrong = 0;

	for (unsigned i = 0; i < n; i++) {
		shares[i].pass = pass;
		shares[i].first = shares[i].n_pages * i / n;
		shares[i].end = shares[i].n_pages * (i + 1) / n;
	}
	workers_run(n, share_run, shares, sizeof(*shares));
	for (unsigned i = 0; i < n; i++)
		n_wrong += shares[i].n_wrong;
	return n_wrong;
}

static void order_read(const char *text, struct share *share)
{
	char *end;

	if (strcmp(text, "seq") == 0) {
		share->order = ORDER_SEQ;
	} else if (strcmp(text, "rand") == 0) {
		share->order = ORDER_RAND;
	} else if (strncmp(text, "stride=", 7) == 0) {
		share->order = ORDER_STRIDE;
		share->stride = strtoull(text + 7, &end, 10);
		if (!share->stride || share->stride > share->n_pages || *end)
			usage_die(&program_touch, "a stride is 1 to the number of pages", text);
	} else {
		usage_die(&program_touch, "not an order", text);
	}
}

int touch_load(uint64_t bytes, uint64_t passes, const char *order, uint64_t write)
{
	static struct share shares[WORKERS_MAX];
	struct share share = {.n_pages = bytes / PAGE_BYTES, .write = write};
	uint64_t n_wrong = 0, start = 0, ns;
	unsigned n = workers_count();

	order_read(order, &share);
	share.memory = pages_map("touch", share.n_pages * PAGE_BYTES);
	if (!share.memory)
		return EXIT_FAILED;
	for (unsigned i = 0; i < n; i++)
		shares[i] = share;
	for (uint64_t pass = 1; pass <= passes; pass++) {
		start = clock_ns();
		n_wrong = pass_run(shares, n, pass);
	}
	ns = clock_ns() - start;
	munmap(share.memory, share.n_pages * PAGE_BYTES);
	printf("touch: pages=%lu ns_per_page=%lu wrong=%lu %s\n", share.n_pages, ns / share.n_pages,
	       n_wrong, verdict(n_wrong == 0));
	return n_wrong ? EXIT_FAILED : 0;
}

/* What touch_load() would touch on one CPU. */
static int touch_references(uint64_t bytes, uint64_t passes, const char *order, uint64_t write)
{
	struct share s = {.n_pages = bytes / PAGE_BYTES, .write = write};

	order_read(order, &s);
	s.end = s.n_pages;
	references_begin();
	for (s.pass = 1; s.pass <= passes; s.pass++)
		share_run(&s);
	return references_end();
}

static int touch_main(int argc, char **argv)
{
	uint64_t bytes = 64ul << 20, passes = 2, write = 1;
	bool references = false;
	const char *order = "seq";
	const struct option options[] = {
		{"bytes", OPTION_SIZE, &bytes},		  {"passes", OPTION_NUMBER, &passes},
		{"order", OPTION_TEXT, &order},		  {"write", OPTION_NUMBER, &write},
		{"references", OPTION_FLAG, &references}, {NULL, OPTION_FLAG, NULL},
	};

	options_read(&program_touch, argc, argv, options);
	if (bytes < PAGE_BYTES || !passes || write > 1)
		usage_die(&program_touch, "out of range",
			  "--bytes is 4K at least, --passes 1 at least, --write 0 or 1");
	if (references)
		return touch_references(bytes, passes, order, write);
	return touch_load(bytes, passes, order, write);
}

const struct program program_touch = {
	"touch",
	"[--bytes SIZE] [--passes N] [--order seq|rand|stride=N] [--write 0|1] [--references]",
	touch_main};
