/* The store of pages that say one thing over and over: no byte is kept for them. */
#include <errno.h>

#include "store_help.h"

static struct gmm_store *store_of(void)
{
	struct gmm_store *st;

	ck_assert_int_eq(gmm_store_same_new(&st), 0);
	return st;
}

static int transfer(struct gmm_store *st, enum gmm_store_verb verb, uint64_t *slot, void *page)
{
	struct gmm_store_io io = {.verb = verb, .slot = *slot, .page = page}, *list = &io;

	ck_assert_int_eq(st->ops->submit(st, &list, 1), 0);
	help_wait(st, 1);
	*slot = io.slot;
	return io.result;
}

static void fill(void *page, uint32_t word)
{
	for (unsigned i = 0; i < GMM_PAGE_BYTES / 4; i++)
		((uint32_t *)page)[i] = word;
}

START_TEST(same_filled_pages_come_back)
{
	static const uint32_t words[] = {0, 1, UINT32_MAX, 0x01234567, 42, 42, 0};
	enum { N = sizeof(words) / sizeof(words[0]) };
	struct gmm_store *st = store_of();
	uint64_t slots[N];
	uint32_t *page = help_pages(1);

	for (unsigned i = 0; i < N; i++) {
		fill(page, words[i]);
		slots[i] = GMM_SLOT_NONE;
		ck_assert_int_eq(transfer(st, GMM_STORE_WRITE, &slots[i], page), 0);
		ck_assert_uint_ne(slots[i], GMM_SLOT_NONE);
	}
	ck_assert_uint_eq(help_stats(st).n_slots_used, N);
	ck_assert_uint_eq(help_stats(st).written_bytes, 0);
	for (unsigned i = N; i-- > 0;) {
		fill(page, 77);
		ck_assert_int_eq(transfer(st, GMM_STORE_READ, &slots[i], page), 0);
		for (unsigned k = 0; k < GMM_PAGE_BYTES / 4; k++)
			ck_assert_uint_eq(page[k], words[i]);
	}
	st->ops->release(st, slots, N);
	ck_assert_uint_eq(help_stats(st).n_slots_used, 0);
	gmm_store_free(st);
	free(page);
}
END_TEST

START_TEST(all_others_are_refused)
{
	static const unsigned at[] = {0, 1, 2047, 2048, 4088, 4095};
	struct gmm_store *st = store_of();
	unsigned char *page = help_pages(1);
	uint64_t slot;

	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		fill(page, 0x11111111);
		page[at[i]] ^= 0x80;
		slot = 0;
		ck_assert_int_eq(transfer(st, GMM_STORE_WRITE, &slot, page), -E2BIG);
		ck_assert_uint_eq(slot, GMM_SLOT_NONE);
	}
	ck_assert_uint_eq(help_stats(st).n_slots_used, 0);
	gmm_store_free(st);
	free(page);
}
END_TEST

START_TEST(slots_that_are_no_word_cannot_be_read)
{
	struct gmm_store *st = store_of();
	void *page = help_pages(1);
	struct gmm_store_io io = {.verb = GMM_STORE_READ, .page = page}, *list = &io;

	io.slot = GMM_SLOT_NONE;
	ck_assert_int_eq(st->ops->submit(st, &list, 1), -EINVAL);
	io.slot = UINT64_C(1) << 32;
	ck_assert_int_eq(st->ops->submit(st, &list, 1), -EINVAL);
	ck_assert_ptr_null(st->ops->reap(st));
	gmm_store_free(st);
	free(page);
}
END_TEST

UNIT_MAIN("store_same", same_filled_pages_come_back, all_others_are_refused,
	  slots_that_are_no_word_cannot_be_read)
