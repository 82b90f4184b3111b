/* The memory stores: ram and same. */
#include <errno.h>

#include "store/ram.h"
#include "store_help.h"

static struct gmm_store *ram_of(uint64_t bytes, enum gmm_store_codec codec)
{
	struct gmm_store_ram_config config = {
		.size = sizeof(config), .codec = codec, .capacity_bytes = bytes};
	struct gmm_store *st = NULL;

	ck_assert_int_eq(gmm_store_ram_new(&config, &st), 0);
	return st;
}

static struct gmm_store *ram(uint64_t bytes)
{
	return ram_of(bytes, GMM_STORE_LZ4);
}

static void check_text(enum gmm_store_codec codec)
{
	struct gmm_store *st = ram_of(8 << 20, codec);
	unsigned char *out = help_pages(256), *in = help_pages(256);
	uint64_t slots[256];
	int results[256];

	for (unsigned i = 0; i < 256; i++)
		help_fill_text(out + i * GMM_PAGE_BYTES, i);
	ck_assert_uint_eq(help_write(st, out, 256, slots, NULL), 0);
	ck_assert_uint_lt(help_stats(st).held_bytes, 256 * GMM_PAGE_BYTES * 6 / 10);
	help_read(st, in, 256, slots, results);
	ck_assert_int_eq(memcmp(in, out, 256 * GMM_PAGE_BYTES), 0);
	st->ops->release(st, slots, 256);
	st->ops->release(st, slots, 256);
	ck_assert_uint_eq(help_stats(st).n_slots_used, 0);
	while (st->ops->maintain(st) == -EAGAIN)
		;
	ck_assert_uint_eq(help_stats(st).held_bytes, 0);
	gmm_store_free(st);
	free(in);
	free(out);
}

START_TEST(text_is_kept_compressed)
{
	check_text(GMM_STORE_LZ4);
}
END_TEST

START_TEST(text_is_kept_compressed_by_zstd)
{
	check_text(GMM_STORE_ZSTD);
}
END_TEST

/* Bytes of few kinds, in no order: entropy coding makes them smaller, repetition does not. */
START_TEST(zstd_is_smaller)
{
	struct gmm_store *lz4 = ram(4 << 20), *zstd = ram_of(4 << 20, GMM_STORE_ZSTD);
	unsigned char *page = help_pages(1);
	int error = 0;
	uint64_t slot;

	help_fill_noise(page, 1);
	for (unsigned i = 0; i < GMM_PAGE_BYTES; i++)
		page[i] &= 0x13;
	ck_assert_uint_eq(help_write(zstd, page, 1, &slot, NULL), 0);
	ck_assert_uint_lt(help_stats(zstd).written_bytes, GMM_PAGE_BYTES / 2);
	if (help_write(lz4, page, 1, &slot, &error) == 0)
		ck_assert_uint_lt(help_stats(zstd).written_bytes, help_stats(lz4).written_bytes);
	gmm_store_free(lz4);
	gmm_store_free(zstd);
	free(page);
}
END_TEST

/* Every bit of what is kept of a page, one after the other. */
static void check_bit_flips(enum gmm_store_codec codec)
{
	struct gmm_store *st = ram_of(1 << 20, codec);
	unsigned char *page = help_pages(1), *in = help_pages(1);
	struct span_object object;
	unsigned char *at;
	uint64_t slot, n = 0;
	int result;

	help_fill_text(page, 5);
	ck_assert_uint_eq(help_write(st, page, 1, &slot, NULL), 0);
	ck_assert(spans_get(&((struct ram *)st)->spans, slot, &object));
	at = (unsigned char *)object.contents;
	for (unsigned bit = 0; bit < object.bytes * 8; bit += codec == GMM_STORE_LZ4 ? 1 : 7) {
		at[bit / 8] ^= (unsigned char)(1 << bit % 8);
		help_read(st, in, 1, &slot, &result);
		at[bit / 8] ^= (unsigned char)(1 << bit % 8);
		/* Two packed forms of one page are no error. */
		if (result || memcmp(in, page, GMM_PAGE_BYTES) != 0)
			ck_assert_int_eq(result, -EBADMSG);
		n += result != 0;
	}
	ck_assert_uint_gt(n, 1000);
	ck_assert_uint_eq(help_stats(st).errors, n);
	help_read(st, in, 1, &slot, &result);
	ck_assert_int_eq(result, 0);
	ck_assert_int_eq(memcmp(in, page, GMM_PAGE_BYTES), 0);
	gmm_store_free(st);
	free(in);
	free(page);
}

START_TEST(a_changed_bit_is_noticed)
{
	check_bit_flips(GMM_STORE_LZ4);
}
END_TEST

START_TEST(a_changed_bit_is_noticed_with_zstd)
{
	check_bit_flips(GMM_STORE_ZSTD);
}
END_TEST

START_TEST(noise_is_refused)
{
	struct gmm_store *st = ram(1 << 20);
	unsigned char *page = help_pages(1);
	int error = 0;
	uint64_t slot;

	help_fill_noise(page, 1);
	ck_assert_uint_eq(help_write(st, page, 1, &slot, &error), 1);
	ck_assert_int_eq(error, -E2BIG);
	ck_assert_uint_eq(slot, GMM_SLOT_NONE);
	ck_assert_uint_eq(help_stats(st).held_bytes, 0);
	gmm_store_free(st);
	free(page);
}
END_TEST

START_TEST(a_full_ram_store_says_so)
{
	struct gmm_store *st = ram(1 << 20);
	unsigned char *pages = help_pages(600);
	static uint64_t slots[600];
	int error = 0;

	for (unsigned i = 0; i < 600; i++)
		help_fill_text(pages + i * GMM_PAGE_BYTES, i);
	ck_assert_uint_gt(help_write(st, pages, 600, slots, &error), 50);
	ck_assert_int_eq(error, -ENOSPC);
	ck_assert_uint_le(help_stats(st).held_bytes + help_stats(st).metadata_bytes, 1 << 20);
	gmm_store_free(st);
	free(pages);
}
END_TEST

START_TEST(one_word_pages_cost_nothing)
{
	struct gmm_store *st = NULL;
	uint32_t *out = help_pages(2), *in = help_pages(2);
	uint64_t slots[2];
	int results[2], error = 0;

	ck_assert_int_eq(gmm_store_same_new(&st), 0);
	for (unsigned i = 0; i < 2048; i++)
		out[i] = i < 1024 ? 0xdeadbeef : 7;
	ck_assert_uint_eq(help_write(st, out, 2, slots, NULL), 0);
	help_read(st, in, 2, slots, results);
	ck_assert_int_eq(memcmp(in, out, 2 * GMM_PAGE_BYTES), 0);
	ck_assert_uint_eq(help_stats(st).held_bytes, 0);
	for (unsigned at = 0; at < 1024; at += 341) {
		out[at] ^= 1u << (at % 32);
		ck_assert_uint_eq(help_write(st, out, 1, slots, &error), 1);
		ck_assert_int_eq(error, -E2BIG);
		out[at] ^= 1u << (at % 32);
	}
	gmm_store_free(st);
	free(in);
	free(out);
}
END_TEST

START_TEST(configurations_are_checked)
{
	struct gmm_store_ram_config config = {.size = sizeof(config)};
	const uint64_t wrong[] = {0, (1 << 20) - 1, (UINT64_C(64) << 30) + (1 << 20), UINT64_MAX};
	struct gmm_store *st = NULL;

	for (unsigned i = 0; i < 4; i++) {
		config.capacity_bytes = wrong[i];
		ck_assert_int_eq(gmm_store_ram_new(&config, &st), -EINVAL);
	}
	config.capacity_bytes = 1 << 20;
	config.codec = GMM_STORE_ZSTD + 1;
	ck_assert_int_eq(gmm_store_ram_new(&config, &st), -EINVAL);
	config.codec = GMM_STORE_LZ4;
	config.size--;
	ck_assert_int_eq(gmm_store_ram_new(&config, &st), -EINVAL);
	ck_assert_ptr_null(st);
}
END_TEST

UNIT_MAIN("store_ram", text_is_kept_compressed, text_is_kept_compressed_by_zstd, zstd_is_smaller,
	  a_changed_bit_is_noticed, a_changed_bit_is_noticed_with_zstd, noise_is_refused,
	  a_full_ram_store_says_so, one_word_pages_cost_nothing, configurations_are_checked)
