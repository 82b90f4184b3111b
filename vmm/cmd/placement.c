/* Which CPU the guest runs on.
 *
 * A lone vCPU waits while its fault is served, so the worker that serves it can have the same
 * CPU: switching threads there costs a fraction of waking a sleeping CPU. The scheduler does not
 * know that and keeps them apart; so both are pinned together. Once a second the pair moves if
 * what others do on its CPU exceeds all that another CPU does by a fifth of a second. With
 * several vCPUs, and where only one CPU may be used, the scheduler decides.
 */
#include "vmm/cmd/placement.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/kvm/vcpu.h"
#include "vmm/say.h"

#define WORTH_MOVING_NS UINT64_C(200000000)

static uint64_t own_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* How long each CPU has been busy since boot: user, nice, system, irq, softirq, steal. */
static bool read_busy(uint64_t busy[CPU_SETSIZE])
{
	FILE *f = fopen("/proc/stat", "re");
	const uint64_t tick_ns = 1000000000 / (uint64_t)sysconf(_SC_CLK_TCK);
	unsigned long long t[8];
	unsigned cpu;
	char line[512];

	if (!f)
		return false;
	memset(busy, 0, CPU_SETSIZE * sizeof(busy[0]));
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "cpu%u %llu %llu %llu %llu %llu %llu %llu %llu", &cpu, &t[0],
			   &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]) == 9 &&
		    cpu < CPU_SETSIZE)
			busy[cpu] = (t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) * tick_ns;
	fclose(f);
	return true;
}

static void pin(struct placement *p, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (gmm_worker_set_cpu(p->worker, cpu) == 0 &&
	    pthread_setaffinity_np(p->vm->vcpus[0].thread, sizeof(set), &set) == 0)
		p->cpu = cpu;
}

void placement_start(struct placement *p, struct vm *vm, struct gmm_worker *worker, int where)
{
	const int here = sched_getcpu();

	*p = (struct placement){.vm = vm, .worker = worker, .where = where, .cpu = -1};
	if (where == PLACEMENT_OFF || sched_getaffinity(0, sizeof(p->allowed), &p->allowed))
		return;
	if (where >= 0) {
		pin(p, where);
		if (p->cpu < 0)
			say("--pin: CPU %d cannot be had; the scheduler decides.", where);
	} else if (vm->n_vcpus == 1 && CPU_COUNT(&p->allowed) > 1 && here >= 0 &&
		   read_busy(p->busy))
		pin(p, here);
	p->own = own_ns();
}

void placement_tick(struct placement *p)
{
	uint64_t busy[CPU_SETSIZE], own = own_ns(), here, least = UINT64_MAX;
	int best = -1;

	if (p->where != PLACEMENT_AUTO || p->cpu < 0 || !read_busy(busy))
		return;
	here = busy[p->cpu] - p->busy[p->cpu];
	here -= here < own - p->own ? here : own - p->own;
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (i == p->cpu || !CPU_ISSET((unsigned)i, &p->allowed) ||
		    busy[i] - p->busy[i] >= least)
			continue;
		least = busy[i] - p->busy[i];
		best = i;
	}
	memcpy(p->busy, busy, sizeof(busy));
	p->own = own;
	if (best >= 0 && here > WORTH_MOVING_NS && here - WORTH_MOVING_NS > least)
		pin(p, best);
}
