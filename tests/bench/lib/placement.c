/* Placements: see placement.h. */
#include "placement.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "harness.h"

#define N_PLACEMENTS 3u

/* The n-th CPU from the end that the process was started with; the last ones have fewer interrupts
 * than the first. -1: none. */
static int cpu_from_end(unsigned n)
{
	static cpu_set_t allowed;
	static bool is_known;

	if (!is_known && sched_getaffinity(0, sizeof(allowed), &allowed))
		bench_die("sched_getaffinity: %s", strerror(errno));
	is_known = true;
	for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--)
		if (CPU_ISSET((unsigned)cpu, &allowed) && n-- == 0)
			return cpu;
	return -1;
}

const struct placement *placement_at(unsigned i)
{
	static struct placement all[N_PLACEMENTS];
	const int last = cpu_from_end(0), other = cpu_from_end(1);

	all[0] = (struct placement){"same", last, last, false};
	all[1] = (struct placement){"other", last, other, false};
	all[2] = (struct placement){"spin", last, other, true};
	return i < (other < 0 ? 1 : N_PLACEMENTS) ? &all[i] : NULL;
}

void placement_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_die("CPU %d cannot be had: %s", cpu, strerror(errno));
}
