/* Balloons by page list: targets, who is told of them, what is given and taken, `auto`. */
#include <guestmm/frames.h>

#include "fault/vm.h"

static unsigned n_told;
static uint64_t told_pages;

static void tell(void *user, uint64_t target_pages)
{
	ck_assert_ptr_eq(user, &n_told);
	n_told++;
	told_pages = target_pages;
}

static struct gmm_balloon *balloon_of(struct vm *vm, uint64_t floor_bytes)
{
	struct gmm_balloon_config config = {.size = sizeof(config),
					    .space = vm->space,
					    .notify = tell,
					    .user = &n_told,
					    .floor_bytes = floor_bytes};
	struct gmm_balloon *b;

	ck_assert_int_eq(gmm_balloon_new(&config, &b), 0);
	return b;
}

START_TEST(a_target_is_told_once)
{
	struct vm *vm = vm_new(GMM_ENGINE_BEST, NULL, 16, 16, 0);
	struct gmm_balloon *b = balloon_of(vm, 0);

	ck_assert_uint_eq(gmm_balloon_target(b), 0);
	ck_assert_int_eq(gmm_balloon_set_target(b, 4 * MIB), 0);
	ck_assert_uint_eq(n_told, 1);
	ck_assert_uint_eq(told_pages, 1024);
	ck_assert_int_eq(gmm_balloon_set_target(b, 4 * MIB), 0);
	ck_assert_uint_eq(n_told, 1);
	ck_assert_int_eq(gmm_balloon_set_target(b, 0), 0);
	ck_assert_uint_eq(n_told, 2);
	ck_assert_uint_eq(told_pages, 0);
	ck_assert_int_eq(gmm_balloon_set_target(b, 16 * MIB), -EINVAL);
	ck_assert_int_eq(gmm_balloon_set_target(b, UINT64_MAX), -EINVAL);
	ck_assert_int_eq(gmm_balloon_set_target(b, 16 * MIB - 4096), 0);
	ck_assert_uint_eq(gmm_balloon_target(b), 16 * MIB - 4096);
	gmm_balloon_free(b);
	vm_free(vm, true);
}
END_TEST

START_TEST(wrong_configurations_are_refused)
{
	struct vm *vm = vm_new(GMM_ENGINE_BEST, NULL, 16, 16, 0);
	struct gmm_balloon_config config = {.size = sizeof(config)};
	struct gmm_balloon *b = NULL;

	ck_assert_int_eq(gmm_balloon_new(&config, &b), -EINVAL);
	config.space = vm->space;
	config.size--;
	ck_assert_int_eq(gmm_balloon_new(&config, &b), -EINVAL);
	config.size++;
	config.floor_bytes = 16 * MIB + 4096;
	ck_assert_int_eq(gmm_balloon_new(&config, &b), -EINVAL);
	ck_assert_ptr_null(b);
	config.floor_bytes = 16 * MIB;
	ck_assert_int_eq(gmm_balloon_new(&config, &b), 0);
	ck_assert_ptr_null(gmm_balloon_free(b));
	ck_assert_ptr_null(gmm_balloon_free(NULL));
	vm_free(vm, true);
}
END_TEST

START_TEST(what_is_given_is_counted_once_and_can_be_taken)
{
	struct vm *vm = vm_new(GMM_ENGINE_BEST, NULL, 16, 16, 16);
	struct gmm_balloon *b = balloon_of(vm, 0);
	const gmm_gfn gfns[] = {{3}, {4}, {5}, {3}, {700}, {vm->n_pages}, {UINT64_MAX}};
	void *hva;

	for (uint64_t p = 0; p < vm->n_pages; p++)
		*vm_word(vm, p) = p + 1;
	ck_assert_int_eq(gmm_space_hold(vm->space, (gmm_gpa){700 << 12}, 1, true, &hva), 0);
	ck_assert_uint_eq(gmm_balloon_give(b, gfns, 7), 3); /* one twice, one held, two nowhere */
	ck_assert_uint_eq(gmm_balloon_bytes(b), 3 * 4096);
	ck_assert_uint_eq(vm_stats(vm).ballooned_bytes, 3 * 4096);
	ck_assert_int_eq(vm_state(vm, 4), GMM_PAGE_BALLOONED);
	ck_assert_uint_eq(gmm_balloon_take(b, gfns, 2), 2);
	ck_assert_uint_eq(gmm_balloon_take(b, gfns, 2), 0);
	ck_assert_uint_eq(gmm_balloon_bytes(b), 4096);
	ck_assert_uint_eq(*vm_word(vm, 5), 0); /* touched: legal, and out of the balloon */
	ck_assert_uint_eq(gmm_balloon_bytes(b), 0);
	ck_assert_uint_eq(*vm_word(vm, 700), 701);
	ck_assert_uint_eq(*vm_word(vm, 6), 7);
	gmm_space_release(vm->space, (gmm_gpa){700 << 12}, 1);
	gmm_balloon_free(b);
	vm_free(vm, true);
}
END_TEST

START_TEST(a_guest_out_of_memory_lowers_the_target)
{
	struct vm *vm = vm_new(GMM_ENGINE_BEST, NULL, 16, 16, 0);
	struct gmm_balloon *b = balloon_of(vm, 0);

	ck_assert_uint_eq(gmm_balloon_deflate_on_oom(b, 100), 0);
	ck_assert_uint_eq(n_told, 0);
	ck_assert_int_eq(gmm_balloon_set_target(b, 4 * MIB), 0);
	ck_assert_uint_eq(gmm_balloon_deflate_on_oom(b, 24), 24);
	ck_assert_uint_eq(told_pages, 1000);
	ck_assert_uint_eq(gmm_balloon_deflate_on_oom(b, UINT64_MAX), 1000);
	ck_assert_uint_eq(told_pages, 0);
	ck_assert_uint_eq(gmm_balloon_target(b), 0);
	gmm_balloon_free(b);
	vm_free(vm, true);
}
END_TEST

/* The driver of a willing guest: gives what is asked for, from the end of memory. */
static void follow(struct vm *vm, struct gmm_balloon *b)
{
	const uint64_t have = gmm_balloon_bytes(b) >> 12, want = gmm_balloon_target(b) >> 12;

	for (uint64_t i = have; i < want; i++) {
		gmm_gfn gfn = {vm->n_pages - 1 - i};

		ck_assert_uint_eq(gmm_balloon_give(b, &gfn, 1), 1);
	}
}

START_TEST(auto_grows_step_by_step_down_to_the_floor)
{
	struct vm *vm = vm_new(GMM_ENGINE_BEST, NULL, 16, 16, 0);
	struct gmm_balloon *b = balloon_of(vm, 6 * MIB);
	uint64_t before;

	gmm_balloon_tick(b);
	ck_assert_uint_eq(gmm_balloon_target(b), 0); /* not asked to */
	gmm_balloon_set_auto(b, true);
	gmm_balloon_tick(b);
	before = gmm_balloon_target(b);
	ck_assert_uint_gt(before, 0);
	ck_assert_uint_le(before, MIB);
	gmm_balloon_tick(b); /* the guest has not followed: no more is asked for */
	ck_assert_uint_eq(gmm_balloon_target(b), before);
	for (int i = 0; i < 64; i++) {
		follow(vm, b);
		gmm_balloon_tick(b);
	}
	ck_assert_uint_eq(gmm_balloon_target(b), 10 * MIB);
	gmm_balloon_set_auto(b, false);
	gmm_balloon_free(b);
	vm_free(vm, true);
}
END_TEST

static uint64_t missing_pages;
static unsigned n_told_missing;

static void tell_missing(void *user, uint64_t pages)
{
	(void)user;
	missing_pages = pages;
	n_told_missing++;
}

/* A guest that shares its allocator is told what it would have to free, once for each number. */
START_TEST(what_is_missing_is_told)
{
	struct vm *vm = vm_new(GMM_ENGINE_BEST, NULL, 16, 16, 0);
	struct gmm_balloon_config config = {
		.size = sizeof(config), .space = vm->space, .missing = tell_missing};
	struct gmm_balloon_share share = {.size = sizeof(share), .n_frames = PAGES(16)};
	struct gmm_balloon *b;

	share.block_bytes = gmm_frames_bytes(PAGES(16));
	share.block = aligned_alloc(128, (share.block_bytes + 127) & ~(size_t)127);
	ck_assert_int_eq(gmm_frames_init(share.block, share.block_bytes, PAGES(16)), 0);
	ck_assert_int_eq(gmm_frames_claim(share.block, 0, PAGES(8)), 0);
	ck_assert_int_eq(gmm_balloon_new(&config, &b), 0);
	ck_assert_int_eq(gmm_balloon_set_target(b, 10 * MIB), 0);
	ck_assert_uint_eq(n_told_missing, 0); /* it does not share yet */
	ck_assert_int_eq(gmm_balloon_share(b, &share), 0);
	ck_assert_uint_eq(gmm_balloon_bytes(b), 8 * MIB);
	ck_assert_uint_eq(missing_pages, PAGES(2));
	gmm_balloon_tick(b);
	ck_assert_uint_eq(n_told_missing, 1);
	ck_assert_int_eq(gmm_frames_put_run(share.block, 0, 0, PAGES(1)), 0);
	gmm_balloon_tick(b);
	ck_assert_uint_eq(gmm_balloon_bytes(b), 9 * MIB);
	ck_assert_uint_eq(missing_pages, PAGES(1));
	ck_assert_uint_eq(gmm_balloon_deflate_on_oom(b, 10), 10);
	ck_assert_uint_eq(missing_pages, 0);
	ck_assert_uint_eq(n_told_missing, 3);
	gmm_balloon_free(b);
	vm_free(vm, true);
	free(share.block);
}
END_TEST

UNIT_MAIN("balloon", what_is_missing_is_told, a_target_is_told_once,
	  wrong_configurations_are_refused, what_is_given_is_counted_once_and_can_be_taken,
	  a_guest_out_of_memory_lowers_the_target, auto_grows_step_by_step_down_to_the_floor)
