/* Watching what the guest touches: it is right about it, it costs less than it may, and nothing of
 * the guest's gets lost by it. */
#include <math.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include "sampling.h"
#include "space.h"
#include "vm.h"

static uint64_t dice = 88172645463325252u;

static uint64_t roll(void)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return dice;
}

static struct vm *watched_vm(enum gmm_engine engine, uint64_t mem_mib, uint64_t limit_mib)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	vm->working_set = GMM_WORKING_SET_ON;
	vm_make(vm, engine, NULL, mem_mib, limit_mib, vm_store(2 * mem_mib * MIB, vm_fail, vm));
	return vm;
}

static uint64_t ns_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void touch_for(struct vm *vm, uint64_t first, uint64_t n, double seconds)
{
	uint64_t until = ns_of(CLOCK_MONOTONIC) + (uint64_t)(seconds * 1e9);

	while (ns_of(CLOCK_MONOTONIC) < until)
		for (uint64_t p = first; p < first + n; p++)
			++*vm_word(vm, p);
}

/* CPU time of everybody but this thread. */
static uint64_t others_ns(void)
{
	return ns_of(CLOCK_PROCESS_CPUTIME_ID) - ns_of(CLOCK_THREAD_CPUTIME_ID);
}

/* A touch costs what it costs on this host: there are as many as the budget is good for. */
static bool looks_often(const struct gmm_stats *s, uint64_t n, double seconds)
{
	return s->working_set.touches > n ||
	       (s->working_set.touches && (double)s->working_set.spent_ns > 0.003e9 * seconds);
}

/* What is told is right where enough was seen. On a slow host a touch is dear, and the budget good
 * for a few a minute: there this pays more. */
static void watch_harder(struct vm *vm)
{
	struct ws_pace *pace = &vm->space->ws.pace;

	pthread_mutex_lock(&vm->space->lock);
	pace->permille = pace->permille < 50 ? pace->permille * 4 : 200;
	pace->burst_ns = pace->permille * 1000000;
	pthread_mutex_unlock(&vm->space->lock);
	printf("watching for up to %lu permille of a CPU\n", pace->permille);
}

static void print_curve(const struct gmm_stats *s)
{
	printf("engine %s: %lu MiB in use; %lu pages sampled, one of %lu; %lu touches, %lu us\n",
	       s->engine, s->working_set.bytes >> 20, s->working_set.sampled,
	       s->working_set.pages_a_sample, s->working_set.touches,
	       s->working_set.spent_ns / 1000);
	for (unsigned i = 0; i < s->working_set.n_points; i++)
		printf("  with %lu MiB %lu refaults/s\n", s->working_set.curve[i].limit_bytes >> 20,
		       s->working_set.curve[i].refaults_per_s);
}

/* Where whole blocks are not seen into, those that were filled ahead of the guest pass for used. */
static uint64_t most_in_use(struct vm *vm)
{
	struct gmm_space *s = vm->space;
	bool is_blind;

	pthread_mutex_lock(&s->lock);
	is_blind = s->huge.n_mapped && !huge_may_lay_aside(s);
	pthread_mutex_unlock(&s->lock);
	return (is_blind ? 76 : 68) * MIB;
}

static void touches_64_of_256_mib(struct vm *vm)
{
	struct gmm_stats s;

	for (int i = 0; i < 6; i++) {
		touch_for(vm, PAGES(20), PAGES(64), 6);
		s = vm_stats(vm);
		if (s.working_set.bytes > 60 * MIB && s.working_set.touches > 20 &&
		    s.working_set.curve[0].refaults_per_s > 1000)
			break;
		watch_harder(vm);
	}
	print_curve(&s);
	ck_assert(s.working_set.on);
	ck_assert_uint_gt(s.working_set.bytes, 60 * MIB);
	ck_assert_uint_lt(s.working_set.bytes, most_in_use(vm));
	ck_assert_uint_le(s.working_set.sampled, 1024);
	ck_assert(looks_often(&s, 20, 6));
	/* Eighths of the limit, as far as there is memory; with what is in use nothing comes back,
	 * and with half of it everything, each round. */
	ck_assert_uint_eq(s.working_set.n_points, 10);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_uint_eq(s.working_set.curve[i].limit_bytes, (i + 1) * 24 * MIB);
	ck_assert_uint_gt(s.working_set.curve[0].refaults_per_s, 1000);
	ck_assert_uint_eq(s.working_set.curve[3].refaults_per_s, 0);
}

START_TEST(the_working_set_is_what_is_touched)
{
	struct vm *vm = watched_vm(engines[_i], 256, 192);

	touches_64_of_256_mib(vm);
	vm_free(vm, true);
}
END_TEST

/* As on a kernel that does not free page tables: blocks stay as they are, and are not watched. */
START_TEST(what_cannot_be_watched_passes_for_the_rest)
{
	struct vm *vm;
	uint64_t n_blocks;

	if (engines[_i] == GMM_ENGINE_COPY) /* has no blocks */
		return;
	unit_need_huge_pages();
	vm = watched_vm(engines[_i], 256, 192);
	pthread_mutex_lock(&vm->space->lock);
	vm->space->huge.reclaims_tables = HUGE_NO;
	pthread_mutex_unlock(&vm->space->lock);
	touches_64_of_256_mib(vm);
	pthread_mutex_lock(&vm->space->lock);
	n_blocks = vm->space->huge.n_mapped;
	pthread_mutex_unlock(&vm->space->lock);
	printf("%lu of %lu MiB are in blocks that are not watched\n", n_blocks * 2,
	       vm_stats(vm).resident_bytes >> 20);
	ck_assert_uint_ge(n_blocks, 16);
	vm_free(vm, true);
}
END_TEST

/* With a short window, much to spend, and nothing looked at before so long has passed. */
static void set_pace(struct vm *vm, uint64_t quiet_ns)
{
	struct working_set *ws = &vm->space->ws;

	pthread_mutex_lock(&vm->space->lock);
	ws->pace.permille = 200;
	ws->pace.window_ns = 1000000000;
	ws->tick_ns = ns_of(CLOCK_MONOTONIC) + quiet_ns;
	pthread_mutex_unlock(&vm->space->lock);
	eventfd_write(vm->space->wake_fd, 1);
}

static bool is_in_use(struct vm *vm, uint64_t min_mib, uint64_t max_mib)
{
	uint64_t bytes = vm_stats(vm).working_set.bytes;

	return bytes >= min_mib * MIB && bytes <= max_mib * MIB;
}

/* Looked at seldom, what was in use is so still; looked at again, what is not touched is not. */
START_TEST(what_is_in_use_is_what_was_seen_last)
{
	struct vm *vm = watched_vm(engines[_i], 64, 64);

	for (uint64_t p = 0; p < PAGES(8); p++) /* in no order: no huge pages */
		*vm_word(vm, p * 1021 % PAGES(8)) = p;
	set_pace(vm, 0);
	for (int i = 0; i < 30 && (i < 5 || !is_in_use(vm, 7, 9)); i++)
		touch_for(vm, 0, PAGES(8), 1);
	printf("looked at: %lu KiB\n", vm_stats(vm).working_set.bytes >> 10);
	ck_assert(is_in_use(vm, 7, 9));
	set_pace(vm, 1000000000000);
	touch_for(vm, 0, PAGES(8), 4);
	printf("not looked at: %lu MiB\n", vm_stats(vm).working_set.bytes >> 20);
	ck_assert(is_in_use(vm, 6, 9));
	set_pace(vm, 0);
	for (int i = 0; i < 30 && !is_in_use(vm, 3, 5); i++)
		touch_for(vm, 0, PAGES(4), 1);
	printf("half of it: %lu MiB\n", vm_stats(vm).working_set.bytes >> 20);
	ck_assert(is_in_use(vm, 3, 5));
	vm_free(vm, true);
}
END_TEST

/* This thread's CPU time for a fault: that of first touches, the cheapest 4 MiB of them. What the
 * kernel says of a thread's time in it is no use here: it looks at that at its ticks, and the
 * touches come just after those.
 */
static double touch_all_ns(struct vm *vm, uint64_t n)
{
	double least = 1e9;

	for (uint64_t first = 0; first < n; first += PAGES(4)) {
		uint64_t begun = ns_of(CLOCK_THREAD_CPUTIME_ID), faults;
		uint64_t before = vm_stats(vm).faults.demand_zero;
		double each;

		for (uint64_t p = first; p < first + PAGES(4); p++)
			++*vm_word(vm, p);
		faults = vm_stats(vm).faults.demand_zero - before;
		each = (double)(ns_of(CLOCK_THREAD_CPUTIME_ID) - begun) /
		       (double)(faults ? faults : 1);
		least = each < least ? each : least;
	}
	return least;
}

/* CPU time that watching took, others' and the guest's, in permille of `seconds` of touching. A
 * guest's fault is no dearer than what is done for it, which moves its page twice; a first touch
 * may be, on a busy host. */
static double cost_permille(struct vm *vm, double fault_ns, double seconds)
{
	uint64_t others = others_ns(), wall = ns_of(CLOCK_MONOTONIC);
	uint64_t touches = vm_stats(vm).working_set.touches;
	double guests;

	touch_for(vm, 0, PAGES(200), seconds);
	others = others_ns() - others;
	touches = vm_stats(vm).working_set.touches - touches;
	printf("others %.2f %% of a CPU, %lu touches of %.0f us\n",
	       100.0 * (double)others / (seconds * 1e9), touches, fault_ns / 1000);
	guests = (double)touches * fault_ns;
	guests = guests < (double)others ? guests : (double)others;
	return 1000.0 * ((double)others + guests) / (double)(ns_of(CLOCK_MONOTONIC) - wall);
}

/* On a machine that is busy CPU time is dearer: one quiet stretch of some has to do. */
START_TEST(it_costs_less_than_a_hundredth_of_a_cpu)
{
	struct vm *vm = watched_vm(engines[_i], 256, 256);
	uint64_t begun = ns_of(CLOCK_MONOTONIC);
	double cost = 1000, fault_ns = touch_all_ns(vm, PAGES(200));
	struct gmm_stats s;

	touch_for(vm, 0, PAGES(200), 1);
	for (unsigned i = 0; i < 6 && cost >= 10; i++)
		cost = cost_permille(vm, fault_ns, 3);
	s = vm_stats(vm);
	print_curve(&s);
	ck_assert_double_lt(cost, 10);
	ck_assert(looks_often(&s, 10, (double)(ns_of(CLOCK_MONOTONIC) - begun) / 1e9));
	ck_assert_uint_lt(s.working_set.spent_ns, (ns_of(CLOCK_MONOTONIC) - begun) / 100 + 5000000);
	ck_assert_uint_lt(s.working_set.touches * 60000, s.working_set.spent_ns);
	vm_free(vm, true);
}
END_TEST

struct faulter {
	struct vm *vm;
	atomic_bool stop;
};

static void *fault_on(void *arg)
{
	struct faulter *f = arg;

	while (!f->stop)
		for (uint64_t p = PAGES(32); p < PAGES(64) && !f->stop; p += 16) {
			*vm_word(f->vm, p) = p;
			gmm_space_discard(f->vm->space, (gmm_gfn){p}, 1);
		}
	return NULL;
}

/* First touches without end, each served at once: what is not urgent has its turn all the same. */
START_TEST(it_is_watched_beside_faults_that_never_end)
{
	struct vm *vm = watched_vm(engines[_i], 64, 64);
	struct faulter faulter = {.vm = vm};
	uint32_t n_away = 0;
	pthread_t guest;

	for (uint64_t p = 0; p < PAGES(32); p += 8) /* too few for huge pages */
		*vm_word(vm, p) = p;
	pthread_create(&guest, NULL, fault_on, &faulter);
	for (int i = 0; i < 2000 && n_away == 0; i++) {
		sleep_ms(5);
		pthread_mutex_lock(&vm->space->lock);
		n_away = vm->space->ws.n_away;
		pthread_mutex_unlock(&vm->space->lock);
	}
	faulter.stop = true;
	pthread_join(guest, NULL);
	ck_assert_uint_gt(n_away, 0);
	vm_free(vm, true);
}
END_TEST

START_TEST(off_it_costs_nothing)
{
	struct vm *vm = vm_new(engines[_i], NULL, 64, 64, 64);
	struct gmm_stats s;

	touch_for(vm, 0, PAGES(60), 1);
	s = vm_stats(vm);
	ck_assert(!s.working_set.on);
	ck_assert_uint_eq(s.working_set.touches, 0);
	ck_assert_uint_eq(s.working_set.spent_ns, 0);
	ck_assert_uint_eq(s.working_set.n_points, 0);
	vm_free(vm, true);
}
END_TEST

/* Pages of the sample in this state: how many there are, and how many of them would not be seen to
 * be touched again. */
static unsigned n_blind(struct vm *vm, enum gmm_page_state state, unsigned *n_used)
{
	const struct working_set *ws = &vm->space->ws;
	unsigned n = 0;

	*n_used = 0;
	pthread_mutex_lock(&vm->space->lock);
	for (uint32_t i = 0; i < ws->n; i++) {
		page_word w = space_word(vm->space, sampling_page(ws->level, i));

		*n_used += ws->pages[i].used && page_state(w) == state;
		n += ws->pages[i].used && page_state(w) == state && !ws->pages[i].armed_ns;
	}
	pthread_mutex_unlock(&vm->space->lock);
	return n;
}

/* Two MiB of zeros leave as one page: their next touch counts as any other's. */
START_TEST(zeros_that_left_are_seen_to_come_back)
{
	struct vm *vm = watched_vm(engines[_i], 64, 64);
	uint64_t until = ns_of(CLOCK_MONOTONIC) + 3000000000u, sum = 0;
	unsigned n_used;

	while (ns_of(CLOCK_MONOTONIC) < until)
		for (uint64_t p = 0; p < PAGES(32); p++)
			sum += *vm_word(vm, p);
	ck_assert_uint_eq(sum, 0);
	n_blind(vm, GMM_PAGE_RESIDENT, &n_used);
	ck_assert_uint_gt(n_used, 100);
	vm_evict_all(vm);
	ck_assert_uint_eq(n_blind(vm, GMM_PAGE_EMPTY, &n_used), 0);
	printf("%lu blocks filled, %lu left as one; of the sample %u pages left\n",
	       vm_stats(vm).huge.filled, vm_stats(vm).huge.taken, n_used);
	ck_assert_uint_gt(n_used, 100);
	vm_free(vm, true);
}
END_TEST

#define ZIPF_PAGES PAGES(64)

struct zipf {
	double sum[ZIPF_PAGES];
	_Atomic uint64_t n;
	_Atomic bool stop;
	struct vm *vm;
};

static uint64_t zipf_page(const struct zipf *z)
{
	double u = (double)(roll() >> 11) / 9007199254740992.0 * z->sum[ZIPF_PAGES - 1];
	uint64_t low = 0, high = ZIPF_PAGES - 1;

	while (low < high) {
		uint64_t mid = (low + high) / 2;

		if (z->sum[mid] < u)
			low = mid + 1;
		else
			high = mid;
	}
	return low * 12377 % ZIPF_PAGES;
}

/* An access each 5 us, so that what counts takes longer than a busy machine makes a thread wait.
 */
static void *zipf_run(void *arg)
{
	struct zipf *z = arg;
	uint64_t next = ns_of(CLOCK_MONOTONIC);

	for (; !z->stop; z->n++) {
		while (ns_of(CLOCK_MONOTONIC) < next)
			;
		next = ns_of(CLOCK_MONOTONIC) + 5000;
		++*vm_word(z->vm, zipf_page(z));
	}
	return NULL;
}

static uint64_t n_back(struct vm *vm)
{
	struct gmm_stats s = vm_stats(vm);

	return s.faults.swap_in + s.faults.prefetch_used;
}

/* Refaults for each access: the guest is slower where it waits for them. Seen: 1.1 of
 * it on a quiet machine, up to 1.6 on a busy one, which watches a thread that runs by fits and
 * starts; 2.2 on an emulated one, 2.4 where little was watched. */
START_TEST(the_curve_foretells_another_limit)
{
	struct zipf *z = calloc(1, sizeof(*z));
	struct vm *vm = watched_vm(engines[_i], 64, 64);
	double foretold, measured, seconds = 10;
	struct gmm_stats s;
	pthread_t guest;
	uint64_t n, back, seen;

	z->vm = vm;
	for (uint64_t i = 0; i < ZIPF_PAGES; i++)
		z->sum[i] = (i ? z->sum[i - 1] : 0) + pow((double)(i + 1), -0.99);
	touch_for(vm, 0, ZIPF_PAGES, 0);
	pthread_create(&guest, NULL, zipf_run, z);
	for (int i = 0; i < 4; i++) {
		n = z->n;
		seen = vm_stats(vm).working_set.touches;
		sleep_ms((long)(seconds * 1000));
		s = vm_stats(vm);
		n = z->n - n;
		print_curve(&s);
		if (s.working_set.touches - seen >= 300)
			break;
		watch_harder(vm);
	}
	ck_assert_uint_eq(s.working_set.curve[3].limit_bytes, 32 * MIB);
	foretold = (double)s.working_set.curve[3].refaults_per_s * seconds / (double)n;
	ck_assert_int_eq(gmm_pool_set_limit(vm->pool, 32 * MIB), 0);
	sleep_ms(4000);
	n = z->n;
	back = n_back(vm);
	sleep_ms(4000);
	measured = (double)(n_back(vm) - back) / (double)(z->n - n);
	z->stop = true;
	pthread_join(guest, NULL);
	printf("refaults an access: foretold %.5f, measured %.5f\n", foretold, measured);
	ck_assert_double_gt(measured, foretold / 2.5);
	ck_assert_double_lt(measured, foretold * 2.5);
	vm_free(vm, true);
	free(z);
}
END_TEST

UNIT_MAIN_LOOP("working_set", N_ENGINES, 120, the_working_set_is_what_is_touched,
	       what_cannot_be_watched_passes_for_the_rest, what_is_in_use_is_what_was_seen_last,
	       it_costs_less_than_a_hundredth_of_a_cpu, it_is_watched_beside_faults_that_never_end,
	       off_it_costs_nothing, zeros_that_left_are_seen_to_come_back,
	       the_curve_foretells_another_limit)
