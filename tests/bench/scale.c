/* Two vCPUs that fault at once, on pages of their own: row 12.
 *
 * A run measures faults a second of one vCPU, then of two in a fresh guest. What is compared is by
 * which factor the second one raises it: ours, and the bare loop's.
 */
#include <pthread.h>

#include "lib/accesses.h"
#include "lib/bare_vm.h"
#include "lib/floor_uffd.h"
#include "lib/harness.h"
#include "lib/managed.h"
#include "lib/placement.h"

#define MIB	       UINT64_C(1048576)
#define APART	       32u
#define N_WARM	       128u
#define N_FAULTS       3072u /* of each vCPU */
#define N_FAULTS_QUICK 256u

struct vcpu {
	struct bare_vm *vm;
	unsigned index;
	int cpu;
	struct accesses accesses;
	pthread_barrier_t *barrier;
	uint64_t began_ns, ended_ns; /* by its own clock: who starts it may come late itself */
};

static uint64_t vcpu_bytes(bool quick)
{
	return accesses_bytes(quick ? N_FAULTS_QUICK : N_FAULTS, N_WARM, APART);
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;

	placement_pin(v->cpu);
	bare_vm_run(v->vm, v->index, guest_by_list, &v->accesses.warm);
	pthread_barrier_wait(v->barrier); /* all are warm */
	pthread_barrier_wait(v->barrier);
	v->began_ns = bench_now_ns();
	bare_vm_run(v->vm, v->index, guest_by_list, &v->accesses.run);
	v->ended_ns = bench_now_ns();
	return NULL;
}

/* From when the first begins until the last one ends. */
static uint64_t together_ns(const struct vcpu *vcpus, unsigned n)
{
	uint64_t began = vcpus[0].began_ns, ended = vcpus[0].ended_ns;

	for (unsigned i = 1; i < n; i++) {
		began = vcpus[i].began_ns < began ? vcpus[i].began_ns : began;
		ended = vcpus[i].ended_ns > ended ? vcpus[i].ended_ns : ended;
	}
	return ended - began;
}

/* Faults a second of n vCPUs together. */
static double run_vcpus(struct bare_vm *vm, unsigned n, bool quick, struct bench_sample *out)
{
	const uint64_t n_faults = quick ? N_FAULTS_QUICK : N_FAULTS;
	struct vcpu vcpus[BARE_MAX_VCPUS];
	pthread_t threads[BARE_MAX_VCPUS];
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, n + 1);
	for (unsigned i = 0; i < n; i++) {
		/* The second vCPU has the CPU that the handler does not run on. */
		vcpus[i] = (struct vcpu){
			.vm = vm, .index = i, .cpu = placement_at(i)->handler, .barrier = &barrier};
		accesses_new(&vcpus[i].accesses, vm, BARE_DATA_GPA + i * vcpu_bytes(quick),
			     n_faults, N_WARM, APART);
		vcpus[i].accesses.warm.write = vcpus[i].accesses.run.write = 1;
		if (pthread_create(&threads[i], NULL, vcpu_main, &vcpus[i]))
			bench_die("cannot start a thread");
	}
	pthread_barrier_wait(&barrier);
	bench_begin(out);
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	bench_end(out);
	pthread_barrier_destroy(&barrier);
	return (double)(n * n_faults) / ((double)together_ns(vcpus, n) / 1e9);
}

static double rate_ours(unsigned n_vcpus, bool quick, struct bench_sample *out)
{
	const uint64_t bytes = n_vcpus * vcpu_bytes(quick);
	struct managed m;
	struct bare_vm vm;
	double rate;

	managed_new(&m, bytes, bytes + 64 * MIB, NULL, placement_at(0));
	bare_vm_new(&vm, n_vcpus, m.data, bytes);
	managed_mark(&m);
	rate = run_vcpus(&vm, n_vcpus, quick, out);
	managed_count(&m, out);
	managed_detach(&m);
	bare_vm_free(&vm);
	managed_free(&m);
	return rate;
}

static double rate_floor(unsigned n_vcpus, bool quick, struct bench_sample *out)
{
	const uint64_t bytes = n_vcpus * vcpu_bytes(quick);
	void *data = bare_data_new(bytes, false);
	struct floor_uffd f = {.where = placement_at(0)};
	struct bare_vm vm;
	double rate;

	floor_uffd_start(&f, data, bytes);
	bare_vm_new(&vm, n_vcpus, data, bytes);
	rate = run_vcpus(&vm, n_vcpus, quick, out);
	bare_vm_free(&vm);
	floor_uffd_stop(&f);
	bench_count(out, "messages", f.n_faults);
	bare_data_free(data, bytes);
	return rate;
}

static void scale(double (*rate)(unsigned, bool, struct bench_sample *), bool quick,
		  struct bench_sample *out)
{
	struct bench_sample alone = {0};
	double one = rate(1, quick, &alone), two = rate(2, quick, out);

	out->value[0] = two / one;
	out->value[1] = two;
	out->value[2] = one;
}

static void scale_ours(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	(void)row;
	scale(rate_ours, quick, out);
}

static void scale_floor(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	(void)row;
	scale(rate_floor, quick, out);
}

static const struct bench_row rows[] = {
	{.number = 12,
	 .title = "two vCPUs fault at once",
	 .against = "userfaultfd: read, UFFDIO_COPY",
	 .metrics = {{"two / one", "x", 0.9, '>'},
		     {"two vCPUs", "/s", 0, 0},
		     {"one vCPU", "/s", 0, 0}},
	 .ours = scale_ours,
	 .floor = scale_floor},
};

int main(int argc, char **argv)
{
	if (!placement_at(1))
		bench_unavailable("two vCPUs want two CPUs");
	return bench_main(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
