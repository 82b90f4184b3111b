/* Traces, inside: how the table of pages tells of what happens to them. */
#ifndef MM_TRACE_H
#define MM_TRACE_H

#include <guestmm/trace.h>

#include "page.h"

struct layout;

/* Frame numbers are the layout's, which outlives the trace's use. */
void trace_begin(struct gmm_trace *t, const struct layout *layout);

/* A page has changed, or n pages from p on have together. The caller's lock keeps out others who
 * do. */
void trace_change(struct gmm_trace *t, page_no p, page_word from, page_word to);
void trace_change_run(struct gmm_trace *t, page_no p, enum gmm_page_state from, page_word to);

/* Of n pages that came together this one was touched. */
void trace_first_touch(struct gmm_trace *t, page_no p);

#endif
