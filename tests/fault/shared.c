/* A balloon that works by sharing the guest's page-frame allocator: what it takes, what it leaves,
 * what pressure takes, and what a guest can do that writes what it likes to the block. */
#include "shared.h"

#include <pthread.h>

/* Touches every page from p to end and leaves p + 1 in it. */
static void fill(struct vm *vm, uint64_t p, uint64_t end)
{
	for (; p < end; p++)
		*vm_word(vm, p) = p + 1;
}

static void verify(struct vm *vm, uint64_t p, uint64_t end, bool has)
{
	for (; p < end; p++)
		ck_assert_uint_eq(*vm_word(vm, p), has ? p + 1 : 0);
}

static uint64_t n_in_state(struct vm *vm, enum gmm_page_state state)
{
	uint64_t n = 0;

	for (uint64_t p = 0; p < vm->n_pages; p++)
		n += vm_state(vm, p) == state;
	return n;
}

START_TEST(takes_exactly_what_is_asked_for_and_only_what_is_free)
{
	struct shared_vm s = shared_new(engines[_i], 64, 96, 0);
	struct vm *vm = s.vm;
	uint64_t free = PAGES(40), before;

	/* 24 MiB in use: 16 of them whole, 8 in every second frame. */
	ck_assert_int_eq(gmm_frames_claim(s.block, 0, PAGES(16)), 0);
	for (uint64_t p = PAGES(48); p < PAGES(64); p += 2)
		ck_assert_int_eq(gmm_frames_claim(s.block, p, 1), 0);
	fill(vm, 0, vm->n_pages);
	before = vm_stats(vm).resident_bytes;
	ck_assert_uint_eq(gmm_balloon_guest_free(vm->balloon), 40 * MIB);

	ck_assert_int_eq(gmm_balloon_set_target(vm->balloon, 8 * MIB + 12288), 0);
	ck_assert_uint_eq(gmm_balloon_bytes(vm->balloon), 8 * MIB + 12288);
	ck_assert_uint_eq(gmm_frames_n_free(s.block), free - PAGES(8) - 3);
	/* (frames zeroed ahead come and go) */
	ck_assert_uint_le(vm_stats(vm).resident_bytes, before - 5 * MIB);
	ck_assert_uint_eq(n_in_state(vm, GMM_PAGE_BALLOONED), PAGES(8) + 3);
	ck_assert_uint_eq(gmm_frames_n_held(s.block, GMM_FRAMES_HOST), PAGES(8) + 3);
	/* Huge frames go first, and the rest comes out of areas that are in use anyway. */
	ck_assert_uint_eq(gmm_frames_n_free_huge(s.block), 12);

	ck_assert_int_eq(gmm_balloon_set_target(vm->balloon, 60 * MIB), 0);
	ck_assert_uint_eq(shared_taken(&s), free);
	ck_assert_uint_eq(gmm_frames_n_free(s.block), 0);
	ck_assert_uint_eq(vm_stats(vm).ballooned_bytes, 40 * MIB);
	verify(vm, 0, PAGES(16), true);
	for (uint64_t p = PAGES(48); p < PAGES(64); p += 2)
		ck_assert_uint_eq(*vm_word(vm, p), p + 1);
	ck_assert_uint_eq(vm_stats(vm).reclaim.written, 0);
	shared_free(&s);
}
END_TEST

START_TEST(gives_back_by_a_flip_and_a_touch_gets_zeros)
{
	struct shared_vm s = shared_new(engines[_i], 64, 96, 0);
	struct vm *vm = s.vm;
	uint64_t faults, frame;

	fill(vm, 0, vm->n_pages);
	ck_assert_int_eq(gmm_balloon_set_target(vm->balloon, 63 * MIB), 0);
	ck_assert_uint_eq(shared_taken(&s), PAGES(63));
	ck_assert_uint_le(vm_stats(vm).resident_bytes, 4 * MIB);
	faults = vm_stats(vm).faults.demand_zero;

	ck_assert_int_eq(gmm_balloon_set_target(vm->balloon, 20480), 0);
	ck_assert_uint_eq(shared_taken(&s), 5);
	ck_assert_uint_eq(n_in_state(vm, GMM_PAGE_BALLOONED), 5);
	ck_assert_uint_eq(vm_stats(vm).faults.demand_zero, faults);
	ck_assert_int_eq(gmm_balloon_set_target(vm->balloon, 0), 0);
	ck_assert_uint_eq(gmm_frames_n_free(s.block), PAGES(64));
	ck_assert_uint_eq(gmm_frames_n_free_huge(s.block), 32);

	for (unsigned i = 0; i < 32; i++) {
		ck_assert_int_eq(gmm_frames_get_huge(s.block, 0, &frame), 0);
		if (frame < PAGES(62)) /* the last two were never taken */
			verify(vm, frame, frame + 512, false);
		fill(vm, frame, frame + 512);
		verify(vm, frame, frame + 512, true);
	}
	shared_free(&s);
}
END_TEST

/* Neighbours that a fault brings in are none that the balloon took: half of each 64 are. */
START_TEST(faults_bring_nothing_back_that_was_taken)
{
	struct shared_vm s = shared_new(engines[_i], 16, 32, 0);
	struct vm *vm = s.vm;

	for (uint64_t p = 0; p < vm->n_pages; p += 64)
		ck_assert_int_eq(gmm_frames_claim(s.block, p, 32), 0);
	ck_assert_int_eq(gmm_balloon_set_target(vm->balloon, 8 * MIB), 0);
	for (uint64_t p = 0; p < vm->n_pages; p += p % 64 == 31 ? 33 : 1)
		*vm_word(vm, p) = 1;
	ck_assert_uint_eq(n_in_state(vm, GMM_PAGE_BALLOONED), PAGES(8));
	for (int i = 0; i < 1000 && n_in_state(vm, GMM_PAGE_FILLING); i++)
		sleep_ms(1);
	ck_assert_uint_eq(n_in_state(vm, GMM_PAGE_RESIDENT), PAGES(8));
	shared_free(&s);
}
END_TEST

/* Blocks of 2 MiB that the host fills as one: not where a part of it is taken. */
START_TEST(no_block_is_filled_where_a_part_is_taken)
{
	struct shared_vm s = shared_new(engines[_i], 64, 128, 0);
	struct vm *vm = s.vm;

	/* Of every second block a half is in use, of the others all. */
	for (uint64_t p = 0; p < vm->n_pages; p += 1024)
		ck_assert_int_eq(gmm_frames_claim(s.block, p, 768), 0);
	ck_assert_int_eq(gmm_balloon_set_target(vm->balloon, 16 * MIB), 0);
	for (uint64_t p = 0; p < vm->n_pages; p++)
		if (p % 1024 < 768)
			*vm_word(vm, p) = p + 1;
	ck_assert_uint_eq(n_in_state(vm, GMM_PAGE_BALLOONED), PAGES(16));
	/* Given back, it is filled like any memory. */
	ck_assert_int_eq(gmm_balloon_set_target(vm->balloon, 0), 0);
	fill(vm, 0, PAGES(64));
	verify(vm, 0, PAGES(64), true);
	shared_free(&s);
}
END_TEST

START_TEST(pressure_takes_free_memory_before_anything_is_written)
{
	struct shared_vm s = shared_new(engines[_i], 64, 16, 128);
	struct vm *vm = s.vm;

	/* 32 MiB are used and freed, in pieces of 2 MiB that never are more than 4 MiB. */
	for (uint64_t p = 0; p < PAGES(32); p += 512) {
		ck_assert_int_eq(gmm_frames_claim(s.block, p, 512), 0);
		fill(vm, p, p + 512);
		ck_assert_int_eq(gmm_frames_put_huge(s.block, 0, p), 0);
	}
	/* and then 8 MiB stay in use, while 16 MiB more come and go. */
	ck_assert_int_eq(gmm_frames_claim(s.block, PAGES(40), PAGES(8)), 0);
	fill(vm, PAGES(40), PAGES(48));
	for (uint64_t p = PAGES(48); p < PAGES(64); p += 512) {
		ck_assert_int_eq(gmm_frames_claim(s.block, p, 512), 0);
		fill(vm, p, p + 512);
		ck_assert_int_eq(gmm_frames_put_huge(s.block, 0, p), 0);
	}
	verify(vm, PAGES(40), PAGES(48), true);
	ck_assert_uint_gt(vm_stats(vm).free_taken, PAGES(24));
	ck_assert_uint_eq(vm_stats(vm).reclaim.written, 0);
	ck_assert_uint_eq(vm_stats(vm).reclaim.evicted, 0);
	ck_assert_uint_eq(gmm_frames_n_free(s.block), PAGES(56));
	ck_assert_uint_eq(shared_taken(&s), 0); /* the guest may have it at once */
	shared_free(&s);
}
END_TEST

/* Swapped and staged pages, too, whose frames the guest frees: no read, no slot any more. */
START_TEST(pressure_frees_slots_of_free_memory)
{
	struct shared_vm s = shared_new(engines[_i], 64, 16, 128);
	struct vm *vm = s.vm;
	uint64_t frame;

	ck_assert_int_eq(gmm_frames_claim(s.block, 0, PAGES(48)), 0);
	fill(vm, 0, PAGES(48));
	ck_assert_uint_gt(vm_stats(vm).swapped_bytes, 24 * MIB);
	for (uint64_t p = 0; p < PAGES(32); p += 512)
		ck_assert_int_eq(gmm_frames_put_huge(s.block, 0, p), 0);
	for (int i = 0; i < 1000 && n_in_state(vm, GMM_PAGE_EMPTY) < PAGES(48); i++) {
		gmm_space_reclaim(vm->space, 16);
		sleep_ms(5);
	}
	ck_assert_uint_eq(n_in_state(vm, GMM_PAGE_EMPTY), PAGES(48));
	verify(vm, PAGES(32), PAGES(48), true);
	for (unsigned i = 0; i < 16; i++) {
		ck_assert_int_eq(gmm_frames_get_huge(s.block, 0, &frame), 0);
		verify(vm, frame, frame + 512, false);
	}
	shared_free(&s);
}
END_TEST

START_TEST(a_guest_out_of_memory_gets_frames_back)
{
	struct shared_vm s = shared_new(engines[_i], 16, 16, 0);
	struct gmm_balloon *b = s.vm->balloon;
	uint64_t frames[512];

	ck_assert_int_eq(gmm_balloon_set_target(b, 15 * MIB), 0);
	ck_assert_int_eq(gmm_frames_claim(s.block, PAGES(15), PAGES(1)), 0);
	ck_assert_int_eq(gmm_frames_get(s.block, 0, 1, frames), -GMM_FRAMES_ENOMEM);
	ck_assert_uint_eq(gmm_balloon_deflate_on_oom(b, 64), 64);
	ck_assert_int_eq(gmm_frames_get(s.block, 0, 64, frames), 0);
	ck_assert_int_eq(gmm_frames_get(s.block, 0, 1, frames), -GMM_FRAMES_ENOMEM);
	ck_assert_uint_eq(gmm_balloon_target(b), 15 * MIB - 64 * 4096);
	ck_assert_uint_eq(gmm_balloon_deflate_on_oom(b, 1024), 1024);
	gmm_balloon_tick(b); /* what was given back is not taken again */
	ck_assert_uint_eq(gmm_frames_n_free(s.block), 1024);
	/* As much as it likes to ask for: no more than there is. */
	ck_assert_uint_eq(gmm_balloon_deflate_on_oom(b, UINT64_MAX), PAGES(15) - 64 - 1024);
	ck_assert_uint_eq(gmm_balloon_deflate_on_oom(b, UINT64_MAX), 0);
	ck_assert_uint_eq(gmm_balloon_bytes(b), 0);
	ck_assert_uint_eq(gmm_balloon_target(b), 0);
	shared_free(&s);
}
END_TEST

START_TEST(a_target_is_met_when_memory_becomes_free)
{
	struct shared_vm s = shared_new(engines[_i], 16, 16, 0);
	struct gmm_balloon *b = s.vm->balloon;

	ck_assert_int_eq(gmm_frames_claim(s.block, 0, PAGES(16)), 0);
	ck_assert_int_eq(gmm_balloon_set_target(b, 4 * MIB), 0);
	ck_assert_uint_eq(gmm_balloon_bytes(b), 0);
	for (uint64_t p = 0; p < PAGES(2); p += 512)
		ck_assert_int_eq(gmm_frames_put_huge(s.block, 0, p), 0);
	gmm_balloon_tick(b);
	ck_assert_uint_eq(gmm_balloon_bytes(b), 2 * MIB);
	for (uint64_t p = PAGES(8); p < PAGES(12); p += 512)
		ck_assert_int_eq(gmm_frames_put_huge(s.block, 0, p), 0);
	gmm_balloon_tick(b);
	ck_assert_uint_eq(gmm_balloon_bytes(b), 4 * MIB);
	shared_free(&s);
}
END_TEST

START_TEST(auto_leaves_the_guest_some)
{
	struct shared_vm s = shared_new(engines[_i], 64, 64, 0);
	struct gmm_balloon *b = s.vm->balloon;
	const uint64_t step = PAGES(2);

	gmm_balloon_set_auto(b, true);
	ck_assert_int_eq(gmm_frames_claim(s.block, 0, PAGES(16)), 0);
	gmm_balloon_tick(b);
	ck_assert_uint_eq(gmm_frames_n_free(s.block), 2 * step);
	/* It uses most of that: the next tick gives some back. */
	ck_assert_int_eq(gmm_frames_claim(s.block, PAGES(60), PAGES(4) - 10), 0);
	gmm_balloon_tick(b);
	ck_assert_uint_eq(gmm_frames_n_free(s.block), step);
	ck_assert_uint_eq(gmm_balloon_deflate_on_oom(b, 1), step);
	ck_assert_uint_eq(gmm_frames_n_free(s.block), 2 * step);
	/* All free: an eighth is left however little is used. */
	for (uint64_t p = 0; p < PAGES(16); p += 512)
		ck_assert_int_eq(gmm_frames_put_huge(s.block, 0, p), 0);
	for (int i = 0; i < 4; i++)
		gmm_balloon_tick(b);
	ck_assert_uint_le(gmm_balloon_bytes(b), 56 * MIB);
	shared_free(&s);
}
END_TEST

START_TEST(by_list_and_by_sharing_count_as_one)
{
	struct shared_vm s = shared_new(engines[_i], 16, 16, 0);
	struct gmm_balloon *b = s.vm->balloon;
	gmm_gfn gfns[512];
	uint64_t first;

	ck_assert_int_eq(gmm_frames_get_huge(s.block, 0, &first), 0);
	for (unsigned i = 0; i < 512; i++)
		gfns[i].v = first + i;
	ck_assert_uint_eq(gmm_balloon_give(b, gfns, 512), 512);
	ck_assert_int_eq(gmm_balloon_set_target(b, 6 * MIB), 0);
	ck_assert_uint_eq(gmm_balloon_bytes(b), 6 * MIB);
	ck_assert_uint_eq(gmm_frames_n_free(s.block), PAGES(10));
	/* What was taken by sharing cannot be given by list, nor taken back so. */
	for (uint64_t p = 0, n = 0; p < s.vm->n_pages && n < 512; p++)
		if (vm_state(s.vm, p) == GMM_PAGE_BALLOONED && p - first >= 512)
			gfns[n++].v = p;
	ck_assert_uint_eq(gmm_balloon_give(b, gfns, 512), 0);
	ck_assert_uint_eq(gmm_balloon_take(b, gfns, 512), 0);
	ck_assert_uint_eq(gmm_balloon_bytes(b), 6 * MIB);
	shared_free(&s);
}
END_TEST

START_TEST(what_cannot_be_shared_is_refused)
{
	struct vm *vm = vm_new(engines[_i], NULL, 16, 16, 0);
	size_t bytes = gmm_frames_bytes(vm->n_pages);
	struct gmm_frames *block = calloc(1, bytes + 8);
	struct gmm_balloon_share share = {.size = sizeof(share),
					  .block = block,
					  .block_bytes = bytes,
					  .n_frames = vm->n_pages};
	struct gmm_balloon_share bad = share;

	bad.size = 4;
	ck_assert_int_eq(gmm_balloon_share(vm->balloon, &bad), -EINVAL);
	bad = share;
	bad.block = NULL;
	ck_assert_int_eq(gmm_balloon_share(vm->balloon, &bad), -EINVAL);
	bad.block = (char *)block + 4;
	ck_assert_int_eq(gmm_balloon_share(vm->balloon, &bad), -EINVAL);
	bad = share;
	bad.block_bytes--;
	ck_assert_int_eq(gmm_balloon_share(vm->balloon, &bad), -EINVAL);
	bad = share;
	bad.n_frames = 0;
	ck_assert_int_eq(gmm_balloon_share(vm->balloon, &bad), -EINVAL);
	bad.n_frames = UINT64_MAX;
	ck_assert_int_eq(gmm_balloon_share(vm->balloon, &bad), -EINVAL);
	ck_assert(!gmm_balloon_is_shared(vm->balloon));
	ck_assert_uint_eq(gmm_balloon_guest_free(vm->balloon), 0);
	ck_assert_int_eq(gmm_frames_init(block, bytes, vm->n_pages), 0);
	ck_assert_int_eq(gmm_balloon_share(vm->balloon, &share), 0);
	ck_assert(gmm_balloon_is_shared(vm->balloon));
	ck_assert_int_eq(gmm_balloon_share(vm->balloon, &share), -EEXIST);
	vm_free(vm, true);
	free(block);
}
END_TEST

/* ---- A hostile guest ---- */

struct scribbler {
	struct shared_vm *s;
	uint64_t seed;
	atomic_bool stop;
};

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Writes all kinds of words all over the block, and touches its memory everywhere. */
static void *scribble(void *arg)
{
	struct scribbler *me = arg;
	uint64_t *words = (uint64_t *)(void *)me->s->block, n = me->s->block_bytes / 8;
	struct vm *vm = me->s->vm;

	while (!atomic_load(&me->stop)) {
		uint64_t x = next(&me->seed), value = 0;

		if (x % 3)
			value = x % 3 == 1 ? UINT64_MAX : next(&me->seed);
		__atomic_store_n(&words[next(&me->seed) % n], value, __ATOMIC_RELAXED);
		if (x % 64 == 0)
			*vm_word(vm, next(&me->seed) % vm->n_pages) = x;
		if (x % 4096 == 0) /* all free, all of it huge */
			for (uint64_t i = 66 * 16; i < n; i++)
				__atomic_store_n(&words[i], 0, __ATOMIC_RELAXED);
	}
	return NULL;
}

START_TEST(a_block_that_is_scribbled_over_hurts_nobody_else)
{
	struct shared_vm s = shared_new(engines[_i], 32, 12, 64);
	struct scribbler me = {.s = &s, .seed = 42 + (uint64_t)_i};
	struct gmm_pool_stats pool = {.size = sizeof(pool)};
	struct vm *vm = s.vm;
	pthread_t guest;

	pthread_create(&guest, NULL, scribble, &me);
	for (unsigned i = 0; i < 400 || vm_stats(vm).faults.demand_zero < 100; i++) {
		gmm_balloon_set_target(vm->balloon, (uint64_t)i * 7919 % 32 * MIB);
		gmm_balloon_deflate_on_oom(vm->balloon, i % 3 ? 100 : UINT64_MAX);
		gmm_balloon_set_auto(vm->balloon, i % 2);
		gmm_balloon_tick(vm->balloon);
		ck_assert_uint_le(gmm_balloon_bytes(vm->balloon), 32 * MIB);
		ck_assert_uint_le(gmm_balloon_guest_free(vm->balloon), 32 * MIB);
		gmm_pool_stats(vm->pool, &pool);
		ck_assert_uint_le(pool.used_peak_bytes, 12 * MIB);
	}
	me.stop = true;
	pthread_join(guest, NULL);
	/* Its own notes hold: what they have is given back, and then nothing is taken. */
	gmm_balloon_set_auto(vm->balloon, false);
	gmm_balloon_set_target(vm->balloon, 0);
	ck_assert_uint_eq(gmm_balloon_bytes(vm->balloon), 0);
	ck_assert_uint_eq(n_in_state(vm, GMM_PAGE_BALLOONED), 0);
	shared_free(&s);
}
END_TEST

/* The guest says again and again that all is free, what was taken included: a frame counts once. */
START_TEST(a_frame_is_taken_once)
{
	struct shared_vm s = shared_new(engines[_i], 16, 32, 0);
	struct gmm_balloon *b = s.vm->balloon;

	for (uint64_t mib = 1; mib < 16; mib++) {
		ck_assert_int_eq(gmm_frames_init(s.block, s.block_bytes, PAGES(16)), 0);
		ck_assert_int_eq(gmm_balloon_set_target(b, mib * MIB + 4096), 0);
		ck_assert_uint_le(gmm_balloon_bytes(b), mib * MIB + 4096);
		ck_assert_uint_eq(gmm_balloon_bytes(b) / 4096,
				  n_in_state(s.vm, GMM_PAGE_BALLOONED));
	}
	ck_assert_int_eq(gmm_balloon_set_target(b, 0), 0);
	ck_assert_uint_eq(gmm_balloon_bytes(b), 0);
	shared_free(&s);
}
END_TEST

/* Frames that are no RAM, because the block is for more than there is or has holes. */
START_TEST(frames_that_are_no_memory_are_never_taken)
{
	struct vm *vm = vm_new(engines[_i], NULL, 16, 16, 0);
	uint64_t n = vm->n_pages * 4;
	size_t bytes = gmm_frames_bytes(n);
	struct gmm_frames *block = calloc(1, bytes);
	struct gmm_balloon_share share = {
		.size = sizeof(share), .block = block, .block_bytes = bytes, .n_frames = n};

	ck_assert_int_eq(gmm_frames_init(block, bytes, n), 0);
	ck_assert_int_eq(gmm_frames_claim(block, 0, PAGES(13)), 0); /* 3 MiB of RAM are free */
	ck_assert_int_eq(gmm_balloon_share(vm->balloon, &share), 0);
	for (int i = 0; i < 20; i++) {
		gmm_balloon_set_target(vm->balloon, 15 * MIB);
		ck_assert_uint_eq(gmm_balloon_bytes(vm->balloon) / 4096,
				  n_in_state(vm, GMM_PAGE_BALLOONED));
	}
	gmm_balloon_set_target(vm->balloon, 0);
	ck_assert_uint_eq(gmm_balloon_bytes(vm->balloon), 0);
	vm_free(vm, true);
	free(block);
}
END_TEST

/* Most of a guest is swapped out, and what it only reads keeps its copies as long as there is room:
 * the block is a part of what the bookkeeping may take. */
START_TEST(the_block_counts_as_bookkeeping)
{
	struct shared_vm s = shared_new(engines[_i], 64, 16, 96);
	struct vm *vm = s.vm;
	uint64_t n = PAGES(48), most = 0;

	ck_assert_int_eq(gmm_frames_claim(s.block, 0, vm->n_pages), 0);
	ck_assert_uint_ge(vm_stats(vm).metadata_bytes, 8 * vm->n_pages + s.block_bytes);
	fill(vm, 0, n);
	for (uint64_t i = 0; i < 3 * n; i++) {
		uint64_t p = i * 7919 % n;

		ck_assert_uint_eq(*vm_word(vm, p), p + 1);
		if (i % 512 == 0 && vm_stats(vm).metadata_bytes > most)
			most = vm_stats(vm).metadata_bytes;
	}
	ck_assert_uint_le(most, 16 * vm->n_pages);
	ck_assert_uint_ge(most, 14 * vm->n_pages); /* it came near */
	shared_free(&s);
}
END_TEST

UNIT_MAIN_LOOP("shared", N_ENGINES, 60, takes_exactly_what_is_asked_for_and_only_what_is_free,
	       gives_back_by_a_flip_and_a_touch_gets_zeros,
	       faults_bring_nothing_back_that_was_taken, no_block_is_filled_where_a_part_is_taken,
	       pressure_takes_free_memory_before_anything_is_written,
	       pressure_frees_slots_of_free_memory, a_guest_out_of_memory_gets_frames_back,
	       a_target_is_met_when_memory_becomes_free, auto_leaves_the_guest_some,
	       by_list_and_by_sharing_count_as_one, what_cannot_be_shared_is_refused,
	       a_block_that_is_scribbled_over_hurts_nobody_else, a_frame_is_taken_once,
	       frames_that_are_no_memory_are_never_taken, the_block_counts_as_bookkeeping)
