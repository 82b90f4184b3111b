/* Workers: threads that dispatch, where they run, how they end. */
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>

#include "fault/vm.h"

static struct vm *vm_without_worker(void)
{
	struct vm *vm = vm_new(GMM_ENGINE_BEST, NULL, 16, 4, 32);

	vm->worker = gmm_worker_free(vm->worker);
	ck_assert_ptr_null(vm->worker);
	return vm;
}

static void *touch_all(void *arg)
{
	struct vm *vm = arg;

	for (uint64_t p = 0; p < vm->n_pages; p++)
		*vm_word(vm, p) = p + 1;
	for (uint64_t p = 0; p < vm->n_pages; p++)
		ck_assert_uint_eq(*vm_word(vm, p), p + 1);
	return NULL;
}

static unsigned n_threads(void)
{
	DIR *d = opendir("/proc/self/task");
	unsigned n = 0;

	ck_assert_ptr_nonnull(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

START_TEST(wrong_configurations_are_refused)
{
	struct vm *vm = vm_without_worker();
	struct gmm_worker_config config = {.size = sizeof(config), .cpu = -1};
	struct gmm_worker *w = NULL;
	const unsigned before = n_threads();

	ck_assert_int_eq(gmm_worker_new(&config, &w), -EINVAL);
	config.space = vm->space;
	config.size = 4;
	ck_assert_int_eq(gmm_worker_new(&config, &w), -EINVAL);
	config.size = sizeof(config);
	config.cpu = 1000000;
	ck_assert_int_eq(gmm_worker_new(&config, &w), -EINVAL);
	config.cpu = CPU_SETSIZE - 1; /* a number, but no machine of today has it */
	ck_assert_int_eq(gmm_worker_new(&config, &w), -EINVAL);
	ck_assert_ptr_null(w);
	ck_assert_ptr_null(gmm_worker_free(NULL));
	ck_assert_uint_eq(n_threads(), before);
	vm_free(vm, true);
}
END_TEST

/* One worker goes, another comes: who faults in between waits for it. */
START_TEST(a_fault_waits_for_the_next_worker)
{
	struct vm *vm = vm_without_worker();
	struct gmm_worker_config config = {.size = sizeof(config), .cpu = -1, .space = vm->space};
	pthread_t guest;

	pthread_create(&guest, NULL, touch_all, vm);
	sleep_ms(30);
	ck_assert_uint_eq(vm_stats(vm).faults.demand_zero, 0);
	ck_assert_int_eq(gmm_worker_new(&config, &vm->worker), 0);
	sleep_ms(5);
	vm->worker = gmm_worker_free(vm->worker);
	ck_assert_int_eq(gmm_worker_new(&config, &vm->worker), 0);
	pthread_join(guest, NULL);
	vm_free(vm, true);
}
END_TEST

START_TEST(several_workers_may_serve_a_space)
{
	struct vm *vm = vm_new(GMM_ENGINE_BEST, NULL, 16, 4, 32);
	struct gmm_worker_config config = {
		.size = sizeof(config), .cpu = -1, .space = vm->space, .spin_us = 50};
	struct gmm_worker *more[3];

	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(gmm_worker_new(&config, &more[i]), 0);
	touch_all(vm);
	for (unsigned i = 0; i < 3; i++)
		gmm_worker_free(more[i]);
	touch_all(vm);
	vm_free(vm, true);
}
END_TEST

START_TEST(a_worker_runs_where_it_is_told)
{
	struct vm *vm = vm_new(GMM_ENGINE_BEST, NULL, 16, 4, 32);
	cpu_set_t may;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(may), &may), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &may))
			ck_assert_int_eq(gmm_worker_set_cpu(vm->worker, cpu), 0);
	touch_all(vm);
	ck_assert_int_eq(gmm_worker_set_cpu(vm->worker, CPU_SETSIZE), -EINVAL);
	ck_assert_int_eq(gmm_worker_set_cpu(vm->worker, CPU_SETSIZE - 1), -EINVAL);
	ck_assert_int_eq(gmm_worker_set_cpu(vm->worker, -1), 0);
	touch_all(vm);
	vm_free(vm, true);
}
END_TEST

/* With an event loop instead of a worker: the descriptor tells when there is work. */
START_TEST(a_thread_of_ones_own_will_do)
{
	struct vm *vm = vm_without_worker();
	struct pollfd p = {.fd = gmm_space_fd(vm->space), .events = POLLIN};
	pthread_t guest;
	unsigned n = 0;

	pthread_create(&guest, NULL, touch_all, vm);
	while (pthread_tryjoin_np(guest, NULL) == EBUSY) {
		n += poll(&p, 1, 100) > 0;
		while (gmm_space_dispatch(vm->space) == -EAGAIN)
			;
	}
	ck_assert_uint_gt(n, 100);
	ck_assert_uint_gt(vm_stats(vm).reclaim.written, 1000);
	vm_free(vm, true);
}
END_TEST

UNIT_MAIN("worker", wrong_configurations_are_refused, a_fault_waits_for_the_next_worker,
	  several_workers_may_serve_a_space, a_worker_runs_where_it_is_told,
	  a_thread_of_ones_own_will_do)
