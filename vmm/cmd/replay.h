/* What policies would have done with a trace: the parts of `guestmm replay`. */
#ifndef VMM_CMD_REPLAY_H
#define VMM_CMD_REPLAY_H

#include <guestmm/policy.h>
#include <guestmm/trace_format.h>
#include <stdio.h>

enum replay_event { REPLAY_READ, REPLAY_WRITE, REPLAY_DISCARD };

/* A trace, made dense: pages are numbered from 0 in the order of their frame numbers. */
struct replay_trace {
	enum gmm_trace_sort sort;
	uint64_t limit_bytes; /* 0: the trace does not say */
	uint64_t n_events, n_touches, n_lost;
	uint64_t duration_ns; /* of fault traces */
	uint64_t n_pages;
	uint32_t *pages; /* by event */
	uint8_t *events; /* enum replay_event, by event */
};

struct replay_result {
	uint64_t first_touches;
	uint64_t refaults; /* pages that came back from the store */
	uint64_t rescues;  /* that came back while they waited to leave */
	uint64_t evictions;
	uint64_t zero, clean, written; /* of pages that left for good */
};

/* Reads a trace's file. Returns 0, -ENOMEM, -EIO, or -EINVAL (no trace, or a broken one), with a
 * message for people in error. A record cut short at the end is left out. */
int replay_load(FILE *from, struct replay_trace *out, char *error, size_t error_bytes);
void replay_unload(struct replay_trace *trace);

/* A space with a limit of so many pages under a policy, without its memory: 0, -ENOMEM, -EINVAL. */
int replay_policy(const struct replay_trace *trace, const struct gmm_policy_ops *ops,
		  uint64_t limit_pages, struct replay_result *out);

/* Belady's MIN: who knows the future evicts what is needed last. All of the limit is its. */
int replay_optimum(const struct replay_trace *trace, uint64_t limit_pages,
		   struct replay_result *out);

#endif
