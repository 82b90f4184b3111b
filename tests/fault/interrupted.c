/* Threads that signals get out of a fault, as a vCPU is that is paused or has an interrupt: they
 * come again, and are one thread that waits all the same.
 */
#include "vm.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "held.h"
#include "space.h"

#define N_SIGNALS 20

static struct {
	struct vm *vm;
	uint64_t page;
	atomic_uint n_heard;
	atomic_bool goes_elsewhere; /* the signal's handler touches `other` */
	uint64_t other;
	atomic_uint n_elsewhere;
	atomic_int tid; /* of the thread that touches */
	atomic_bool is_done;
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
	uint64_t got;

	(void)arg;
	guest.tid = (int)syscall(SYS_gettid);
	got = *vm_word(guest.vm, guest.page);
	guest.is_done = true;
	return (void *)(uintptr_t)got;
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

/* Whose last waiter is served when he comes again does not pass for short of memory any more, to
 * others on its pool. */
START_TEST(nobody_waits_behind_one_that_came_again)
{
	struct vm *vm = vm_starved(engines[_i]);
	pthread_t thread;

	vm->worker = gmm_worker_free(vm->worker); /* so that it does not come in between */
	guest.vm = vm;
	guest.page = PAGES(8);
	sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal}, NULL);
	pthread_create(&thread, NULL, touch, NULL);
	while (vm->space->n_waiting == 0)
		gmm_space_dispatch(vm->space);
	ck_assert_uint_eq(vm->pool->n_starving, 1);
	pthread_kill(thread, SIGUSR1);
	sleep_ms(50);
	ck_assert_int_eq(gmm_pool_set_limit(vm->pool, 8 * MIB), 0);
	for (int ms = 0; ms < 5000 && (vm->space->n_waiting || !guest.is_done); ms++) {
		gmm_space_dispatch(vm->space);
		sleep_ms(1);
	}
	ck_assert_uint_eq(vm->pool->n_starving, 0);
	pthread_join(thread, NULL);
	vm_free(vm, true);
}
END_TEST

/* What two PID namespaces tell each other, on a page that both have. */
struct both {
	atomic_int tid; /* of the thread that waits inside */
	void *elsewhere;
	atomic_bool has_asked, is_served;
};

/* A starved guest, a thread of which waits. */
static void wait_inside(struct both *both, enum gmm_engine engine)
{
	struct vm *vm = vm_starved(engine);
	pthread_t thread;

	guest.vm = vm;
	guest.page = PAGES(8);
	pthread_create(&thread, NULL, touch, NULL);
	sleep_ms(100);
	both->elsewhere = (void *)(uintptr_t)vm_word(vm, PAGES(12));
	both->tid = guest.tid;
	for (int ms = 0; ms < 10000 && !both->has_asked; ms++)
		sleep_ms(1);
	gmm_pool_set_limit(vm->pool, 8 * MIB);
	for (int ms = 0; ms < 5000 && !guest.is_done; ms++)
		sleep_ms(1);
	both->is_served = guest.is_done;
	_exit(0);
}

/* Another task, of that number in its own namespace, touches another page of the guest. */
static pid_t ask_outside(const struct both *both, pid_t guest_pid)
{
	pid_t number[1] = {both->tid};
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = (uintptr_t)number, .set_tid_size = 1};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	char word[8];
	const struct iovec to = {word, sizeof(word)}, from = {both->elsewhere, sizeof(word)};

	if (pid == 0)
		_exit(process_vm_readv(guest_pid, &to, 1, &from, 1, 0) != sizeof(word));
	return pid;
}

/* The kernel tells a thread's number in its own PID namespace. */
START_TEST(two_threads_may_have_one_number)
{
	struct both *both =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int here = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	pid_t inside, outside;
	int status;

	ck_assert_ptr_ne(both, MAP_FAILED);
	if (access("/proc/sys/kernel/ns_last_pid", W_OK) || unshare(CLONE_NEWPID))
		UNIT_SKIP("no PID namespace whose numbers may be chosen: %s", strerror(errno));
	inside = fork();
	if (inside == 0) {
		int last = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);

		if (dprintf(last, "%d", 30000 + _i) < 0)
			_exit(1);
		wait_inside(both, engines[_i]);
	}
	ck_assert_int_eq(setns(here, CLONE_NEWPID), 0);
	for (int ms = 0; ms < 10000 && !both->tid; ms++) {
		if (waitpid(inside, &status, WNOHANG) == inside)
			exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1); /* 77: no such engine */
		sleep_ms(1);
	}
	ck_assert_int_gt(both->tid, 30000);
	outside = ask_outside(both, inside);
	ck_assert_int_eq(outside, both->tid);
	sleep_ms(200);
	both->has_asked = true;
	waitpid(inside, NULL, 0);
	waitpid(outside, NULL, 0);
	ck_assert(both->is_served);
}
END_TEST

/* Reads and first touches are timed alike, in whatever order they come. */
START_TEST(one_fault_in_sixteen_is_timed)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	const struct counters *c;
	uint64_t n_served, n_timed;

	vm_make(vm, engines[_i], NULL, 16, 32, vm_store(32 * MIB, NULL, NULL));
	c = &vm->space->counters;
	for (uint64_t p = 0; p < PAGES(8); p++)
		*vm_word(vm, p) = p + 1;
	for (uint64_t first = 0; first < 2; first++) {
		vm_evict_all(vm);
		*vm_word(vm, PAGES(10 + first)) = 1; /* the count is even, then odd, or so */
		n_served = c->n_served;
		n_timed = c->latency.n_all;
		for (uint64_t i = 0; i < 800; i++)
			ck_assert_uint_ne(*vm_word(vm, scattered(i, PAGES(8))), 0);
		n_served = c->n_served - n_served;
		n_timed = c->latency.n_all - n_timed;
		ck_assert_uint_gt(n_served, 400);
		ck_assert_uint_ge(n_timed, n_served / 16 - 1);
		ck_assert_uint_le(n_timed, n_served / 16 + 1);
	}
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
	       a_thread_that_goes_elsewhere_waits_there, nobody_waits_behind_one_that_came_again,
	       two_threads_may_have_one_number, one_thread_waits_for_a_read_once,
	       one_fault_in_sixteen_is_timed)
