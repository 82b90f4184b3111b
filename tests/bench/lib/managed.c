/* The library, embedded: see managed.h. */
#include "managed.h"

#include <string.h>
#include <time.h>

#define SPIN_US	    1000000u
#define NAP_NS	    100000
#define PATIENCE_NS UINT64_C(120000000000)

void managed_new(struct managed *m, uint64_t bytes, uint64_t limit_bytes, struct gmm_store *store,
		 const struct placement *where)
{
	struct gmm_pool_config pool = {.size = sizeof(pool), .limit_bytes = limit_bytes};
	struct gmm_space_config space = {.size = sizeof(space), .store = store};
	struct gmm_worker_config worker = {.size = sizeof(worker),
					   .cpu = where->handler,
					   .spin_us = where->spins ? SPIN_US : 0};
	int ret = gmm_pool_new(&pool, &m->pool);

	if (ret)
		bench_die("gmm_pool_new: %s", strerror(-ret));
	space.pool = m->pool;
	ret = gmm_space_new(&space, &m->space);
	if (ret)
		bench_unavailable("gmm_space_new: %s", strerror(-ret));
	ret = gmm_space_add_ram(m->space, (gmm_gpa){BARE_DATA_GPA}, bytes, &m->data);
	if (ret)
		bench_die("gmm_space_add_ram: %s", strerror(-ret));
	worker.space = m->space;
	ret = gmm_worker_new(&worker, &m->worker);
	if (ret)
		bench_die("gmm_worker_new: %s", strerror(-ret));
}

void managed_detach(struct managed *m)
{
	gmm_space_detach(m->space);
}

void managed_free(struct managed *m)
{
	m->worker = gmm_worker_free(m->worker);
	m->space = gmm_space_free(m->space);
	m->pool = gmm_pool_free(m->pool);
}

void managed_mark(struct managed *m)
{
	m->before.size = sizeof(m->before);
	gmm_space_stats(m->space, &m->before);
}

void managed_count(struct managed *m, struct bench_sample *out)
{
	const struct gmm_stats *a = &m->before;
	struct gmm_stats b = {.size = sizeof(b)};

	gmm_space_stats(m->space, &b);
	bench_count(out, "demand_zero", b.faults.demand_zero - a->faults.demand_zero);
	bench_count(out, "swap_in", b.faults.swap_in - a->faults.swap_in);
	bench_count(out, "rescue", b.faults.rescue - a->faults.rescue);
	bench_count(out, "prefetched", b.faults.prefetched - a->faults.prefetched);
	bench_count(out, "evicted", b.reclaim.evicted - a->reclaim.evicted);
	bench_count(out, "store_read_bytes", b.io.read_bytes - a->io.read_bytes);
	bench_count(out, "store_written_bytes", b.io.written_bytes - a->io.written_bytes);
}

struct gmm_store *managed_store(const char *spec, uint64_t bytes)
{
	char error[256] = "";
	struct gmm_store *store;

	if (gmm_store_parse(spec, bytes, &store, error, sizeof(error)))
		bench_unavailable("%s", error);
	return store;
}

void managed_fill(struct bare_vm *vm, uint64_t bytes, uint64_t n_noise)
{
	struct guest_args args = {.n = bytes / BARE_PAGE, .n_noise = n_noise};

	bare_vm_run(vm, 0, guest_fill, &args);
}

void managed_wait(struct managed *m, bool (*is_so)(struct managed *, uint64_t), uint64_t arg)
{
	const uint64_t began = bench_now_ns();

	while (!is_so(m, arg)) {
		nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
		if (bench_now_ns() - began > PATIENCE_NS)
			bench_die("what should have happened did not in two minutes");
	}
}

bool managed_is_swapped(struct managed *m, uint64_t bytes)
{
	struct gmm_stats stats = {.size = sizeof(stats)};

	gmm_space_stats(m->space, &stats);
	return stats.swapped_bytes >= bytes;
}

void managed_swap_out(struct managed *m, uint64_t bytes)
{
	int ret = gmm_space_reclaim(m->space, bytes / BARE_PAGE);

	if (ret)
		bench_die("gmm_space_reclaim: %s", strerror(-ret));
	managed_wait(m, managed_is_swapped, bytes);
}
