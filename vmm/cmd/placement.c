/* Which CPUs the guest and the worker that serves its faults run on.
 *
 * A lone vCPU waits while its fault is served, so the worker that serves it can have the same
 * CPU: switching threads there costs a fraction of waking a sleeping CPU. The scheduler does not
 * know that and keeps them apart; so both are pinned together. Once a second the pair moves if
 * what others do on its CPU exceeds all that another CPU does by a fifth of a second. Whether that
 * is faster here is measured before the guest starts. With several vCPUs, and where only one CPU
 * may be used, the scheduler decides.
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

static int pin_vcpu(const struct placement *p, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	return pthread_setaffinity_np(p->vm->vcpus[0].thread, sizeof(set), &set);
}

static void pin_both(struct placement *p, int cpu)
{
	if (gmm_worker_set_cpu(p->worker, cpu) == 0 && pin_vcpu(p, cpu) == 0)
		atomic_store(&p->cpu, cpu);
}

/* The worker beside the vCPU, unless another CPU was faster, asleep. That polling is faster still
 * is shown but not chosen: it takes a CPU from somebody. */
static enum placement_choice choose_measured(struct placement *p)
{
	if (fault_cpu_measure(&p->measured))
		return PLACEMENT_ANY;
	return p->measured.ns[FAULT_CPU_SAME] <= p->measured.ns[FAULT_CPU_OTHER] ? PLACEMENT_SAME
										 : PLACEMENT_ANY;
}

void placement_choose(struct placement *p, int pin, int faults, unsigned n_vcpus)
{
	*p = (struct placement){.pin = pin, .faults = faults, .cpu = -1};
	if (faults == PLACEMENT_FAULTS_SAME || (faults == PLACEMENT_FAULTS_AS_PIN && pin >= 0))
		p->choice = PLACEMENT_SAME;
	else if (faults == PLACEMENT_FAULTS_SPIN)
		p->choice = PLACEMENT_SPIN;
	else if (faults >= 0)
		p->choice = PLACEMENT_CPU;
	else if (pin != PLACEMENT_OFF && n_vcpus == 1)
		p->choice = choose_measured(p);
}

/* The vCPU's own CPU, where --pin names one. */
static void start_vcpu(struct placement *p)
{
	if (p->pin >= 0 && pin_vcpu(p, p->pin))
		say("--pin: CPU %d cannot be had; the scheduler decides.", p->pin);
}

static void start_shared(struct placement *p)
{
	const int here = sched_getcpu();

	if (p->pin >= 0) {
		pin_both(p, p->pin);
		if (p->cpu < 0)
			say("--pin: CPU %d cannot be had; the scheduler decides.", p->pin);
	} else if (here >= 0 && read_busy(p->busy)) {
		pin_both(p, here);
	}
}

void placement_start(struct placement *p, struct vm *vm, struct gmm_worker *worker)
{
	p->vm = vm;
	p->worker = worker;
	if (sched_getaffinity(0, sizeof(p->allowed), &p->allowed))
		return;
	switch (p->choice) {
	case PLACEMENT_SAME:
		start_shared(p);
		break;
	case PLACEMENT_CPU:
		if (gmm_worker_set_cpu(worker, p->faults))
			say("--fault-cpu: CPU %d cannot be had; the scheduler decides.", p->faults);
		else
			atomic_store(&p->cpu, p->faults);
		start_vcpu(p);
		break;
	case PLACEMENT_ANY:
	case PLACEMENT_SPIN:
		start_vcpu(p);
		break;
	}
	p->own = own_ns();
}

const char *placement_name(const struct placement *p)
{
	static const char *const names[] = {"any", "same", "spin", "cpu"};

	return names[p->choice];
}

void placement_tick(struct placement *p)
{
	uint64_t busy[CPU_SETSIZE], own = own_ns(), here, least = UINT64_MAX;
	int best = -1;

	if (p->choice != PLACEMENT_SAME || p->pin >= 0 || p->cpu < 0 || !read_busy(busy))
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
		pin_both(p, best);
}
