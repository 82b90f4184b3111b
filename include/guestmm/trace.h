/* Traces of a space: which pages were touched, came and went.
 *
 * A trace is a bounded buffer in memory between a space, which puts records in while it serves
 * faults and never waits, and whoever takes them out and writes them somewhere. Where nobody takes
 * them out in time records are lost, and counted. trace_format.h has the records and a file format
 * that `guestmm replay` reads.
 */
#ifndef GUESTMM_TRACE_H
#define GUESTMM_TRACE_H

#include <guestmm/trace_format.h>
#include <guestmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gmm_trace;

/* A buffer of n_records records (16 bytes each; 0: 262144), for one space: see the field `trace` of
 * struct gmm_space_config. Errors: -EINVAL (more than 2^28), -ENOMEM. */
GMM_API int gmm_trace_new(uint32_t n_records, struct gmm_trace **out);

/* Takes NULL, returns NULL. The space must be gone. */
GMM_API struct gmm_trace *gmm_trace_free(struct gmm_trace *trace);

/* Takes up to n records out, oldest first; returns how many. Never waits. Where records were lost,
 * one of kind GMM_TRACE_LOST stands in their place. One thread at a time, any thread. */
GMM_API uint32_t gmm_trace_read(struct gmm_trace *trace, struct gmm_trace_record *records,
				uint32_t n);

/* How many records were lost so far. */
GMM_API uint64_t gmm_trace_lost(const struct gmm_trace *trace);

#ifdef __cplusplus
}
#endif
#endif
