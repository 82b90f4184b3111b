/* Stalls: see stall.h. */
#include "stall.h"

#include <string.h>

/* exp(-2 s / 10, 60, 300 s), as in the kernel's EXP_10s, EXP_60s, EXP_300s. */
static const double stall_decay[3] = {0.8187307530779818, 0.9672161004820059, 0.9933555062550344};

void stall_init(struct stall *s, uint32_t n_vcpus, uint64_t now)
{
	memset(s, 0, sizeof(*s));
	s->n_vcpus = n_vcpus ? n_vcpus : 1;
	s->since_ns = s->period_ns = now;
}

static void stall_account(struct stall *s, uint64_t now)
{
	uint64_t passed = now > s->since_ns ? now - s->since_ns : 0;

	if (s->n_waiting)
		s->some_ns += passed;
	if (s->n_waiting >= s->n_vcpus)
		s->full_ns += passed;
	s->since_ns = now;
}

void stall_change(struct stall *s, uint64_t now, int32_t n)
{
	stall_account(s, now);
	if (n < 0 && s->n_waiting < (uint32_t)-n)
		s->n_waiting = 0;
	else
		s->n_waiting += (uint32_t)n;
}

static void stall_average(double *avg, double share)
{
	for (int i = 0; i < 3; i++)
		avg[i] = avg[i] * stall_decay[i] + share * (1 - stall_decay[i]);
}

void stall_update(struct stall *s, uint64_t now)
{
	uint64_t passed;

	stall_account(s, now);
	passed = now - s->period_ns;
	if (passed < STALL_PERIOD_NS)
		return;
	/* Every whole period that went by gets the same share of what was measured. */
	for (uint64_t n = passed / STALL_PERIOD_NS, i = 0; i < n && i < 1000; i++) {
		stall_average(s->some_avg, 100.0 * (double)(s->some_ns - s->period_some_ns) /
						   (double)passed);
		stall_average(s->full_avg, 100.0 * (double)(s->full_ns - s->period_full_ns) /
						   (double)passed);
	}
	s->period_ns = now;
	s->period_some_ns = s->some_ns;
	s->period_full_ns = s->full_ns;
}
