/* Traces from files. Nothing in them is trusted. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"

#define READ_RECORDS 4096u
#define NO_EVENT     255u

struct load {
	struct replay_trace *trace;
	uint64_t *gfns; /* by event, until they are numbered */
	uint64_t capacity, n_records, first_ns, last_ns;
	char *error;
	size_t error_bytes;
};

static int load_header(FILE *from, struct load *l)
{
	struct gmm_trace_header h;

	if (fread(&h, sizeof(h), 1, from) != 1 ||
	    memcmp(h.magic, GMM_TRACE_MAGIC, sizeof(h.magic)) != 0) {
		snprintf(l->error, l->error_bytes, "it is no trace (it does not begin with '%s')",
			 GMM_TRACE_MAGIC);
		return -EINVAL;
	}
	if (h.version != GMM_TRACE_VERSION || h.record_bytes != sizeof(struct gmm_trace_record) ||
	    (h.sort != GMM_TRACE_FAULTS && h.sort != GMM_TRACE_REFERENCES)) {
		snprintf(l->error, l->error_bytes,
			 "it is a trace of another kind (version %" PRIu32 ", records of %" PRIu32
			 " bytes, sort %" PRIu32 ")",
			 h.version, h.record_bytes, h.sort);
		return -EINVAL;
	}
	l->trace->sort = (enum gmm_trace_sort)h.sort;
	l->trace->limit_bytes = h.limit_bytes;
	return 0;
}

/* What a record is to a policy. A fault trace does not tell reads from writes: all count as writes.
 * What was brought back without a touch counts as touched, for it would not be seen later. */
static int event_of(struct gmm_trace_record r, enum gmm_trace_sort sort)
{
	const bool is_faults = sort == GMM_TRACE_FAULTS;

	switch (gmm_trace_kind(r)) {
	case GMM_TRACE_FIRST_TOUCH:
	case GMM_TRACE_SWAP_IN:
	case GMM_TRACE_RESCUE:
	case GMM_TRACE_PREFETCH:
		return is_faults ? REPLAY_WRITE : -1;
	case GMM_TRACE_FILL_AHEAD:
	case GMM_TRACE_EVICT:
	case GMM_TRACE_LOST:
		return is_faults ? (int)NO_EVENT : -1;
	case GMM_TRACE_DISCARD:
		return is_faults ? REPLAY_DISCARD : -1;
	case GMM_TRACE_READ:
		return is_faults ? -1 : REPLAY_READ;
	case GMM_TRACE_WRITE:
		return is_faults ? -1 : REPLAY_WRITE;
	default:
		return -1;
	}
}

static int grow(struct load *l)
{
	uint64_t n = l->capacity ? l->capacity * 2 : 65536;
	uint64_t *gfns = realloc(l->gfns, n * sizeof(*gfns));
	uint8_t *events;

	if (!gfns)
		return -ENOMEM;
	l->gfns = gfns;
	events = realloc(l->trace->events, n);
	if (!events)
		return -ENOMEM;
	l->trace->events = events;
	l->capacity = n;
	return 0;
}

static int load_record(struct load *l, struct gmm_trace_record r)
{
	struct replay_trace *t = l->trace;
	int event = event_of(r, t->sort);

	if (event < 0) {
		snprintf(l->error, l->error_bytes,
			 "record %" PRIu64 " is of a kind (%u) that such a trace does not have",
			 l->n_records, gmm_trace_kind(r));
		return -EINVAL;
	}
	if (l->n_records++ == 0)
		l->first_ns = r.time_ns;
	l->last_ns = r.time_ns;
	if (gmm_trace_kind(r) == GMM_TRACE_LOST)
		t->n_lost += gmm_trace_gfn(r);
	if (event == NO_EVENT)
		return 0;
	if ((!l->gfns || t->n_events == l->capacity) && grow(l))
		return -ENOMEM;
	t->n_touches += event != REPLAY_DISCARD;
	t->events[t->n_events] = (uint8_t)event;
	l->gfns[t->n_events++] = gmm_trace_gfn(r);
	return 0;
}

static int load_records(FILE *from, struct load *l)
{
	struct gmm_trace_record *records = malloc(READ_RECORDS * sizeof(*records));
	int rc = records ? 0 : -ENOMEM;
	size_t n = 1;

	while (!rc && n) {
		n = fread(records, sizeof(*records), READ_RECORDS, from);
		for (size_t i = 0; i < n && !rc; i++)
			rc = load_record(l, records[i]);
	}
	if (!rc && ferror(from)) {
		snprintf(l->error, l->error_bytes, "%s", strerror(errno));
		rc = -EIO;
	}
	free(records);
	return rc;
}

static int by_gfn(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The distinct ones of n sorted numbers; returns how many. */
static uint64_t unique(uint64_t *v, uint64_t n)
{
	uint64_t kept = 0;

	for (uint64_t i = 0; i < n; i++)
		if (kept == 0 || v[i] != v[kept - 1])
			v[kept++] = v[i];
	return kept;
}

/* Frame numbers become page numbers. */
static int number(struct load *l)
{
	struct replay_trace *t = l->trace;
	uint64_t *sorted = malloc(t->n_events * sizeof(*sorted));

	t->pages = malloc(t->n_events * sizeof(*t->pages));
	if (!l->gfns || !sorted || !t->pages) {
		free(sorted);
		return -ENOMEM;
	}
	memcpy(sorted, l->gfns, t->n_events * sizeof(*sorted));
	qsort(sorted, t->n_events, sizeof(*sorted), by_gfn);
	t->n_pages = unique(sorted, t->n_events);
	for (uint64_t i = 0; i < t->n_events; i++) {
		uint64_t *at = bsearch(&l->gfns[i], sorted, t->n_pages, sizeof(*sorted), by_gfn);

		t->pages[i] = (uint32_t)(at - sorted);
	}
	free(sorted);
	return 0;
}

int replay_load(FILE *from, struct replay_trace *out, char *error, size_t error_bytes)
{
	struct load l = {.trace = out, .error = error, .error_bytes = error_bytes};
	int rc;

	*out = (struct replay_trace){0};
	rc = load_header(from, &l);
	if (!rc)
		rc = load_records(from, &l);
	if (!rc && out->n_touches == 0) {
		snprintf(error, error_bytes, "it has no touches");
		rc = -EINVAL;
	}
	if (!rc)
		rc = number(&l);
	if (rc == -ENOMEM)
		snprintf(error, error_bytes, "%s", strerror(ENOMEM));
	if (out->sort == GMM_TRACE_FAULTS && l.last_ns > l.first_ns)
		out->duration_ns = l.last_ns - l.first_ns;
	free(l.gfns);
	if (rc)
		replay_unload(out);
	return rc;
}

void replay_unload(struct replay_trace *trace)
{
	free(trace->pages);
	free(trace->events);
	*trace = (struct replay_trace){0};
}
