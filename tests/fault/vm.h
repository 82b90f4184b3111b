/* A space with its pool, store, worker and balloon, for tests of what happens when things go
 * wrong. A thread of the test plays the guest through the mapping, as KVM would.
 */
#ifndef TESTS_FAULT_VM_H
#define TESTS_FAULT_VM_H

#include <check.h>
#include <errno.h>
#include <guestmm/guestmm.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "unit.h"

#define MIB	   (UINT64_C(1) << 20)
#define PAGES(mib) ((mib)*256u)

struct vm {
	struct gmm_pool *pool;
	struct gmm_space *space;
	struct gmm_worker *worker;
	struct gmm_balloon *balloon;
	enum gmm_working_set working_set; /* set before vm_make() */
	uint32_t n_vcpus;		  /* likewise; 0: 1 */
	volatile char *mem;
	uint64_t n_pages;
	_Atomic int fail_reads, fail_writes; /* errno for every operation, 0: none */
	_Atomic uint32_t n_poisoned, n_full, n_usable, n_touched;
};

/* Each test runs with each of them: engines[_i]. */
#define N_ENGINES 2
static const enum gmm_engine engines[N_ENGINES] = {GMM_ENGINE_MOVE, GMM_ENGINE_COPY};

static inline int vm_fail(void *user, enum gmm_store_verb verb, uint64_t n_seen)
{
	struct vm *vm = user;

	(void)n_seen;
	return -(verb == GMM_STORE_WRITE ? vm->fail_writes : vm->fail_reads);
}

static inline void vm_event(void *user, const struct gmm_event *event)
{
	struct vm *vm = user;

	switch (event->kind) {
	case GMM_EVENT_POISONED:
		vm->n_poisoned++;
		break;
	case GMM_EVENT_POISON_TOUCHED:
		vm->n_touched++;
		break;
	case GMM_EVENT_STORE_FULL:
		vm->n_full++;
		break;
	case GMM_EVENT_STORE_USABLE:
		vm->n_usable++;
		break;
	case GMM_EVENT_DEAD:
		abort();
	}
}

/* A file store, over which `fail` decides where it is not NULL. */
static inline struct gmm_store *vm_store(uint64_t capacity, gmm_store_fail_fn *fail, void *user)
{
	struct gmm_store_file_config file = {.size = sizeof(file), .capacity_bytes = capacity};
	struct gmm_store *store, *faulty;

	ck_assert_int_eq(gmm_store_file_new(&file, &store), 0);
	if (!fail)
		return store;
	ck_assert_int_eq(gmm_store_faulty_new(store, fail, user, &faulty), 0);
	return faulty;
}

/* A space of mem_mib with the pool given, or one of its own of limit_mib. The store, which may be
 * NULL, is the space's from now on. */
static inline void vm_make(struct vm *vm, enum gmm_engine engine, struct gmm_pool *pool,
			   uint64_t mem_mib, uint64_t limit_mib, struct gmm_store *store)
{
	struct gmm_pool_config config = {.size = sizeof(config), .limit_bytes = limit_mib * MIB};
	struct gmm_space_config space = {.size = sizeof(space), .engine = engine};
	struct gmm_worker_config worker = {.size = sizeof(worker), .cpu = -1};
	struct gmm_balloon_config balloon = {.size = sizeof(balloon)};
	void *mem;
	int ret;

	vm->pool = pool;
	if (!pool)
		ck_assert_int_eq(gmm_pool_new(&config, &vm->pool), 0);
	space.pool = vm->pool;
	space.store = store;
	space.on_event = vm_event;
	space.user = vm;
	space.working_set = vm->working_set;
	space.n_vcpus = vm->n_vcpus;
	ret = gmm_space_new(&space, &vm->space);
	if (ret == -EPERM || ret == -ENOSYS || ret == -EOPNOTSUPP)
		UNIT_SKIP("userfaultfd or this engine is not to be had here: %s", strerror(-ret));
	ck_assert_int_eq(ret, 0);
	ck_assert_int_eq(gmm_space_add_ram(vm->space, (gmm_gpa){0}, mem_mib * MIB, &mem), 0);
	vm->mem = mem;
	vm->n_pages = PAGES(mem_mib);
	worker.space = balloon.space = vm->space;
	ck_assert_int_eq(gmm_worker_new(&worker, &vm->worker), 0);
	ck_assert_int_eq(gmm_balloon_new(&balloon, &vm->balloon), 0);
}

static inline struct vm *vm_new(enum gmm_engine engine, struct gmm_pool *pool, uint64_t mem_mib,
				uint64_t limit_mib, uint64_t swap_mib)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	vm_make(vm, engine, pool, mem_mib, limit_mib,
		swap_mib ? vm_store(swap_mib * MIB, vm_fail, vm) : NULL);
	return vm;
}

static inline void vm_free(struct vm *vm, bool pool_too)
{
	gmm_worker_free(vm->worker);
	gmm_balloon_free(vm->balloon);
	gmm_space_free(vm->space);
	if (pool_too)
		gmm_pool_free(vm->pool);
	free(vm);
}

static inline struct gmm_stats vm_stats(struct vm *vm)
{
	struct gmm_stats stats = {.size = sizeof(stats)};

	gmm_space_stats(vm->space, &stats);
	return stats;
}

static inline volatile uint64_t *vm_word(struct vm *vm, uint64_t page)
{
	return (volatile uint64_t *)(vm->mem + (page << 12)) + page % 512;
}

static inline enum gmm_page_state vm_state(struct vm *vm, uint64_t page)
{
	uint8_t state;

	ck_assert_int_eq(gmm_space_states(vm->space, (gmm_gfn){page}, 1, &state), 0);
	return (enum gmm_page_state)state;
}

/* 0 to n - 1, each once, in no order; n is a power of two. */
static inline uint64_t scattered(uint64_t i, uint64_t n)
{
	for (int round = 0; round < 3; round++) {
		i = (i * 0x9e3779b97f4a7c15u + 12345) & (n - 1);
		i ^= i >> 5;
	}
	return i;
}

static inline void sleep_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

/* Evicts everything that can be, and waits until no more than `left` is in. */
static inline void vm_evict_all_but(struct vm *vm, uint64_t left)
{
	for (int i = 0; i < 2000; i++) {
		struct gmm_stats s = {.size = sizeof(s)};

		gmm_space_reclaim(vm->space, vm->n_pages);
		s = vm_stats(vm);
		if (s.resident_bytes <= left && s.evicting_bytes == 0)
			return;
		sleep_ms(5);
	}
	ck_abort_msg("not all was evicted: %lu KiB left", vm_stats(vm).resident_bytes >> 10);
}

static inline void vm_evict_all(struct vm *vm)
{
	vm_evict_all_but(vm, MIB);
}

/* Each of the first n pages: vm_evict_all() counts frames, free ones among them. */
static inline void vm_evict_first(struct vm *vm, uint64_t n)
{
	uint64_t p = 0;

	for (int i = 0; i < 2000 && p < n; i++) {
		gmm_space_reclaim(vm->space, vm->n_pages);
		sleep_ms(5);
		while (p < n && vm_state(vm, p) == GMM_PAGE_SWAPPED)
			p++;
	}
	ck_assert_uint_eq(p, n);
}

#endif
