/* Which pages get zeros along with the one that is touched first. */
#include "vm.h"

#define MEM_MIB	 64u
#define GIB	 (UINT64_C(1) << 30)
#define GROUP	 64u /* pages of the widest neighbourhood */
#define KEPT_MIB 2u  /* frames that are kept ready are charged, too: the limit is that much more */

static struct vm *vm_of(enum gmm_engine engine, uint64_t limit_mib)
{
	return vm_new(engine, NULL, MEM_MIB, limit_mib, MEM_MIB);
}

static struct vm *roomy_vm(enum gmm_engine engine)
{
	return vm_of(engine, MEM_MIB + KEPT_MIB);
}

START_TEST(what_is_dense_fills_up)
{
	struct vm *vm = roomy_vm(engines[_i]);
	struct gmm_stats s;

	for (uint64_t i = 0; i < vm->n_pages; i++) {
		uint64_t p = scattered(i, vm->n_pages);

		ck_assert_uint_eq(*vm_word(vm, p), 0);
		*vm_word(vm, p) = p + 1;
		if (i % 1024)
			continue;
		s = vm_stats(vm);
		ck_assert_uint_le(s.resident_bytes, 4 * (i + 1) * 4096 + KEPT_MIB * MIB);
	}
	for (uint64_t p = 0; p < vm->n_pages; p++)
		ck_assert_uint_eq(*vm_word(vm, p), p + 1);
	s = vm_stats(vm);
	printf("engine %s: %lu faults for %lu pages\n", s.engine, s.faults.demand_zero,
	       vm->n_pages);
	ck_assert_uint_lt(s.faults.demand_zero, vm->n_pages / 2);
	ck_assert_uint_eq(s.faults.demand_zero + s.faults.prefetched, vm->n_pages);
	vm_free(vm, true);
}
END_TEST

START_TEST(what_is_sparse_comes_alone)
{
	struct vm *vm = roomy_vm(engines[_i]);
	struct gmm_stats s;

	for (uint64_t p = 0; p < vm->n_pages; p += 8)
		*vm_word(vm, p) = p + 1;
	s = vm_stats(vm);
	ck_assert_uint_eq(s.faults.demand_zero, vm->n_pages / 8);
	ck_assert_uint_eq(s.faults.prefetched, 0);
	vm_free(vm, true);
}
END_TEST

/* Zeros that nobody asked for would use up a limit that may get short. */
START_TEST(within_a_limit_nothing_comes_along)
{
	struct vm *vm = vm_of(engines[_i], MEM_MIB - 1);
	struct gmm_stats s;

	for (uint64_t p = 0; p < PAGES(MEM_MIB / 2); p += 2)
		*vm_word(vm, p) = p + 1;
	s = vm_stats(vm);
	ck_assert_uint_eq(s.faults.demand_zero, PAGES(MEM_MIB / 4));
	ck_assert_uint_eq(s.faults.prefetched, 0);
	vm_free(vm, true);
}
END_TEST

/* In order, through memory of which the guest has touched a half before, in no order: nothing came
 * along with that, for the limit is short, and now zeros do, past what is there. */
START_TEST(order_goes_past_what_is_there)
{
	struct vm *vm = vm_of(engines[_i], MEM_MIB - 1);
	uint64_t n = PAGES(16), n_touched = 0;
	struct gmm_stats before, after;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t p = scattered(i, n);

		if (p * 2654435761u >> 16 & 1) {
			*vm_word(vm, p) = p + 1;
			n_touched++;
		}
	}
	before = vm_stats(vm);
	ck_assert_uint_ge(before.faults.demand_zero, n_touched - n_touched / 32);
	ck_assert_uint_le(before.faults.prefetched, n_touched / 32);
	for (uint64_t p = 0; p < n; p++)
		ck_assert_uint_eq(*vm_word(vm, p), p * 2654435761u >> 16 & 1 ? p + 1 : 0);
	after = vm_stats(vm);
	ck_assert_uint_le(after.faults.demand_zero - before.faults.demand_zero, 16 + n / 64);
	ck_assert_uint_le(after.resident_bytes, n * 4096 + KEPT_MIB * MIB);
	vm_free(vm, true);
}
END_TEST

/* The next block of 2 MiB stays whole for a huge frame, however far ahead zeros are brought in. */
START_TEST(order_does_not_spoil_the_next_block)
{
	struct vm *vm = vm_new(engines[_i], NULL, 192, 128, 192);
	uint64_t n = PAGES(2);
	struct gmm_stats s;

	for (uint64_t p = 0; p < n; p += 2)
		*vm_word(vm, p) = p + 1;
	for (uint64_t p = 1; p < n; p += 2)
		*vm_word(vm, p) = p + 1;
	s = vm_stats(vm); /* whoever was woken may be here before the last are filled */
	for (uint64_t p = n; p < 2 * n && engines[_i] == GMM_ENGINE_MOVE; p++)
		ck_assert_int_eq(vm_state(vm, p), GMM_PAGE_EMPTY);
	ck_assert_uint_lt(s.faults.demand_zero, n / 2 + n / 16);
	vm_free(vm, true);
}
END_TEST

START_TEST(what_the_guest_gave_up_stays_away)
{
	struct vm *vm = roomy_vm(engines[_i]);
	gmm_gfn given[GROUP / 4];

	/* of each four pages the second is given up, and the first touched */
	for (uint64_t i = 0; i < GROUP / 4; i++)
		given[i] = (gmm_gfn){4 * i + 1};
	ck_assert_uint_eq(gmm_balloon_give(vm->balloon, given, GROUP / 4), GROUP / 4);
	for (uint64_t p = 0; p < GROUP; p += 4)
		*vm_word(vm, p) = p + 1;
	*vm_word(vm, 3) = 4;
	vm_stats(vm); /* whoever was woken may be here before the words are written */
	ck_assert_int_eq(vm_state(vm, 2), GMM_PAGE_RESIDENT); /* beside the third: the rule holds */
	for (uint64_t i = 0; i < GROUP / 4; i++)
		ck_assert_int_eq(vm_state(vm, given[i].v), GMM_PAGE_BALLOONED);
	vm_free(vm, true);
}
END_TEST

/* Neighbourhoods end where memory does: the last of one region and the first of the next are
 * EMPTY when what is beside them is touched. */
START_TEST(neighbourhoods_end_where_memory_does)
{
	static const uint64_t sizes[] = {3, 16, GROUP - 1, GROUP + 8, 2 * GROUP + 17};

	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		struct vm *vm = roomy_vm(engines[_i]);
		uint64_t n = sizes[k], *low, *high, sum = 0;
		void *a, *b;

		ck_assert_int_eq(gmm_pool_set_limit(vm->pool, 2 * MEM_MIB * MIB), 0);
		ck_assert_int_eq(gmm_space_add_ram(vm->space, (gmm_gpa){GIB}, n << 12, &a), 0);
		ck_assert_int_eq(gmm_space_add_ram(vm->space, (gmm_gpa){2 * GIB}, n << 12, &b), 0);
		low = a;
		high = b;
		for (uint64_t p = n - 1 - n % 2; p < n; p -= 2) /* odd ones */
			high[p * 512] = p;
		vm_stats(vm); /* whoever was woken may be here before the words are written */
		ck_assert_int_eq(vm_state(vm, GIB / 4096 + n - 1), GMM_PAGE_EMPTY);
		for (uint64_t p = 1; p < n; p += 2)
			low[p * 512] = p;
		for (uint64_t p = 0; p < n; p++)
			sum += high[p * 512] + low[p * 512];
		ck_assert_uint_eq(sum, 2 * (n / 2) * (n / 2));
		ck_assert_int_eq(vm_state(vm, vm->n_pages - 1), GMM_PAGE_EMPTY);
		vm_free(vm, true);
	}
}
END_TEST

UNIT_MAIN_LOOP("first_touch", N_ENGINES, 60, what_is_dense_fills_up, what_is_sparse_comes_alone,
	       within_a_limit_nothing_comes_along, order_goes_past_what_is_there,
	       order_does_not_spoil_the_next_block, what_the_guest_gave_up_stays_away,
	       neighbourhoods_end_where_memory_does)
