/* Trace files, any bytes; what is accepted is replayed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cmd/replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void replay(const struct replay_trace *t)
{
	struct replay_result best, r;

	for (uint64_t i = 0; i < t->n_events; i++)
		if (t->pages[i] >= t->n_pages || t->events[i] > REPLAY_DISCARD)
			abort();
	if (t->n_touches == 0 || replay_optimum(t, 64, &best))
		abort();
	for (unsigned i = 0; gmm_policy_at(i); i++)
		if (replay_policy(t, gmm_policy_at(i), 64, &r) || r.refaults < best.refaults)
			abort();
}

/* Most inputs get a right header, or none would be read. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct gmm_trace_header h = {.version = GMM_TRACE_VERSION,
				     .record_bytes = sizeof(struct gmm_trace_record),
				     .sort = bytes % 2 ? GMM_TRACE_FAULTS : GMM_TRACE_REFERENCES};
	char error[200], *file = malloc(sizeof(h) + bytes);
	struct replay_trace t;
	FILE *f;

	memcpy(h.magic, GMM_TRACE_MAGIC, sizeof(h.magic));
	memcpy(file, &h, sizeof(h));
	if (bytes)
		memcpy(file + sizeof(h), data, bytes);
	if (bytes > 4 && data[0] == 'g')
		memcpy(file, data, bytes < sizeof(h) ? bytes : sizeof(h));
	f = fmemopen(file, sizeof(h) + bytes, "r");
	if (f && replay_load(f, &t, error, sizeof(error)) == 0) {
		replay(&t);
		replay_unload(&t);
	}
	if (f)
		fclose(f);
	free(file);
	return 0;
}
