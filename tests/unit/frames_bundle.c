/* gmm_frames' bundles: batches that come back whole stay together, and hide nothing. */
#include "frames_help.h"

#define N_FRAMES (40 * 512u) /* one bundle, caller 0's */
#define STRIDE	 11u
#define N_FREE	 ((N_FRAMES + STRIDE - 1) / STRIDE)

/* Free frames are scattered; caller 0 has returned a batch of 64 of them as a bundle. */
static struct gmm_frames *make_tied(uint64_t *batch)
{
	struct gmm_frames *f = make_frames(N_FRAMES);

	ck_assert_int_eq(gmm_frames_claim(f, 0, N_FRAMES), 0);
	for (uint64_t x = 0; x < N_FRAMES; x += STRIDE)
		ck_assert_int_eq(gmm_frames_put(f, 1, 1, &x), 0);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(gmm_frames_get(f, 0, 64, batch), 0);
		ck_assert_int_eq(gmm_frames_put(f, 0, 64, batch), 0);
	}
	return f;
}

static const struct gmm_frames_bundle *bundle(struct gmm_frames *f)
{
	return gmm_fr_bundles(gmm_fr_of(f));
}

static unsigned state(struct gmm_frames *f)
{
	return gmm_fr_bundle_state(bundle(f)->state);
}

START_TEST(a_batch_that_comes_back_is_tied)
{
	uint64_t a[64], b[64];
	struct gmm_frames *f = make_tied(a);

	ck_assert_uint_eq(state(f), GMM_FR_IN);
	ck_assert_uint_eq(gmm_frames_n_free(f), N_FREE);
	ck_assert_uint_eq(count_free(f), N_FREE);
	for (int i = 0; i < 64; i++)
		ck_assert_int_eq(gmm_frames_class(f, a[i]), -GMM_FRAMES_ENOENT);
	ck_assert_int_eq(gmm_frames_get(f, 0, 64, b), 0);
	ck_assert_int_eq(memcmp(a, b, sizeof(a)), 0);
	ck_assert_uint_eq(state(f), GMM_FR_OUT);
	ck_assert_uint_eq(gmm_frames_n_free(f), N_FREE - 64);
	ck_assert_uint_eq(count_free(f), N_FREE - 64);
	ck_assert_int_eq(gmm_frames_class(f, a[9]), GMM_FRAMES_GUEST);
	free(f);
}
END_TEST

START_TEST(contiguous_batches_are_not_tied)
{
	struct gmm_frames *f = make_frames(N_FRAMES);
	uint64_t a[64];

	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(gmm_frames_get(f, 0, 64, a), 0);
		ck_assert_int_eq(gmm_frames_put(f, 0, 64, a), 0);
	}
	ck_assert_uint_eq(state(f), GMM_FR_LOOSE);
	ck_assert_uint_eq(gmm_frames_n_free_huge(f), 40);
	free(f);
}
END_TEST

START_TEST(a_frame_of_a_bundle_is_not_returned_twice)
{
	uint64_t a[64], b[3];
	struct gmm_frames *f = make_tied(a);

	ck_assert_int_eq(gmm_frames_put(f, 0, 64, a), -GMM_FRAMES_EALREADY);
	ck_assert_int_eq(gmm_frames_put(f, 1, 64, a), -GMM_FRAMES_EALREADY);
	ck_assert_int_eq(gmm_frames_put(f, 0, 1, &a[5]), -GMM_FRAMES_EALREADY);
	ck_assert_int_eq(gmm_frames_put(f, 2, 1, &a[5]), -GMM_FRAMES_EALREADY);
	ck_assert_int_eq(gmm_frames_put(f, GMM_FRAMES_ANYONE, 1, &a[5]), -GMM_FRAMES_EALREADY);
	ck_assert_int_eq(gmm_frames_pass(f, 0, GMM_FRAMES_GUEST, GMM_FRAMES_KERNEL, 2, a),
			 -GMM_FRAMES_EALREADY);
	b[0] = 1, b[1] = a[5], b[2] = 2; /* the outer ones are in use */
	ck_assert_int_eq(gmm_frames_put(f, 0, 3, b), -GMM_FRAMES_EALREADY);
	ck_assert_uint_eq(state(f), GMM_FR_IN);
	ck_assert_uint_eq(count_free(f), N_FREE);
	ck_assert_uint_eq(gmm_frames_n_free(f), N_FREE);
	free(f);
}
END_TEST

START_TEST(frames_of_a_bundle_may_part)
{
	uint64_t a[64];
	struct gmm_frames *f = make_tied(a);

	ck_assert_int_eq(gmm_frames_get(f, 0, 64, a), 0);
	ck_assert_int_eq(gmm_frames_put(f, 3, 1, &a[20]), 0);
	ck_assert_uint_eq(state(f), GMM_FR_LOOSE);
	ck_assert_int_eq(gmm_frames_put(f, 3, 1, &a[20]), -GMM_FRAMES_EALREADY);
	ck_assert_int_eq(gmm_frames_put(f, 0, 64, a), -GMM_FRAMES_EALREADY);
	ck_assert_int_eq(gmm_frames_pass(f, 0, GMM_FRAMES_GUEST, GMM_FRAMES_SLOT, 20, a), 0);
	ck_assert_int_eq(gmm_frames_put_as(f, 0, GMM_FRAMES_SLOT, 20, a), 0);
	ck_assert_int_eq(gmm_frames_put(f, 0, 43, a + 21), 0);
	ck_assert_uint_eq(count_free(f), N_FREE);
	ck_assert_uint_eq(gmm_frames_n_free(f), N_FREE);
	free(f);
}
END_TEST

/* By the caller's short path for one frame. */
START_TEST(a_frame_returned_alone_unties_the_bundle)
{
	uint64_t a[64];
	struct gmm_frames *f = make_tied(a);

	ck_assert_int_eq(gmm_frames_get(f, 0, 64, a), 0);
	ck_assert_int_eq(gmm_frames_put(f, 0, 1, &a[63]), 0);
	ck_assert_uint_eq(state(f), GMM_FR_LOOSE);
	ck_assert_int_eq(gmm_frames_put(f, 0, 64, a), -GMM_FRAMES_EALREADY);
	ck_assert_int_eq(gmm_frames_put(f, 0, 63, a), 0);
	ck_assert_uint_eq(count_free(f), N_FREE);
	free(f);
}
END_TEST

START_TEST(nothing_stays_hidden_in_a_bundle)
{
	uint64_t a[64], x;
	struct gmm_frames *f = make_tied(a);

	for (unsigned i = 0; i < N_FREE; i++)
		ck_assert_int_eq(gmm_frames_get(f, i % 2 ? GMM_FRAMES_ANYONE : 1, 1, &x), 0);
	ck_assert_int_eq(gmm_frames_get(f, 1, 1, &x), -GMM_FRAMES_ENOMEM);
	ck_assert_uint_eq(state(f), GMM_FR_LOOSE);
	ck_assert_uint_eq(count_free(f), 0);
	free(f);
}
END_TEST

START_TEST(orders_are_had_from_bundles)
{
	uint64_t a[64], x;
	struct gmm_frames *f = make_tied(a);

	for (unsigned i = 0; i < N_FREE; i++)
		ck_assert_int_eq(gmm_frames_get_order(f, 1, 0, &x), 0);
	ck_assert_int_eq(gmm_frames_get_order(f, 1, 0, &x), -GMM_FRAMES_ENOMEM);
	ck_assert_uint_eq(state(f), GMM_FR_LOOSE);
	ck_assert_uint_eq(gmm_frames_n_free(f), 0);
	free(f);
}
END_TEST

/* All is free, but 64 frames in a bundle's way. */
static struct gmm_frames *make_nearly_free(uint64_t *batch)
{
	struct gmm_frames *f = make_tied(batch);
	uint64_t used[512];

	for (uint64_t area = 0; area < N_FRAMES / 512; area++) {
		unsigned n = 0;

		for (uint64_t x = area * 512; x < area * 512 + 512; x++)
			if (x % STRIDE)
				used[n++] = x;
		ck_assert_int_eq(gmm_frames_put(f, 1, n, used), 0);
	}
	ck_assert_uint_eq(state(f), GMM_FR_IN);
	return f;
}

START_TEST(huge_frames_are_had_from_bundles)
{
	uint64_t a[64], first;
	struct gmm_frames *f = make_nearly_free(a);

	for (unsigned i = 0; i < N_FRAMES / 512; i++)
		ck_assert_int_eq(gmm_frames_get_huge(f, 1, &first), 0);
	ck_assert_uint_eq(gmm_frames_n_free(f), 0);
	free(f);
	f = make_nearly_free(a);
	ck_assert_uint_eq(gmm_frames_n_free_huge(f), N_FRAMES / 512);
	free(f);
	f = make_nearly_free(a);
	ck_assert_int_eq(gmm_frames_claim_as(f, GMM_FRAMES_HOST, 0, N_FRAMES), 0);
	ck_assert_int_eq(gmm_frames_put_huge(f, 0, 0), -GMM_FRAMES_EPERM);
	free(f);
}
END_TEST

/* A huge frame that holds frames of a bundle: free ones are not returned again, used ones are. */
START_TEST(huge_puts_heed_bundles)
{
	uint64_t a[64], first;
	struct gmm_frames *f = make_tied(a);
	uint64_t rest[512];
	unsigned n = 0;

	first = a[0] & ~UINT64_C(511);
	for (uint64_t x = first; x < first + 512; x++)
		if (x % STRIDE == 0 && (gmm_fr_words(gmm_fr_of(f))[x / 64] >> (x % 64) & 1) == 0)
			rest[n++] = x;
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(gmm_frames_claim(f, rest[i], 1), 0);
	ck_assert_uint_eq(state(f), GMM_FR_IN);
	ck_assert_int_eq(gmm_frames_put_huge(f, 0, first), -GMM_FRAMES_EALREADY);
	ck_assert_int_eq(gmm_frames_get(f, 0, 64, a), 0);
	ck_assert_int_eq(gmm_frames_put_huge(f, 0, first), 0);
	ck_assert_uint_eq(state(f), GMM_FR_LOOSE);
	ck_assert_uint_eq(gmm_frames_n_free(f), count_free(f));
	free(f);
}
END_TEST

START_TEST(a_bundle_is_given_up_for_another)
{
	uint64_t a[64], b[100];
	struct gmm_frames *f = make_tied(a);

	for (unsigned i = 0; i < GMM_FR_MISSES; i++) {
		ck_assert_uint_eq(state(f), GMM_FR_IN);
		ck_assert_int_eq(gmm_frames_get(f, 0, 100, b), 0);
		ck_assert_int_eq(gmm_frames_put(f, 0, 100, b), 0);
	}
	ck_assert_uint_eq(state(f), GMM_FR_LOOSE);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(gmm_frames_get(f, 0, 100, b), 0);
		ck_assert_int_eq(gmm_frames_put(f, 0, 100, b), 0);
	}
	ck_assert_uint_eq(state(f), GMM_FR_IN);
	ck_assert_uint_eq(gmm_fr_bundle_n(bundle(f)->state), 100);
	ck_assert_uint_eq(count_free(f), N_FREE);
	free(f);
}
END_TEST

/* One whose frames stay out makes way for the next batch that comes back whole. */
START_TEST(a_bundle_that_stays_out_is_left)
{
	uint64_t a[64], b[64];
	struct gmm_frames *f = make_tied(a);

	ck_assert_int_eq(gmm_frames_get(f, 0, 64, a), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(gmm_frames_get(f, 0, 64, b), 0);
		ck_assert_int_eq(gmm_frames_put(f, 0, 64, b), 0);
	}
	ck_assert_uint_eq(state(f), GMM_FR_IN);
	ck_assert_uint_eq(bundle(f)->names[0], b[0]);
	ck_assert_int_eq(gmm_frames_put(f, 0, 64, a), 0);
	ck_assert_int_eq(gmm_frames_put(f, 0, 64, a), -GMM_FRAMES_EALREADY);
	ck_assert_uint_eq(count_free(f), N_FREE);
	free(f);
}
END_TEST

UNIT_MAIN("bundles of frames", a_batch_that_comes_back_is_tied, contiguous_batches_are_not_tied,
	  a_frame_of_a_bundle_is_not_returned_twice, frames_of_a_bundle_may_part,
	  a_frame_returned_alone_unties_the_bundle, nothing_stays_hidden_in_a_bundle,
	  orders_are_had_from_bundles, huge_frames_are_had_from_bundles, huge_puts_heed_bundles,
	  a_bundle_is_given_up_for_another, a_bundle_that_stays_out_is_left)
