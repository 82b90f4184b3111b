/* Streams: see streams.h. */
#include "streams.h"

void streams_init(struct streams *s)
{
	*s = (struct streams){0};
	for (unsigned i = 0; i < STREAMS_N; i++)
		s->all[i].next = PAGE_NONE;
}

/* What single touches have left on the way is no match for what came here in order. */
static bool stream_is_better(const struct stream *a, const struct stream *b)
{
	return a->window != b->window ? a->window > b->window : a->next > b->next;
}

struct stream *streams_meet(struct streams *s, page_no from, page_no p, uint32_t max)
{
	struct stream *oldest = &s->all[0], *best = NULL;

	for (unsigned i = 0; i < STREAMS_N; i++) {
		struct stream *st = &s->all[i];

		if (st->next >= from && st->next <= p && (!best || stream_is_better(st, best)))
			best = st;
		if (st->used < oldest->used)
			oldest = st;
	}
	if (best)
		best->window = best->window * 2 < max ? best->window * 2 : max;
	else
		*(best = oldest) = (struct stream){.window = 1};
	best->next = p;
	best->used = ++s->clock;
	return best;
}

void streams_advance(struct stream *st, page_no next)
{
	st->next = next;
}
