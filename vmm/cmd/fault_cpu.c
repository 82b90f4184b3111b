/* Where faults are served fastest: see fault_cpu.h.
 *
 * What is measured is what a vCPU will wait for: the kernel's message, the worker's waking, its
 * work, and the way back. A virtual machine adds its exit to each of them alike.
 */
#include "vmm/cmd/fault_cpu.h"

#include <errno.h>
#include <guestmm/guestmm.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#define MEASURED_FAULTS 15u
#define WARM_UP_FAULTS	3u
#define PAGES_APART	7u /* and backwards: nothing comes along */
#define ALL_FAULTS	(FAULT_CPU_N_KINDS * (MEASURED_FAULTS + WARM_UP_FAULTS))
#define SPACE_BYTES	((uint64_t)(ALL_FAULTS + 1) * PAGES_APART * GMM_PAGE_BYTES)
#define ENOUGH_NS	UINT64_C(3000000) /* for one kind */

const char *const fault_cpu_names[FAULT_CPU_N_KINDS] = {"same", "other", "spin"};

struct scratch {
	struct gmm_pool *pool;
	struct gmm_space *space;
	volatile char *mem;
	uint64_t next; /* page to be touched, downwards */
};

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t touch_one(struct scratch *s)
{
	const uint64_t begun = now();

	s->next -= PAGES_APART;
	s->mem[s->next * GMM_PAGE_BYTES] = 1;
	return now() - begun;
}

static int by_size(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int measure_kind(struct scratch *s, enum fault_cpu_kind kind, int here, int other,
			uint64_t *ns)
{
	const struct gmm_worker_config config = {
		.size = sizeof(config),
		.space = s->space,
		.cpu = kind == FAULT_CPU_SAME ? here : other,
		.spin_us = kind == FAULT_CPU_SPIN ? UINT32_MAX : 0,
	};
	uint64_t all[MEASURED_FAULTS], until;
	struct gmm_worker *worker;
	unsigned n = 0;
	int rc = gmm_worker_new(&config, &worker);

	if (rc)
		return rc;
	for (unsigned i = 0; i < WARM_UP_FAULTS; i++)
		touch_one(s);
	until = now() + ENOUGH_NS;
	while (n < MEASURED_FAULTS && (n == 0 || now() < until))
		all[n++] = touch_one(s);
	gmm_worker_free(worker);
	qsort(all, n, sizeof(all[0]), by_size);
	*ns = all[n / 2];
	return 0;
}

static int scratch_new(struct scratch *s)
{
	const struct gmm_pool_config pool = {
		.size = sizeof(pool),
		.limit_bytes = SPACE_BYTES > GMM_POOL_MIN_BYTES ? SPACE_BYTES : GMM_POOL_MIN_BYTES};
	struct gmm_space_config space = {.size = sizeof(space), .huge = GMM_HUGE_NEVER};
	void *mem;
	int rc = gmm_pool_new(&pool, &s->pool);

	space.pool = s->pool;
	if (!rc)
		rc = gmm_space_new(&space, &s->space);
	if (!rc)
		rc = gmm_space_add_ram(s->space, (gmm_gpa){0}, SPACE_BYTES, &mem);
	if (rc)
		return rc;
	s->mem = mem;
	s->next = SPACE_BYTES / GMM_PAGE_BYTES - 1;
	return 0;
}

/* Another CPU that this thread may have; -1: there is none. */
static int find_other(const cpu_set_t *allowed, int here)
{
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (i != here && CPU_ISSET((unsigned)i, allowed))
			return i;
	return -1;
}

static int measure_all(struct scratch *s, int here, int other, struct fault_cpu *out)
{
	int rc = scratch_new(s);

	for (unsigned kind = 0; kind < FAULT_CPU_N_KINDS && !rc; kind++)
		rc = measure_kind(s, (enum fault_cpu_kind)kind, here, other, &out->ns[kind]);
	gmm_space_free(s->space);
	gmm_pool_free(s->pool);
	return rc;
}

int fault_cpu_measure(struct fault_cpu *out)
{
	struct scratch scratch = {.next = 0};
	const int here = sched_getcpu();
	cpu_set_t allowed, only;
	int other, rc;

	*out = (struct fault_cpu){.ns = {0}};
	rc = pthread_getaffinity_np(pthread_self(), sizeof(allowed), &allowed);
	if (rc || here < 0)
		return rc ? -rc : -ENOSYS;
	other = find_other(&allowed, here);
	if (other < 0)
		return -ENODEV;
	CPU_ZERO(&only);
	CPU_SET((unsigned)here, &only);
	rc = pthread_setaffinity_np(pthread_self(), sizeof(only), &only);
	if (rc)
		return -rc;
	rc = measure_all(&scratch, here, other, out);
	pthread_setaffinity_np(pthread_self(), sizeof(allowed), &allowed);
	return rc;
}
