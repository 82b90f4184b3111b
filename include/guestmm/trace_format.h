/* The format of traces: what a guest touched and what became of its pages, one record each.
 *
 * A file is one header and then records, in the order in which they happened, in the processor's
 * (little-endian) order of bytes. There are two sorts. A fault trace is what a space saw of a
 * guest: touches of absent pages, and pages that left. Touches of resident pages are not in it, for
 * nobody tells of them. A reference trace is what a program touched, all of it, without guest and
 * host. Freestanding: guest programs write reference traces.
 */
#ifndef GUESTMM_TRACE_FORMAT_H
#define GUESTMM_TRACE_FORMAT_H

#include <stdint.h>

#define GMM_TRACE_MAGIC	  "gmmtrace" /* the file's first eight bytes */
#define GMM_TRACE_VERSION 1u

enum gmm_trace_sort { GMM_TRACE_FAULTS = 1, GMM_TRACE_REFERENCES };

struct gmm_trace_header {
	char magic[8];
	uint32_t version;
	uint32_t record_bytes; /* sizeof(struct gmm_trace_record) */
	uint32_t sort;	       /* enum gmm_trace_sort */
	uint32_t reserved;     /* 0 */
	uint64_t limit_bytes;  /* in force when the trace began; 0: none */
	uint64_t reserved2[4]; /* 0 */
};

enum gmm_trace_kind {
	/* Fault traces. Touches of absent pages: */
	GMM_TRACE_FIRST_TOUCH = 1, /* there was nothing: zeros */
	GMM_TRACE_SWAP_IN,	   /* came back from the store, or from a window's file */
	GMM_TRACE_RESCUE,	   /* was on its way out */
	/* and what else happened to pages: */
	GMM_TRACE_PREFETCH,   /* content brought back without a touch */
	GMM_TRACE_FILL_AHEAD, /* zeros brought in without a touch */
	GMM_TRACE_EVICT,      /* left the guest */
	GMM_TRACE_DISCARD,    /* content gone: given up by the guest, or all zero when it left */
	GMM_TRACE_LOST,	      /* so many records, instead of a frame number, are missing here */
	/* Reference traces. */
	GMM_TRACE_READ,
	GMM_TRACE_WRITE,
};

struct gmm_trace_record {
	uint64_t time_ns; /* CLOCK_MONOTONIC; of references: how many came before */
	uint64_t what;	  /* guest frame number << 8 | enum gmm_trace_kind */
};

static inline struct gmm_trace_record gmm_trace_make(uint64_t time_ns, uint64_t gfn,
						     enum gmm_trace_kind kind)
{
	struct gmm_trace_record r = {time_ns, gfn << 8 | (uint64_t)kind};

	return r;
}

static inline uint64_t gmm_trace_gfn(struct gmm_trace_record r)
{
	return r.what >> 8;
}

static inline unsigned gmm_trace_kind(struct gmm_trace_record r)
{
	return (unsigned)(r.what & 255);
}

#endif
