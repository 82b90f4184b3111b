/* The optimum: Belady, 1966. Of all resident pages the one goes that is needed last.
 *
 * When each page is needed next is found by walking the trace backwards; resident pages stand in a
 * heap, latest need on top. An entry whose page has been touched since, or is gone, is left where
 * it is and skipped when it comes up.
 */
#include <errno.h>
#include <stdlib.h>

#include "replay.h"

#define NEVER UINT32_MAX

struct need {
	uint32_t when, page; /* the event that touches it next */
};

/* Of a page: */
enum { RESIDENT = 1, WRITTEN = 2 };

struct optimum {
	const struct replay_trace *trace;
	uint32_t *next; /* by event: when its page is touched next, before a discard */
	uint32_t *when; /* by page: when it is touched next, as of now */
	uint8_t *state; /* by page */
	struct need *heap;
	uint32_t *zero; /* pages that were resident and not written when they were put here */
	uint64_t n_heap, n_zero, n_resident, limit;
	struct replay_result *result;
};

static void heap_push(struct optimum *o, struct need need)
{
	uint64_t i = o->n_heap++;

	for (; i && o->heap[(i - 1) / 2].when < need.when; i = (i - 1) / 2)
		o->heap[i] = o->heap[(i - 1) / 2];
	o->heap[i] = need;
}

static struct need heap_pop(struct optimum *o)
{
	struct need top = o->heap[0], last = o->heap[--o->n_heap];
	uint64_t i = 0, child;

	while ((child = 2 * i + 1) < o->n_heap) {
		if (child + 1 < o->n_heap && o->heap[child + 1].when > o->heap[child].when)
			child++;
		if (o->heap[child].when <= last.when)
			break;
		o->heap[i] = o->heap[child];
		i = child;
	}
	o->heap[i] = last;
	return top;
}

static void find_needs(struct optimum *o)
{
	const struct replay_trace *t = o->trace;

	for (uint64_t page = 0; page < t->n_pages; page++)
		o->when[page] = NEVER;
	for (uint64_t i = t->n_events; i--;) {
		o->next[i] = o->when[t->pages[i]];
		o->when[t->pages[i]] = t->events[i] == REPLAY_DISCARD ? NEVER : (uint32_t)i;
	}
}

static uint32_t victim(struct optimum *o)
{
	while (o->n_zero) {
		uint32_t page = o->zero[--o->n_zero];

		if (o->state[page] == RESIDENT)
			return page;
	}
	for (;;) {
		struct need n = heap_pop(o);

		if (o->state[n.page] & RESIDENT && o->when[n.page] == n.when)
			return n.page;
	}
}

static void touch(struct optimum *o, uint32_t page, bool is_write, uint32_t next)
{
	o->when[page] = next;
	if (!(o->state[page] & RESIDENT)) {
		o->result->refaults += o->state[page] == WRITTEN;
		o->result->first_touches += o->state[page] == 0;
		if (o->n_resident == o->limit) {
			o->state[victim(o)] &= (uint8_t)~RESIDENT;
			o->result->evictions++;
			o->n_resident--;
		}
		if (!o->state[page] && !is_write)
			o->zero[o->n_zero++] = page;
		o->state[page] |= RESIDENT;
		o->n_resident++;
	}
	if (is_write)
		o->state[page] |= WRITTEN;
	heap_push(o, (struct need){next, page});
}

static void run(struct optimum *o)
{
	const struct replay_trace *t = o->trace;

	find_needs(o);
	for (uint64_t i = 0; i < t->n_events; i++) {
		uint32_t page = t->pages[i];

		if (t->events[i] != REPLAY_DISCARD) {
			touch(o, page, t->events[i] == REPLAY_WRITE, o->next[i]);
			continue;
		}
		o->n_resident -= o->state[page] & RESIDENT;
		o->state[page] = 0;
	}
}

int replay_optimum(const struct replay_trace *trace, uint64_t limit_pages,
		   struct replay_result *out)
{
	struct optimum o = {.trace = trace, .limit = limit_pages, .result = out};
	int rc = -ENOMEM;

	if (limit_pages == 0 || trace->n_events >= NEVER)
		return -EINVAL;
	*out = (struct replay_result){0};
	o.next = malloc(trace->n_events * sizeof(*o.next));
	o.when = malloc(trace->n_pages * sizeof(*o.when));
	o.state = calloc(trace->n_pages, 1);
	o.heap = malloc(trace->n_events * sizeof(*o.heap));
	o.zero = malloc(trace->n_events * sizeof(*o.zero));
	if (o.next && o.when && o.state && o.heap && o.zero) {
		run(&o);
		rc = 0;
	}
	free(o.next);
	free(o.when);
	free(o.state);
	free(o.heap);
	free(o.zero);
	return rc;
}
