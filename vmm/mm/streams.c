/* Streams: see streams.h. */
#include "streams.h"

void streams_init(struct streams *s)
{
	*s = (struct streams){0};
	for (unsigned i = 0; i < STREAMS_N; i++)
		s->all[i].next = PAGE_NONE;
}

struct stream *streams_meet(struct streams *s, page_no from, page_no p, uint32_t max)
{
	struct stream *oldest = &s->all[0], *nearest = NULL;

	for (unsigned i = 0; i < STREAMS_N; i++) {
		struct stream *st = &s->all[i];

		if (st->next >= from && st->next <= p && (!nearest || st->next > nearest->next))
			nearest = st;
		if (st->used < oldest->used)
			oldest = st;
	}
	if (nearest)
		nearest->window = nearest->window * 2 < max ? nearest->window * 2 : max;
	else
		*(nearest = oldest) = (struct stream){.window = 1};
	nearest->next = p;
	nearest->used = ++s->clock;
	return nearest;
}

void streams_advance(struct stream *st, page_no next)
{
	st->next = next;
}
