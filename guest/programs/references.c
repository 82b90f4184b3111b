/* Reference traces: see references.h. */
#include "references.h"

#include <errno.h>
#include <guestmm/trace_format.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "program.h"

static struct {
	struct gmm_trace_record records[256];
	unsigned n;
	uint64_t n_before;
	bool failed;
} trace;

static void put(const void *data, size_t bytes)
{
	const char *from = data;
	ssize_t n;

	while (bytes && !trace.failed) {
		n = write(1, from, bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			eprintf("references: cannot write them: %s\n", strerror(errno));
			trace.failed = true;
			return;
		}
		from += n;
		bytes -= (size_t)n;
	}
}

void references_begin(void)
{
	const struct gmm_trace_header header = {
		.magic = {'g', 'm', 'm', 't', 'r', 'a', 'c', 'e'},
		.version = GMM_TRACE_VERSION,
		.record_bytes = sizeof(struct gmm_trace_record),
		.sort = GMM_TRACE_REFERENCES,
	};

	put(&header, sizeof(header));
}

static void flush(void)
{
	put(trace.records, trace.n * sizeof(trace.records[0]));
	trace.n = 0;
}

void references_add(uint64_t page, bool is_write)
{
	trace.records[trace.n++] =
		gmm_trace_make(trace.n_before++, page, is_write ? GMM_TRACE_WRITE : GMM_TRACE_READ);
	if (trace.n == sizeof(trace.records) / sizeof(trace.records[0]))
		flush();
}

int references_end(void)
{
	flush();
	return trace.failed ? EXIT_FAILED : 0;
}
