/* Threads that signals get out of a fault, as a vCPU is that is paused or has an interrupt: they
 * come again, and are one thread that waits all the same.
 */
#include "vm.h"

#include <pthread.h>
#include <signal.h>

#include "held.h"

#define N_SIGNALS 20

static struct {
	struct vm *vm;
	uint64_t page;
	atomic_uint n_heard;
	atomic_bool goes_elsewhere; /* the signal's handler touches `other` */
	uint64_t other;
	atomic_uint n_elsewhere;
} guest;

static void on_signal(int signal)
{
	(void)signal;
	guest.n_heard++;
	if (guest.goes_elsewhere) {
		(void)*vm_word(guest.vm, guest.other);
		guest.n_elsewhere++;
	}
}

static void *touch(void *arg)
{
	(void)arg;
	return (void *)(uintptr_t)*vm_word(guest.vm, guest.page);
}

/* Of two vCPUs one touches the page, and is interrupted again and again. */
static pthread_t touch_interrupted(struct vm *vm, uint64_t page)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_NODEFER};
	pthread_t thread;

	guest.vm = vm;
	guest.page = page;
	ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, touch, NULL), 0);
	sleep_ms(50);
	for (unsigned i = 0; i < N_SIGNALS; i++) {
		pthread_kill(thread, SIGUSR1);
		for (int ms = 0; ms < 5000 && guest.n_heard <= i; ms++)
			sleep_ms(1);
		ck_assert_uint_eq(guest.n_heard, i + 1);
		sleep_ms(5); /* it is back, or elsewhere */
	}
	return thread;
}

/* Nobody waits, by what the statistics say. */
static void nobody_waits(struct vm *vm)
{
	uint64_t before;

	sleep_ms(20);
	before = vm_stats(vm).stall_some_ns;
	sleep_ms(50);
	ck_assert_uint_eq(vm_stats(vm).stall_some_ns, before);
}

/* A space of two vCPUs. */
static struct vm *vm_of_two(enum gmm_engine engine, uint64_t limit_mib, struct gmm_store *store)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	vm->n_vcpus = 2;
	vm_make(vm, engine, NULL, 16, limit_mib, store);
	return vm;
}

/* Without swap its memory is full, and what was kept ready has gone back. */
static struct vm *vm_starved(enum gmm_engine engine)
{
	struct vm *vm = vm_of_two(engine, 4, NULL);

	for (uint64_t p = 0; p < PAGES(3); p++)
		*vm_word(vm, p) = p + 1;
	ck_assert_int_eq(gmm_pool_set_limit(vm->pool, 2 * MIB), 0);
	for (int ms = 0; ms < 5000 && vm_stats(vm).resident_bytes > 3 * MIB + MIB / 8; ms++)
		sleep_ms(1);
	return vm;
}

START_TEST(one_thread_waits_for_a_frame_once)
{
	struct vm *vm = vm_starved(engines[_i]);
	pthread_t thread = touch_interrupted(vm, PAGES(8));

	ck_assert_uint_gt(vm_stats(vm).stall_some_ns, 0);
	ck_assert_uint_eq(vm_stats(vm).stall_full_ns, 0);
	ck_assert_int_eq(gmm_pool_set_limit(vm->pool, 8 * MIB), 0);
	pthread_join(thread, NULL);
	nobody_waits(vm);
	vm_free(vm, true);
}
END_TEST

/* From one wait into another: the first is none any more. */
START_TEST(a_thread_that_goes_elsewhere_waits_there)
{
	struct vm *vm = vm_starved(engines[_i]);
	pthread_t thread;

	guest.goes_elsewhere = true;
	guest.other = PAGES(12);
	thread = touch_interrupted(vm, PAGES(8));
	ck_assert_uint_eq(vm_stats(vm).stall_full_ns, 0);
	guest.goes_elsewhere = false;
	ck_assert_int_eq(gmm_pool_set_limit(vm->pool, 8 * MIB), 0);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(guest.n_elsewhere, N_SIGNALS);
	nobody_waits(vm);
	vm_free(vm, true);
}
END_TEST

START_TEST(one_thread_waits_for_a_read_once)
{
	struct held *held = held_new(32 * MIB);
	struct vm *vm = vm_of_two(engines[_i], 16, &held->base);
	pthread_t thread;
	void *got;

	for (uint64_t p = 0; p < PAGES(2); p++)
		*vm_word(vm, p) = p + 1;
	vm_evict_all(vm);
	held->holds = true;
	thread = touch_interrupted(vm, 100);
	ck_assert_int_eq(vm_state(vm, 100), GMM_PAGE_FILLING);
	ck_assert_uint_gt(vm_stats(vm).stall_some_ns, 0);
	ck_assert_uint_eq(vm_stats(vm).stall_full_ns, 0);
	held_let_go(held);
	pthread_join(thread, &got);
	ck_assert_uint_eq((uintptr_t)got, 101);
	nobody_waits(vm);
	vm_free(vm, true);
}
END_TEST

UNIT_MAIN_LOOP("interrupted", N_ENGINES, 60, one_thread_waits_for_a_frame_once,
	       a_thread_that_goes_elsewhere_waits_there, one_thread_waits_for_a_read_once)
