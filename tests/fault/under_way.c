/* Invariant 1 where it is hardest: a page is written, given up, rescued or held while a transfer of
 * it is under way. The store ends nothing until the test says so, so each moment is met for
 * certain.
 */
#include "vm.h"

#include <pthread.h>

#include "held.h"

#define PAGE 100u

static struct held *held;

static struct vm *vm_held(enum gmm_engine engine)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	held = held_new(32 * MIB);
	vm_make(vm, engine, NULL, 16, 16, &held->base);
	for (uint64_t p = 0; p < PAGES(2); p++)
		*vm_word(vm, p) = p + 1;
	return vm;
}

static void wait_for_state(struct vm *vm, enum gmm_page_state state)
{
	for (int i = 0; i < 5000 && vm_state(vm, PAGE) != state; i++)
		sleep_ms(1);
	ck_assert_int_eq(vm_state(vm, PAGE), state);
}

/* The page is swapped, and a thread waits for it: its read has been made, but not ended. */
static void begin_read(struct vm *vm, pthread_t *thread, void *(*touch)(void *))
{
	vm_evict_all(vm);
	ck_assert_int_eq(vm_state(vm, PAGE), GMM_PAGE_SWAPPED);
	held->holds = true;
	pthread_create(thread, NULL, touch, vm);
	wait_for_state(vm, GMM_PAGE_FILLING);
}

/* The page has left the guest, and its write has been made, but not ended. */
static void begin_write(struct vm *vm)
{
	held->holds = true;
	gmm_space_reclaim(vm->space, vm->n_pages);
	wait_for_state(vm, GMM_PAGE_EVICTING);
	for (int i = 0; i < 5000 && held->n_writes < PAGES(2); i++) {
		gmm_space_reclaim(vm->space, vm->n_pages);
		sleep_ms(1);
	}
	ck_assert_uint_eq(held->n_writes, PAGES(2));
}

static void *read_page(void *arg)
{
	return (void *)(uintptr_t)*vm_word(arg, PAGE);
}

static void *write_page(void *arg)
{
	*vm_word(arg, PAGE) = 4711;
	return NULL;
}

/* Everything but PAGE is what it was. */
static void verify_others(struct vm *vm)
{
	for (uint64_t p = 0; p < PAGES(2); p++)
		if (p != PAGE)
			ck_assert_uint_eq(*vm_word(vm, p), p + 1);
}

static uint64_t n_slots_used(struct vm *vm)
{
	return vm_stats(vm).io.n_slots_used;
}

START_TEST(invariant_1_a_page_given_up_while_it_is_read_is_zero)
{
	struct vm *vm = vm_held(engines[_i]);
	pthread_t thread;
	void *got;

	begin_read(vm, &thread, read_page);
	ck_assert_int_eq(gmm_space_discard(vm->space, (gmm_gfn){PAGE}, 1), 0);
	held_let_go(held);
	pthread_join(thread, &got);
	ck_assert_uint_eq((uintptr_t)got, 0);
	for (unsigned i = 0; i < 512; i++)
		ck_assert_uint_eq(((volatile uint64_t *)(vm->mem + (PAGE << 12)))[i], 0);
	verify_others(vm);
	vm_free(vm, true);
}
END_TEST

START_TEST(invariant_1_a_page_ballooned_while_it_is_read_is_zero)
{
	struct vm *vm = vm_held(engines[_i]);
	gmm_gfn gfn = {PAGE};
	pthread_t thread;
	void *got;

	begin_read(vm, &thread, read_page);
	ck_assert_uint_le(gmm_balloon_give(vm->balloon, &gfn, 1), 1);
	held_let_go(held);
	pthread_join(thread, &got);
	ck_assert_uint_eq((uintptr_t)got, 0);
	verify_others(vm);
	vm_free(vm, true);
}
END_TEST

START_TEST(invariant_1_a_write_waits_for_the_page_and_stays)
{
	struct vm *vm = vm_held(engines[_i]);
	volatile uint64_t *other = (volatile uint64_t *)(vm->mem + (PAGE << 12)) + PAGE + 1;
	pthread_t thread;

	*other = 42;
	begin_read(vm, &thread, write_page);
	sleep_ms(20);
	held_let_go(held);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(*vm_word(vm, PAGE), 4711);
	ck_assert_uint_eq(*other, 42);
	vm_evict_all(vm);
	ck_assert_uint_eq(*vm_word(vm, PAGE), 4711);
	verify_others(vm);
	vm_free(vm, true);
}
END_TEST

START_TEST(invariant_1_a_page_given_up_while_it_is_written_is_zero)
{
	struct vm *vm = vm_held(engines[_i]);

	begin_write(vm);
	ck_assert_int_eq(gmm_space_discard(vm->space, (gmm_gfn){PAGE}, 1), 0);
	ck_assert_int_eq(vm_state(vm, PAGE), GMM_PAGE_EMPTY);
	ck_assert_uint_eq(*vm_word(vm, PAGE), 0);
	held_let_go(held);
	sleep_ms(50);
	ck_assert_uint_eq(*vm_word(vm, PAGE), 0);
	verify_others(vm);
	/* Its slot is free again: all that is stored belongs to somebody. */
	ck_assert_int_eq(gmm_space_discard(vm->space, (gmm_gfn){0}, vm->n_pages), 0);
	ck_assert_uint_eq(n_slots_used(vm), 0);
	vm_free(vm, true);
}
END_TEST

/* Touched while it is written, it is back at once, and changes from then on are no longer those
 * of the copy on its way. */
START_TEST(invariant_1_a_page_changed_while_it_is_written_is_what_it_became)
{
	struct vm *vm = vm_held(engines[_i]);

	begin_write(vm);
	ck_assert_uint_eq(*vm_word(vm, PAGE), PAGE + 1);
	ck_assert_uint_ge(vm_stats(vm).faults.rescue, 1); /* nothing was waited for */
	*vm_word(vm, PAGE) = 4711;
	held_let_go(held);
	sleep_ms(50);
	ck_assert_uint_eq(*vm_word(vm, PAGE), 4711);
	vm_evict_all(vm);
	ck_assert_uint_eq(*vm_word(vm, PAGE), 4711);
	verify_others(vm);
	ck_assert_int_eq(gmm_space_discard(vm->space, (gmm_gfn){0}, vm->n_pages), 0);
	ck_assert_uint_eq(n_slots_used(vm), 0);
	vm_free(vm, true);
}
END_TEST

/* A page that is rescued, given up and touched again, while its first copy is still on its way. */
START_TEST(invariant_1_a_page_of_two_lives_has_the_second)
{
	struct vm *vm = vm_held(engines[_i]);

	begin_write(vm);
	ck_assert_uint_eq(*vm_word(vm, PAGE), PAGE + 1);
	ck_assert_int_eq(gmm_space_discard(vm->space, (gmm_gfn){PAGE}, 1), 0);
	ck_assert_uint_eq(*vm_word(vm, PAGE), 0);
	*vm_word(vm, PAGE) = 7;
	held_let_go(held);
	sleep_ms(50);
	ck_assert_uint_eq(*vm_word(vm, PAGE), 7);
	vm_evict_all(vm);
	ck_assert_uint_eq(*vm_word(vm, PAGE), 7);
	verify_others(vm);
	vm_free(vm, true);
}
END_TEST

UNIT_MAIN_LOOP("under_way", N_ENGINES, 60, invariant_1_a_page_given_up_while_it_is_read_is_zero,
	       invariant_1_a_page_ballooned_while_it_is_read_is_zero,
	       invariant_1_a_write_waits_for_the_page_and_stays,
	       invariant_1_a_page_given_up_while_it_is_written_is_zero,
	       invariant_1_a_page_changed_while_it_is_written_is_what_it_became,
	       invariant_1_a_page_of_two_lives_has_the_second)
