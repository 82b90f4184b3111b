/* gmm_frames, one caller at a time: what each function promises, at the edges. */
#include "frames_help.h"

START_TEST(init_refuses_what_does_not_fit)
{
	struct gmm_frames *f = malloc(gmm_frames_bytes(1000));

	ck_assert_int_eq(gmm_frames_init(f, gmm_frames_bytes(1000) - 1, 1000), -GMM_FRAMES_EINVAL);
	ck_assert_int_eq(gmm_frames_init(f, gmm_frames_bytes(1000), 0), -GMM_FRAMES_EINVAL);
	ck_assert_int_eq(gmm_frames_init(f, SIZE_MAX, GMM_FRAMES_MAX + 1), -GMM_FRAMES_EINVAL);
	ck_assert_int_eq(gmm_frames_init(f, gmm_frames_bytes(1000), 1000), 0);
	free(f);
}
END_TEST

START_TEST(metadata_stays_below_2_in_10000)
{
	for (uint64_t n = 262144; n <= GMM_FRAMES_MAX; n = n * 2 + 77)
		ck_assert_uint_le(gmm_frames_bytes(n), n * 4096 / 5000);
}
END_TEST

/* Every size near the edges of words and areas: each frame is handed out once. */
START_TEST(every_frame_is_handed_out_once)
{
	static const uint64_t sizes[] = {1,   63,  64,	65,   256,  511,	 512,
					 513, 575, 576, 1024, 1025, 65 * 512 + 3};

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct gmm_frames *f = make_frames(sizes[s]);
		uint8_t *seen = calloc(sizes[s], 1);
		uint64_t frame;

		ck_assert_uint_eq(gmm_frames_n_free(f), sizes[s]);
		ck_assert_uint_eq(gmm_frames_n_free_huge(f), sizes[s] / 512);
		for (uint64_t i = 0; i < sizes[s]; i++) {
			ck_assert_int_eq(gmm_frames_get(f, 0, 1, &frame), 0);
			ck_assert_uint_lt(frame, sizes[s]);
			ck_assert(!seen[frame]);
			seen[frame] = 1;
			ck_assert(!gmm_frames_is_free(f, frame));
		}
		ck_assert_int_eq(gmm_frames_get(f, 0, 1, &frame), -GMM_FRAMES_ENOMEM);
		ck_assert_uint_eq(gmm_frames_n_free(f), 0);
		for (uint64_t i = 0; i < sizes[s]; i++)
			ck_assert_int_eq(gmm_frames_put(f, 0, 1, &i), 0);
		ck_assert_uint_eq(gmm_frames_n_free(f), sizes[s]);
		ck_assert_uint_eq(gmm_frames_n_free_huge(f), sizes[s] / 512);
		free(seen);
		free(f);
	}
}
END_TEST

START_TEST(batches_are_ascending_and_contiguous)
{
	struct gmm_frames *f = make_frames(4096);
	uint64_t frames[512];

	for (unsigned n = 1; n <= 512; n++) {
		ck_assert_int_eq(gmm_frames_get(f, 0, n, frames), 0);
		for (unsigned i = 1; i < n; i++)
			ck_assert_uint_gt(frames[i], frames[i - 1]);
		ck_assert_uint_eq(gmm_frames_n_free(f), 4096 - n);
		ck_assert_uint_eq(count_free(f), 4096 - n);
		ck_assert_int_eq(gmm_frames_put(f, 0, n, frames), 0);
		ck_assert_uint_eq(count_free(f), 4096);
	}
	ck_assert_int_eq(gmm_frames_get(f, 1, 300, frames), 0);
	ck_assert_uint_eq(frames[299] - frames[0], 299);
	free(f);
}
END_TEST

START_TEST(batches_are_all_or_nothing)
{
	struct gmm_frames *f = make_frames(700);
	uint64_t frames[512];

	ck_assert_int_eq(gmm_frames_get(f, 0, 0, frames), -GMM_FRAMES_EINVAL);
	ck_assert_int_eq(gmm_frames_get(f, 0, 513, frames), -GMM_FRAMES_EINVAL);
	ck_assert_int_eq(gmm_frames_get(f, 0, 300, frames), 0);
	ck_assert_int_eq(gmm_frames_get(f, 1, 401, frames), -GMM_FRAMES_ENOMEM);
	ck_assert_uint_eq(gmm_frames_n_free(f), 400);
	ck_assert_uint_eq(count_free(f), 400);
	ck_assert_int_eq(gmm_frames_get(f, 2, 400, frames), 0);
	ck_assert_uint_eq(count_free(f), 0);
	free(f);
}
END_TEST

START_TEST(bad_puts_change_nothing)
{
	struct gmm_frames *f = make_frames(2000);
	uint64_t frames[64], bad[64], outside = 2000, far = UINT64_MAX;

	ck_assert_int_eq(gmm_frames_get(f, 0, 64, frames), 0);
	ck_assert_int_eq(gmm_frames_put(f, 0, 0, frames), -GMM_FRAMES_EINVAL);
	ck_assert_int_eq(gmm_frames_put(f, 0, 513, frames), -GMM_FRAMES_EINVAL);
	ck_assert_int_eq(gmm_frames_put(f, 0, 1, &outside), -GMM_FRAMES_ERANGE);
	ck_assert_int_eq(gmm_frames_put(f, 0, 1, &far), -GMM_FRAMES_ERANGE);
	memcpy(bad, frames, sizeof(bad));
	bad[63] = 2000;
	ck_assert_int_eq(gmm_frames_put(f, 0, 64, bad), -GMM_FRAMES_ERANGE);
	bad[63] = 1999; /* free */
	ck_assert_int_eq(gmm_frames_put(f, 0, 64, bad), -GMM_FRAMES_EALREADY);
	bad[63] = bad[62];
	ck_assert_int_eq(gmm_frames_put(f, 0, 64, bad), -GMM_FRAMES_EALREADY);
	ck_assert_uint_eq(gmm_frames_n_free(f), 2000 - 64);
	ck_assert_uint_eq(count_free(f), 2000 - 64);
	ck_assert_int_eq(gmm_frames_put(f, 0, 64, frames), 0);
	ck_assert_int_eq(gmm_frames_put(f, 0, 1, frames), -GMM_FRAMES_EALREADY);
	ck_assert_int_eq(gmm_frames_put(f, 0, 64, frames), -GMM_FRAMES_EALREADY);
	ck_assert_uint_eq(gmm_frames_n_free(f), 2000);
	ck_assert_uint_eq(count_free(f), 2000);
	free(f);
}
END_TEST

START_TEST(a_frame_named_twice_is_returned_once)
{
	struct gmm_frames *f = make_frames(2000);
	uint64_t frames[3], twice[3];

	ck_assert_int_eq(gmm_frames_claim(f, 0, 2000), 0);
	frames[0] = 5, frames[1] = 900, frames[2] = 5;
	memcpy(twice, frames, sizeof(twice));
	ck_assert_int_eq(gmm_frames_put(f, 0, 3, twice), -GMM_FRAMES_EALREADY);
	ck_assert_uint_eq(gmm_frames_n_free(f), count_free(f));
	free(f);
}
END_TEST

START_TEST(huge_frames)
{
	struct gmm_frames *f = make_frames(4 * 512 + 100);
	uint64_t first[4], frame, none;

	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(gmm_frames_get_huge(f, 0, &first[i]), 0);
		ck_assert_uint_eq(first[i] % 512, 0);
		for (int j = 0; j < i; j++)
			ck_assert_uint_ne(first[i], first[j]);
	}
	ck_assert_int_eq(gmm_frames_get_huge(f, 0, &none), -GMM_FRAMES_ENOMEM);
	ck_assert_uint_eq(gmm_frames_n_free(f), 100);
	ck_assert_int_eq(gmm_frames_put_huge(f, 0, 4 * 512), -GMM_FRAMES_ERANGE);
	ck_assert_int_eq(gmm_frames_put_huge(f, 0, 1), -GMM_FRAMES_ERANGE);
	ck_assert_int_eq(gmm_frames_put_huge(f, 0, first[2]), 0);
	ck_assert_int_eq(gmm_frames_put_huge(f, 0, first[2]), -GMM_FRAMES_EALREADY);
	ck_assert_uint_eq(gmm_frames_n_free_huge(f), 1);
	frame = first[1] + 77;
	ck_assert_int_eq(gmm_frames_put(f, 0, 1, &frame), 0); /* a huge frame may be split */
	ck_assert_int_eq(gmm_frames_put_huge(f, 0, first[1]), -GMM_FRAMES_EALREADY);
	ck_assert_uint_eq(gmm_frames_n_free(f), 613);
	ck_assert_uint_eq(count_free(f), 613);
	free(f);
}
END_TEST

START_TEST(orders_are_aligned_and_cost_no_huge_frame)
{
	struct gmm_frames *f = make_frames(64 * 512);
	uint64_t first[10], frame;

	ck_assert_int_eq(gmm_frames_get(f, 0, 1, &frame), 0);
	for (unsigned order = 0; order < 9; order++) {
		ck_assert_int_eq(gmm_frames_get_order(f, 0, order, &first[order]), 0);
		ck_assert_uint_eq(first[order] % (1u << order), 0);
		for (uint64_t i = 0; i < 1u << order; i++)
			ck_assert(!gmm_frames_is_free(f, first[order] + i));
	}
	ck_assert_uint_eq(gmm_frames_n_free(f), 64 * 512 - 512);
	ck_assert_uint_eq(count_free(f), 64 * 512 - 512);
	ck_assert_uint_eq(gmm_frames_n_free_huge(f), 63); /* 1 + 1 + 2 + ... + 256 fit into one */
	ck_assert_int_eq(gmm_frames_get_order_as(f, 3, GMM_FRAMES_SLOT, 9, &first[9]), 0);
	ck_assert_int_eq(gmm_frames_class(f, first[9] + 511), GMM_FRAMES_SLOT);
	ck_assert_int_eq(gmm_frames_get_order(f, 0, 10, &frame), -GMM_FRAMES_EINVAL);
	ck_assert_int_eq(gmm_frames_get_order_as(f, 0, 4, 3, &frame), -GMM_FRAMES_EINVAL);
	for (unsigned order = 0; order < 9; order++)
		ck_assert_int_eq(gmm_frames_put_run(f, 0, first[order], 1u << order), 0);
	ck_assert_int_eq(gmm_frames_put_run_as(f, 3, GMM_FRAMES_SLOT, first[9], 512), 0);
	ck_assert_uint_eq(count_free(f), 64 * 512 - 1);
	free(f);
}
END_TEST

START_TEST(orders_are_found_wherever_they_are)
{
	for (unsigned order = 0; order < 9; order++) {
		struct gmm_frames *f = make_frames(30 * 512 + 77);
		uint64_t at = (29 * 512 + 256) & ~((UINT64_C(1) << order) - 1), first;

		ck_assert_int_eq(gmm_frames_claim(f, 0, 30 * 512 + 77), 0);
		ck_assert_int_eq(gmm_frames_put_run(f, 1, at - (1u << order) + 1,
						    (1u << order) - 1 + (1u << order)),
				 0);
		ck_assert_int_eq(gmm_frames_get_order(f, 0, order, &first), 0);
		ck_assert_uint_eq(first, at);
		if (order)
			ck_assert_int_eq(gmm_frames_get_order(f, 0, order, &first),
					 -GMM_FRAMES_ENOMEM);
		ck_assert_uint_eq(gmm_frames_n_free(f), (1u << order) - 1);
		free(f);
	}
}
END_TEST

START_TEST(bad_runs_change_nothing)
{
	struct gmm_frames *f = make_frames(5000);
	uint64_t n_free = 5000 - 3000;

	ck_assert_int_eq(gmm_frames_claim_as(f, GMM_FRAMES_KERNEL, 100, 2000), 0);
	ck_assert_int_eq(gmm_frames_claim(f, 2100, 1000), 0);
	ck_assert_int_eq(gmm_frames_put_run(f, 0, 5000, 1), -GMM_FRAMES_ERANGE);
	ck_assert_int_eq(gmm_frames_put_run(f, 0, 4000, UINT64_MAX), -GMM_FRAMES_ERANGE);
	ck_assert_int_eq(gmm_frames_put_run(f, 0, 200, 0), -GMM_FRAMES_ERANGE);
	ck_assert_int_eq(gmm_frames_put_run(f, 0, 99, 100), -GMM_FRAMES_EALREADY);
	ck_assert_int_eq(gmm_frames_put_run(f, 0, 3000, 101), -GMM_FRAMES_EALREADY);
	ck_assert_int_eq(gmm_frames_put_run(f, 0, 2000, 1100), -GMM_FRAMES_EPERM);
	ck_assert_int_eq(gmm_frames_put_run_as(f, 0, 4, 100, 1), -GMM_FRAMES_EINVAL);
	ck_assert_uint_eq(gmm_frames_n_free(f), n_free);
	ck_assert_uint_eq(count_free(f), n_free);
	ck_assert_int_eq(gmm_frames_put_run(f, 0, 2100, 1000), 0);
	ck_assert_int_eq(gmm_frames_put_run_as(f, 0, GMM_FRAMES_KERNEL, 100, 2000), 0);
	ck_assert_uint_eq(count_free(f), 5000);
	ck_assert_uint_eq(gmm_frames_n_free(f), 5000);
	ck_assert_uint_eq(gmm_frames_n_free_huge(f), 9);
	ck_assert_uint_eq(gmm_frames_n_held(f, GMM_FRAMES_KERNEL), 0);
	free(f);
}
END_TEST

START_TEST(claims)
{
	struct gmm_frames *f = make_frames(10000);
	uint64_t frame;

	ck_assert_int_eq(gmm_frames_claim(f, 0, 0), -GMM_FRAMES_ERANGE);
	ck_assert_int_eq(gmm_frames_claim(f, 9999, 2), -GMM_FRAMES_ERANGE);
	ck_assert_int_eq(gmm_frames_claim(f, UINT64_MAX, 2), -GMM_FRAMES_ERANGE);
	ck_assert_int_eq(gmm_frames_claim(f, 5, UINT64_MAX), -GMM_FRAMES_ERANGE);
	ck_assert_int_eq(gmm_frames_claim(f, 100, 3000), 0);
	ck_assert_uint_eq(gmm_frames_n_free(f), 7000);
	ck_assert_uint_eq(count_free(f), 7000);
	for (uint64_t i = 0; i < 10000; i++)
		ck_assert_int_eq(gmm_frames_is_free(f, i), i < 100 || i >= 3100);
	ck_assert_int_eq(gmm_frames_claim(f, 0, 101), -GMM_FRAMES_EBUSY);
	ck_assert_int_eq(gmm_frames_claim(f, 3099, 4000), -GMM_FRAMES_EBUSY);
	ck_assert_int_eq(gmm_frames_claim(f, 10, 9000), -GMM_FRAMES_EBUSY);
	ck_assert_uint_eq(gmm_frames_n_free(f), 7000);
	ck_assert_uint_eq(count_free(f), 7000);
	/* areas 0 to 6 are touched by it, the last is not whole */
	ck_assert_uint_eq(gmm_frames_n_free_huge(f), 10000 / 512 - 7);
	for (int i = 0; i < 7000; i++) {
		ck_assert_int_eq(gmm_frames_get(f, 3, 1, &frame), 0);
		ck_assert(frame < 100 || frame >= 3100);
	}
	free(f);
}
END_TEST

/* What one caller leaves free in its area is not hidden from another. */
START_TEST(nothing_stays_hidden)
{
	struct gmm_frames *f = make_frames(2 * 512);
	uint64_t frames[512], frame;

	ck_assert_int_eq(gmm_frames_get(f, 0, 1, &frame), 0);
	ck_assert_int_eq(gmm_frames_get(f, 1, 1, &frame), 0);
	ck_assert_int_eq(gmm_frames_get(f, 2, 512, frames), 0);
	ck_assert_int_eq(gmm_frames_get(f, 2, 510, frames), 0);
	ck_assert_int_eq(gmm_frames_get(f, 2, 1, frames), -GMM_FRAMES_ENOMEM);
	free(f);
}
END_TEST

/* Callers that do not run short take from areas of their own. */
START_TEST(callers_stay_apart)
{
	struct gmm_frames *f = make_frames(64 * 512);
	uint64_t frames[4][100];

	for (unsigned i = 0; i < 100; i++)
		for (unsigned c = 0; c < 4; c++)
			ck_assert_int_eq(gmm_frames_get(f, c, 1, &frames[c][i]), 0);
	for (unsigned c = 0; c < 4; c++) {
		for (unsigned i = 1; i < 100; i++)
			ck_assert_uint_eq(frames[c][i] / 512, frames[c][0] / 512);
		for (unsigned d = 0; d < c; d++)
			ck_assert_uint_ne(frames[c][0] / 512, frames[d][0] / 512);
	}
	free(f);
}
END_TEST

/* While there is room each has a quarter of all areas to itself. */
START_TEST(callers_have_homes)
{
	struct gmm_frames *f = make_frames(64 * 512);
	uint64_t frame;

	for (unsigned c = 0; c < 4; c++) {
		ck_assert_int_eq(gmm_frames_get(f, c, 1, &frame), 0);
		ck_assert_int_eq(gmm_frames_put(f, c, 1, &frame), 0);
	}
	for (unsigned i = 0; i < 8 * 512; i++)
		for (unsigned c = 0; c < 4; c++) {
			static const uint64_t quarter[] = {0, 2, 1, 3};

			ck_assert_int_eq(gmm_frames_get(f, c, 1, &frame), 0);
			if (i >= 512) /* the first area may be one from before the others came */
				ck_assert_uint_eq(frame / (16 * 512), quarter[c]);
		}
	/* and takes from others' where his own is full */
	for (unsigned i = 0; i < 32 * 512; i++)
		ck_assert_int_eq(gmm_frames_get(f, 0, 1, &frame), 0);
	ck_assert_int_eq(gmm_frames_get(f, 0, 1, &frame), -GMM_FRAMES_ENOMEM);
	free(f);
}
END_TEST

/* Partly used areas are filled before a free one is broken. */
START_TEST(free_areas_are_kept_whole)
{
	struct gmm_frames *f = make_frames(64 * 512);
	uint64_t frame;

	for (uint64_t a = 10; a < 20; a++)
		ck_assert_int_eq(gmm_frames_claim(f, a * 512, 300), 0);
	ck_assert_uint_eq(gmm_frames_n_free_huge(f), 54);
	/* caller 1 looks in its own half first, and finds none there: it may break one there, a
	 * 32nd, before it looks elsewhere */
	for (unsigned i = 0; i < 10 * 212; i++)
		ck_assert_int_eq(gmm_frames_get(f, i % 2, 1, &frame), 0);
	ck_assert_uint_ge(gmm_frames_n_free_huge(f), 53);
	free(f);
}
END_TEST

/* Where another comes and goes just now is no place to take frames while there are free areas. */
START_TEST(callers_do_not_follow_each_other)
{
	struct gmm_frames *f = make_frames(64 * 512);
	uint64_t frames[1024], mine;

	for (unsigned i = 0; i < 1024; i++)
		ck_assert_int_eq(gmm_frames_get(f, 0, 1, &frames[i]), 0);
	for (unsigned i = 0; i < 300; i++)
		ck_assert_int_eq(gmm_frames_put(f, 0, 1, &frames[i]), 0);
	for (unsigned i = 0; i < 3 * 512; i++) {
		ck_assert_int_eq(gmm_frames_get(f, 1, 1, &mine), 0);
		ck_assert_uint_ge(mine, 32 * 512);
	}
	free(f);
}
END_TEST

static void check_held(struct gmm_frames *f, uint64_t guest, uint64_t host, uint64_t kernel,
		       uint64_t slot)
{
	ck_assert_uint_eq(gmm_frames_n_held(f, GMM_FRAMES_GUEST), guest);
	ck_assert_uint_eq(gmm_frames_n_held(f, GMM_FRAMES_HOST), host);
	ck_assert_uint_eq(gmm_frames_n_held(f, GMM_FRAMES_KERNEL), kernel);
	ck_assert_uint_eq(gmm_frames_n_held(f, GMM_FRAMES_SLOT), slot);
}

START_TEST(classes_say_who_holds_a_frame)
{
	struct gmm_frames *f = make_frames(3000);
	uint64_t guest[3], host[100], slot, huge;

	ck_assert_int_eq(gmm_frames_class(f, 7), -GMM_FRAMES_ENOENT);
	ck_assert_int_eq(gmm_frames_class(f, 3000), -GMM_FRAMES_ERANGE);
	ck_assert_int_eq(gmm_frames_class(f, UINT64_MAX), -GMM_FRAMES_ERANGE);
	ck_assert_int_eq(gmm_frames_claim_as(f, GMM_FRAMES_KERNEL, 50, 100), 0);
	ck_assert_int_eq(gmm_frames_get(f, 0, 3, guest), 0);
	ck_assert_int_eq(gmm_frames_get_as(f, 1, GMM_FRAMES_HOST, 100, host), 0);
	ck_assert_int_eq(gmm_frames_get_as(f, 0, GMM_FRAMES_SLOT, 1, &slot), 0);
	ck_assert_int_eq(gmm_frames_get_huge_as(f, GMM_FRAMES_ANYONE, GMM_FRAMES_HOST, &huge), 0);
	check_held(f, 3, 612, 100, 1);
	for (uint64_t i = 50; i < 150; i++)
		ck_assert_int_eq(gmm_frames_class(f, i), GMM_FRAMES_KERNEL);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(gmm_frames_class(f, host[i]), GMM_FRAMES_HOST);
	for (uint64_t i = huge; i < huge + 512; i++)
		ck_assert_int_eq(gmm_frames_class(f, i), GMM_FRAMES_HOST);
	ck_assert_int_eq(gmm_frames_class(f, guest[1]), GMM_FRAMES_GUEST);
	ck_assert_int_eq(gmm_frames_class(f, slot), GMM_FRAMES_SLOT);
	ck_assert_int_eq(gmm_frames_put_as(f, 0, GMM_FRAMES_HOST, 100, host), 0);
	ck_assert_int_eq(gmm_frames_put_as(f, 2, GMM_FRAMES_SLOT, 1, &slot), 0);
	ck_assert_int_eq(gmm_frames_put_huge_as(f, 0, GMM_FRAMES_HOST, huge), 0);
	check_held(f, 3, 0, 100, 0);
	/* whoever gets them next holds them as what he says */
	for (int i = 0; i < 2897; i++) {
		ck_assert_int_eq(gmm_frames_get(f, 0, 1, &slot), 0);
		ck_assert_int_eq(gmm_frames_class(f, slot), GMM_FRAMES_GUEST);
	}
	check_held(f, 2900, 0, 100, 0);
	free(f);
}
END_TEST

/* A frame goes back as what it was got as: one that was returned and then taken by somebody else
 * is not freed by a second return. */
START_TEST(puts_by_another_class_change_nothing)
{
	struct gmm_frames *f = make_frames(2000);
	uint64_t a[128], huge, x;

	ck_assert_int_eq(gmm_frames_get_as(f, 0, GMM_FRAMES_HOST, 128, a), 0);
	ck_assert_int_eq(gmm_frames_get_huge_as(f, 0, GMM_FRAMES_SLOT, &huge), 0);
	for (unsigned n = 1; n <= 128; n += 127 / 2)
		ck_assert_int_eq(gmm_frames_put(f, 0, n, a), -GMM_FRAMES_EPERM);
	ck_assert_int_eq(gmm_frames_put_as(f, 0, GMM_FRAMES_KERNEL, 128, a), -GMM_FRAMES_EPERM);
	ck_assert_int_eq(gmm_frames_put_as(f, 0, GMM_FRAMES_SLOT, 1, a), -GMM_FRAMES_EPERM);
	ck_assert_int_eq(gmm_frames_put_huge(f, 0, huge), -GMM_FRAMES_EPERM);
	ck_assert_int_eq(gmm_frames_put_huge_as(f, 0, GMM_FRAMES_HOST, huge), -GMM_FRAMES_EPERM);
	check_held(f, 0, 128, 0, 512);
	ck_assert_uint_eq(count_free(f), 2000 - 640);
	ck_assert_int_eq(gmm_frames_put_as(f, 0, GMM_FRAMES_HOST, 1, &a[7]), 0);
	x = a[7];
	ck_assert_int_eq(gmm_frames_put_as(f, 0, GMM_FRAMES_HOST, 1, &x), -GMM_FRAMES_EALREADY);
	a[7] = a[6];
	ck_assert_int_eq(gmm_frames_put_as(f, 0, GMM_FRAMES_HOST, 128, a), -GMM_FRAMES_EALREADY);
	check_held(f, 0, 127, 0, 512);
	free(f);
}
END_TEST

START_TEST(classes_that_do_not_exist_are_refused)
{
	struct gmm_frames *f = make_frames(2000);
	uint64_t x = 3, first = 512;

	ck_assert_int_eq(gmm_frames_get_as(f, 0, 4, 1, &x), -GMM_FRAMES_EINVAL);
	ck_assert_int_eq(gmm_frames_get_huge_as(f, 0, 4, &first), -GMM_FRAMES_EINVAL);
	ck_assert_int_eq(gmm_frames_claim_as(f, 4, 0, 1), -GMM_FRAMES_EINVAL);
	ck_assert_uint_eq(count_free(f), 2000);
	ck_assert_int_eq(gmm_frames_claim(f, 0, 2000), 0);
	ck_assert_int_eq(gmm_frames_put_as(f, 0, 4, 1, &x), -GMM_FRAMES_EINVAL);
	ck_assert_int_eq(gmm_frames_put_huge_as(f, 0, 4, first), -GMM_FRAMES_EINVAL);
	ck_assert_int_eq(gmm_frames_pass(f, 0, 0, 4, 1, &x), -GMM_FRAMES_EINVAL);
	ck_assert_int_eq(gmm_frames_pass(f, 0, 4, 0, 1, &x), -GMM_FRAMES_EINVAL);
	ck_assert_uint_eq(gmm_frames_n_held(f, 4), 0);
	check_held(f, 2000, 0, 0, 0);
	free(f);
}
END_TEST

START_TEST(frames_are_passed_from_class_to_class)
{
	struct gmm_frames *f = make_frames(2000);
	uint64_t a[200], x;

	ck_assert_int_eq(gmm_frames_get(f, 0, 200, a), 0);
	ck_assert_int_eq(gmm_frames_pass(f, 0, GMM_FRAMES_GUEST, GMM_FRAMES_KERNEL, 70, a), 0);
	ck_assert_int_eq(gmm_frames_pass(f, 1, GMM_FRAMES_KERNEL, GMM_FRAMES_SLOT, 10, a), 0);
	check_held(f, 130, 0, 60, 10);
	ck_assert_int_eq(gmm_frames_pass(f, 0, GMM_FRAMES_KERNEL, GMM_FRAMES_HOST, 70, a),
			 -GMM_FRAMES_EPERM);
	x = a[199] + 1;
	ck_assert_int_eq(gmm_frames_pass(f, 0, 0, 1, 1, &x), -GMM_FRAMES_EALREADY);
	x = 2000;
	ck_assert_int_eq(gmm_frames_pass(f, 0, 0, 1, 1, &x), -GMM_FRAMES_ERANGE);
	check_held(f, 130, 0, 60, 10);
	ck_assert_int_eq(gmm_frames_class(f, a[9]), GMM_FRAMES_SLOT);
	ck_assert_int_eq(gmm_frames_class(f, a[10]), GMM_FRAMES_KERNEL);
	ck_assert_int_eq(gmm_frames_class(f, a[70]), GMM_FRAMES_GUEST);
	free(f);
}
END_TEST

/* The block has no pointers in it: a copy elsewhere goes on where the first stood. */
START_TEST(the_block_may_be_moved)
{
	struct gmm_frames *f = make_frames(5000), *g = malloc(gmm_frames_bytes(5000));
	uint64_t frames[100];

	ck_assert_int_eq(gmm_frames_get(f, 0, 100, frames), 0);
	memcpy(g, f, gmm_frames_bytes(5000));
	memset(f, 0xff, gmm_frames_bytes(5000));
	ck_assert_uint_eq(gmm_frames_n_free(g), 4900);
	ck_assert_int_eq(gmm_frames_put(g, 0, 100, frames), 0);
	ck_assert_uint_eq(count_free(g), 5000);
	free(f);
	free(g);
}
END_TEST

UNIT_MAIN("frames", init_refuses_what_does_not_fit, metadata_stays_below_2_in_10000,
	  every_frame_is_handed_out_once, batches_are_ascending_and_contiguous,
	  batches_are_all_or_nothing, bad_puts_change_nothing, a_frame_named_twice_is_returned_once,
	  huge_frames, orders_are_aligned_and_cost_no_huge_frame,
	  orders_are_found_wherever_they_are, bad_runs_change_nothing, claims, nothing_stays_hidden,
	  callers_stay_apart, callers_have_homes, free_areas_are_kept_whole,
	  callers_do_not_follow_each_other, classes_say_who_holds_a_frame,
	  puts_by_another_class_change_nothing, classes_that_do_not_exist_are_refused,
	  frames_are_passed_from_class_to_class, the_block_may_be_moved)
