/* Streams: which first touches run in order, so that their neighbours get zeros along with them.
 *
 * A handful of remembered positions. A fault at a remembered position, or behind one where all
 * between is there already, extends that stream and doubles its window; any other fault starts one
 * with a window of a single page in place of the stream that was longest unused. Under the space's
 * lock.
 */
#ifndef MM_STREAMS_H
#define MM_STREAMS_H

#include "page.h"

#define STREAMS_N 64u /* an allocator fills many size classes at once, each in order */

struct stream {
	page_no next; /* where it goes on */
	uint32_t window;
	uint64_t used; /* when it was last met */
};

struct streams {
	struct stream all[STREAMS_N];
	uint64_t clock;
};

void streams_init(struct streams *s);

/* A fault at page p; those from `from` to it are there already, and touches of such are not seen: a
 * stream that would go on at one of them goes on at p. How many pages from p on are worth bringing
 * in (1 to max)? Say afterwards with streams_advance() how far it went. */
struct stream *streams_meet(struct streams *s, page_no from, page_no p, uint32_t max);
void streams_advance(struct stream *st, page_no next);

#endif
