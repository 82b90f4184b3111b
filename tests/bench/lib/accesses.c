/* Timed accesses: see accesses.h. */
#include "accesses.h"

void accesses_new(struct accesses *a, struct bare_vm *vm, uint64_t base, uint64_t n,
		  uint64_t n_warm, unsigned apart)
{
	const uint64_t n_all = n + n_warm;
	uint64_t list_gva, log_gva, seed = base | 1;
	uint32_t *list = bare_vm_alloc(vm, n_all * sizeof(*list), &list_gva);

	a->n = n;
	a->log = bare_vm_alloc(vm, n_all * sizeof(*list), &log_gva);
	for (uint64_t i = 0; i < n_all; i++)
		list[i] = (uint32_t)(i * apart + bench_random(&seed) % (apart / 2));
	bench_shuffle(list, n_all, seed);
	a->run = (struct guest_args){.base = base, .n = n, .list = list_gva, .log = log_gva};
	a->warm = a->run;
	a->warm.n = n_warm;
	a->warm.list += n * sizeof(*list);
	a->warm.log += n * sizeof(*list);
}

void accesses_result(struct accesses *a, struct bench_sample *out)
{
	out->value[1] = bench_ticks_ns(bench_mean(a->log, a->n));
	out->value[0] = bench_ticks_ns(bench_percentile(a->log, a->n, 0.5));
	out->value[2] = bench_ticks_ns(bench_percentile(a->log, a->n, 0.99));
}
