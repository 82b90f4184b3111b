/* What this host offers: one probe a facility, each of them harmless and never waiting. */
#ifndef VMM_CMD_PROBE_H
#define VMM_CMD_PROBE_H

#include <stdbool.h>
#include <stddef.h>

enum probe_verdict {
	PROBE_OK,
	PROBE_LESS,    /* missing; guestmm works without it, with less */
	PROBE_MISSING, /* missing; guestmm does not work without it */
};

struct probe_result {
	enum probe_verdict verdict;
	char found[160];  /* what there is, or what was found instead */
	char remedy[320]; /* what to do, "" where there is nothing to do */
};

struct probe {
	const char *name;
	void (*run)(struct probe_result *result);
};

/* The probes, in the order in which they are shown. */
extern const struct probe probes[];
extern const size_t n_probes;

/* The engines that the kernel offers: bit 0 move, bit 1 copy. 0: no userfaultfd for us. */
unsigned probe_engines(void);

#endif
