/* Streams: see streams.h. */
#include "streams.h"

void streams_init(struct streams *s)
{
	*s = (struct streams){0};
	for (unsigned i = 0; i < STREAMS_N; i++)
		s->all[i].next = PAGE_NONE;
}

struct stream *streams_meet(struct streams *s, page_no p, uint32_t max)
{
	struct stream *oldest = &s->all[0];

	s->clock++;
	for (unsigned i = 0; i < STREAMS_N; i++) {
		struct stream *st = &s->all[i];

		if (st->next == p) {
			st->window = st->window * 2 < max ? st->window * 2 : max;
			st->used = s->clock;
			return st;
		}
		if (st->used < oldest->used)
			oldest = st;
	}
	*oldest = (struct stream){.next = p, .window = 1, .used = s->clock};
	return oldest;
}

void streams_advance(struct stream *st, page_no next)
{
	st->next = next;
}
