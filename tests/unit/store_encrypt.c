/* Encrypted file stores: what reaches the file, what comes back, where the key is. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/file.h"
#include "store_help.h"

#define N 600u

static struct gmm_store *make(struct gmm_store_file_config config)
{
	struct gmm_store *st = NULL;

	config.size = sizeof(config);
	config.capacity_bytes = 8 << 20;
	ck_assert_int_eq(gmm_store_file_new(&config, &st), 0);
	return st;
}

static struct gmm_store *encrypted(void)
{
	return make((struct gmm_store_file_config){.encrypt = true});
}

/* The file, opened again. */
static int file_fd(struct gmm_store *st)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", ((struct file_store *)st)->backing.fd);
	fd = open(path, O_RDWR);
	ck_assert_int_ge(fd, 0);
	return fd;
}

/* The slot that a page's name means. */
static uint64_t slot_of(struct gmm_store *st, uint64_t name)
{
	return sums_index(&((struct file_store *)st)->sums, name);
}

/* Words that are found wherever they lie. */
static const char secret[] = "nobody but the guest may read this; ";

static void fill_secret(unsigned char *page, unsigned seed)
{
	for (unsigned i = 0; i < GMM_PAGE_BYTES; i++)
		page[i] = (unsigned char)secret[(i + seed) % (sizeof(secret) - 1)];
}

/* How often eight bytes of it stand in the file. */
static unsigned n_found(struct gmm_store *st)
{
	static unsigned char page[GMM_PAGE_BYTES];
	unsigned n = 0;
	int fd = file_fd(st);

	while (read(fd, page, sizeof(page)) == (ssize_t)sizeof(page))
		for (unsigned i = 0; i + 8 < sizeof(secret); i++)
			n += memmem(page, sizeof(page), secret + i, 8) != NULL;
	close(fd);
	return n;
}

static void check_secret(struct gmm_store_file_config config)
{
	struct gmm_store *plain, *st;
	unsigned char *pages = help_pages(N), *in = help_pages(N);
	static uint64_t slots[N];
	static int results[N];

	for (unsigned i = 0; i < N; i++)
		fill_secret(pages + i * GMM_PAGE_BYTES, i);
	plain = make(config);
	config.encrypt = true;
	st = make(config);
	ck_assert_uint_eq(help_write(plain, pages, N, slots, NULL), 0);
	ck_assert_uint_ge(n_found(plain), N); /* it would be found */
	ck_assert_uint_eq(help_write(st, pages, N, slots, NULL), 0);
	ck_assert_uint_eq(n_found(st), 0);
	help_read(st, in, N, slots, results);
	for (unsigned i = 0; i < N; i++)
		ck_assert_int_eq(results[i], 0);
	ck_assert_int_eq(memcmp(in, pages, N * GMM_PAGE_BYTES), 0);
	ck_assert_uint_eq(help_stats(st).writes, help_stats(plain).writes);
	ck_assert_uint_ne(help_stats(st).flags & GMM_STORE_ENCRYPTED, 0);
	ck_assert_uint_eq(help_stats(plain).flags & GMM_STORE_ENCRYPTED, 0);
	gmm_store_free(plain);
	gmm_store_free(st);
	free(in);
	free(pages);
}

START_TEST(contents_do_not_reach_the_file)
{
	check_secret((struct gmm_store_file_config){0});
}
END_TEST

START_TEST(contents_do_not_reach_the_file_without_io_uring)
{
	check_secret((struct gmm_store_file_config){.no_uring = true});
}
END_TEST

START_TEST(contents_do_not_reach_the_file_through_the_page_cache)
{
	check_secret((struct gmm_store_file_config){.no_direct = true, .queue_depth = 1});
}
END_TEST

/* More at once than there are buffers for. */
START_TEST(many_pages_wait_their_turn)
{
	enum { MANY = 1900 };
	struct gmm_store *st = encrypted();
	unsigned char *pages = help_pages(MANY), *in = help_pages(MANY);
	static uint64_t slots[MANY];
	static int results[MANY];

	for (unsigned i = 0; i < MANY; i++)
		help_fill_noise(pages + i * GMM_PAGE_BYTES, i);
	ck_assert_uint_eq(help_write(st, pages, MANY, slots, NULL), 0);
	ck_assert_uint_le(((struct file_store *)st)->n_seals_made, FILE_SEALS);
	help_read(st, in, MANY, slots, results);
	ck_assert_int_eq(memcmp(in, pages, MANY * GMM_PAGE_BYTES), 0);
	gmm_store_free(st);
	free(in);
	free(pages);
}
END_TEST

static void exchange(int fd, uint64_t a, uint64_t b)
{
	static char pages[2][GMM_PAGE_BYTES];
	const size_t bytes = GMM_PAGE_BYTES;

	ck_assert_int_eq(pread(fd, pages[0], bytes, (off_t)(a * bytes)), (ssize_t)bytes);
	ck_assert_int_eq(pread(fd, pages[1], bytes, (off_t)(b * bytes)), (ssize_t)bytes);
	ck_assert_int_eq(pwrite(fd, pages[0], bytes, (off_t)(b * bytes)), (ssize_t)bytes);
	ck_assert_int_eq(pwrite(fd, pages[1], bytes, (off_t)(a * bytes)), (ssize_t)bytes);
}

START_TEST(what_was_changed_is_noticed)
{
	struct gmm_store *st = encrypted();
	unsigned char *pages = help_pages(8);
	unsigned char byte;
	uint64_t slots[8];
	int results[8], fd;
	off_t at;

	memset(pages, 7, 8 * GMM_PAGE_BYTES); /* the same content everywhere */
	ck_assert_uint_eq(help_write(st, pages, 8, slots, NULL), 0);
	fd = file_fd(st);
	at = (off_t)(slot_of(st, slots[1]) * GMM_PAGE_BYTES + 4095);
	ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	exchange(fd, slot_of(st, slots[4]),
		 slot_of(st, slots[6])); /* another slot's is not this one's */
	close(fd);
	help_read(st, pages, 8, slots, results);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(results[i], i == 1 || i == 4 || i == 6 ? -EBADMSG : 0);
	gmm_store_free(st);
	free(pages);
}
END_TEST

/* What was in the slot once before, written back by somebody. */
START_TEST(what_was_there_before_is_noticed)
{
	struct gmm_store *st = encrypted();
	unsigned char *page = help_pages(1);
	static char old[GMM_PAGE_BYTES];
	uint64_t slot, first;
	int result, fd = file_fd(st);

	help_fill_noise(page, 1);
	ck_assert_uint_eq(help_write(st, page, 1, &first, NULL), 0);
	ck_assert_int_eq(pread(fd, old, sizeof(old), (off_t)(slot_of(st, first) * GMM_PAGE_BYTES)),
			 (ssize_t)sizeof(old));
	do { /* until the slot comes up again */
		st->ops->release(st, &first, 1);
		help_fill_noise(page, 2);
		ck_assert_uint_eq(help_write(st, page, 1, &slot, NULL), 0);
		if (slot_of(st, slot) != slot_of(st, first))
			st->ops->release(st, &slot, 1);
	} while (slot_of(st, slot) != slot_of(st, first));
	ck_assert_int_eq(pwrite(fd, old, sizeof(old), (off_t)(slot_of(st, slot) * GMM_PAGE_BYTES)),
			 (ssize_t)sizeof(old));
	help_read(st, page, 1, &slot, &result);
	ck_assert_int_eq(result, -EBADMSG);
	close(fd);
	gmm_store_free(st);
	free(page);
}
END_TEST

/* RLIMIT_FSIZE makes the kernel write a part, then refuse. */
START_TEST(a_short_write_ends_page_by_page)
{
	struct gmm_store *st = encrypted();
	unsigned char *pages = help_pages(64), *in = help_pages(64);
	struct rlimit limit;
	uint64_t slots[64];
	int results[64], error = 0;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = 10 * GMM_PAGE_BYTES + 1024;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (unsigned i = 0; i < 64; i++)
		help_fill_noise(pages + i * GMM_PAGE_BYTES, i);
	ck_assert_uint_eq(help_write(st, pages, 64, slots, &error), 54);
	ck_assert_int_eq(error, -ENOSPC);
	help_read(st, in, 10, slots, results);
	ck_assert_int_eq(memcmp(in, pages, 10 * GMM_PAGE_BYTES), 0);
	gmm_store_free(st);
	free(in);
	free(pages);
}
END_TEST

/* A file cut short: whole pages of what is left come back, and their neighbours are lost. */
START_TEST(a_short_read_ends_page_by_page)
{
	struct gmm_store *st = encrypted();
	unsigned char *pages = help_pages(8), *in = help_pages(8);
	uint64_t slots[8];
	int results[8];

	for (unsigned i = 0; i < 8; i++)
		help_fill_noise(pages + i * GMM_PAGE_BYTES, i);
	ck_assert_uint_eq(help_write(st, pages, 8, slots, NULL), 0);
	ck_assert_int_eq(ftruncate(((struct file_store *)st)->backing.fd, 5 * GMM_PAGE_BYTES), 0);
	help_read(st, in, 8, slots, results);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(results[i], i < 5 ? 0 : -EIO);
	ck_assert_int_eq(memcmp(in, pages, 5 * GMM_PAGE_BYTES), 0);
	gmm_store_free(st);
	free(in);
	free(pages);
}
END_TEST

START_TEST(unchanged_pages_are_known)
{
	struct gmm_store *st = encrypted();
	unsigned char *page = help_pages(1);
	uint64_t slot;

	help_fill_noise(page, 1);
	ck_assert_uint_eq(help_write(st, page, 1, &slot, NULL), 0);
	ck_assert(st->ops->holds(st, slot, page));
	page[99] ^= 1;
	ck_assert(!st->ops->holds(st, slot, page));
	gmm_store_free(st);
	free(page);
}
END_TEST

/* ---- The key ---- */

static const void *key_of(struct gmm_store *st)
{
	return cipher_key(((struct file_store *)st)->cipher);
}

START_TEST(each_store_has_a_key_of_its_own)
{
	struct gmm_store *a = encrypted(), *b = encrypted();
	static const char zeros[CIPHER_KEY_BYTES / 2];
	const char *key = key_of(a);

	ck_assert_int_ne(memcmp(key, key_of(b), CIPHER_KEY_BYTES), 0);
	ck_assert_int_ne(memcmp(key, zeros, sizeof(zeros)), 0);
	ck_assert_int_ne(memcmp(key, key + CIPHER_KEY_BYTES / 2, CIPHER_KEY_BYTES / 2), 0);
	gmm_store_free(a);
	gmm_store_free(b);
}
END_TEST

/* The flags of the mapping that has this address, from /proc/self/smaps. */
static void get_flags(const void *address, char *flags, size_t bytes)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	bool here = false;
	char line[256];

	*flags = '\0';
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (unsigned long)address && (unsigned long)address < end;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(flags, bytes, "%s", line + 8);
	}
	fclose(file);
}

START_TEST(the_key_is_locked_and_not_dumped)
{
	struct gmm_store *st = encrypted();
	char flags[256];

	get_flags(key_of(st), flags, sizeof(flags));
	ck_assert_msg(strstr(flags, " dd"), "core dumps have it:%s", flags);
	ck_assert_msg(strstr(flags, " dc"), "children have it:%s", flags);
#ifndef __SANITIZE_ADDRESS__ /* which makes mlock() do nothing */
	ck_assert_msg(strstr(flags, " lo"), "it is not locked:%s", flags);
#endif
	gmm_store_free(st);
}
END_TEST

/* A quarter of the key in [start, end) of this process, other than in its page and in `buffer`. */
static unsigned n_in_range(int mem, uintptr_t start, uintptr_t end, const void *key, char *buffer,
			   size_t bytes)
{
	unsigned n = 0;

	for (; start < end; start += bytes / 2) {
		ssize_t got;

		if (start < (uintptr_t)buffer + bytes && start + bytes > (uintptr_t)buffer)
			continue;
		if (start == (uintptr_t)key)
			continue;
		got = pread(mem, buffer, bytes < end - start ? bytes : end - start, (off_t)start);
		for (unsigned part = 0; got > 0 && part < 4; part++)
			n += memmem(buffer, (size_t)got, (const char *)key + part * 16, 16) != NULL;
	}
	return n;
}

static unsigned n_copies(const void *key)
{
	const size_t bytes = 2 * GMM_PAGE_BYTES;
	FILE *maps = fopen("/proc/self/maps", "re");
	int mem = open("/proc/self/mem", O_RDONLY);
	char *buffer = aligned_alloc(GMM_PAGE_BYTES, bytes), line[512], mode[8];
	unsigned long start, end;
	unsigned n = 0;

	ck_assert(maps && mem >= 0 && buffer);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3 && mode[1] == 'w' &&
		    end - start < (64ul << 20) && start != (uintptr_t)key)
			n += n_in_range(mem, start, end, key, buffer, bytes);
	fclose(maps);
	close(mem);
	free(buffer);
	return n;
}

START_TEST(the_key_lies_nowhere_else)
{
	struct gmm_store *st = encrypted();
	unsigned char *pages = help_pages(64);
	uint64_t slots[64];
	int results[64];
	char *copy = malloc(CIPHER_KEY_BYTES);

	memset(pages, 3, 64 * GMM_PAGE_BYTES);
	ck_assert_uint_eq(help_write(st, pages, 64, slots, NULL), 0);
	help_read(st, pages, 64, slots, results);
	ck_assert_int_eq(results[63], 0);
	ck_assert_uint_eq(n_copies(key_of(st)), 0);
	memcpy(copy, key_of(st), CIPHER_KEY_BYTES); /* it would be found */
	__asm__ volatile("" : : "r"(copy) : "memory"); /* nobody else reads it: clang drops it */
	ck_assert_uint_gt(n_copies(key_of(st)), 0);
	free(copy);
	gmm_store_free(st);
	free(pages);
}
END_TEST

START_TEST(a_key_that_cannot_be_locked_is_none)
{
	struct gmm_store_file_config config = {
		.size = sizeof(config), .capacity_bytes = 1 << 20, .encrypt = true};
	struct gmm_store *st = NULL;
	struct rlimit none = {0, 0};

#ifdef __SANITIZE_ADDRESS__
	return;
#endif
	ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &none), 0);
	if (geteuid() == 0) /* root may lock what it likes */
		ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(gmm_store_file_new(&config, &st), -ENOLCK);
	ck_assert_ptr_null(st);
}
END_TEST

/* ---- Descriptions ---- */

static struct gmm_store *parse(const char *spec, bool encrypt)
{
	const struct gmm_store_parse_config config = {
		.size = sizeof(config), .encrypt = encrypt, .default_bytes = 4 << 20};
	struct gmm_store *st = NULL;
	char error[256] = "";

	if (gmm_store_parse_with(spec, &config, &st, error, sizeof(error)))
		ck_abort_msg("%s: %s", spec, error);
	return st;
}

START_TEST(every_file_of_a_description_is_encrypted)
{
	static const struct {
		const char *spec;
		bool encrypt;
		unsigned flags;
	} cases[] = {
		{"file", true, GMM_STORE_ENCRYPTED},
		{"file", false, GMM_STORE_PLAIN},
		{"tier:ram:1M+file", true, GMM_STORE_ENCRYPTED},
		{"tier:file+file", true, GMM_STORE_ENCRYPTED},
		{"tier:ram:1M+file", false, GMM_STORE_PLAIN},
		{"ram:1M", true, 0},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct gmm_store *st = parse(cases[i].spec, cases[i].encrypt);

		ck_assert_uint_eq(help_stats(st).flags & (GMM_STORE_ENCRYPTED | GMM_STORE_PLAIN),
				  cases[i].flags);
		gmm_store_free(st);
	}
}
END_TEST

START_TEST(a_tier_is_encrypted_only_where_all_of_it_is)
{
	struct gmm_store *stores[] = {encrypted(), make((struct gmm_store_file_config){0})};
	struct gmm_store *st = NULL;

	ck_assert_int_eq(gmm_store_tier_new(stores, 2, &st), 0);
	ck_assert_uint_eq(help_stats(st).flags & (GMM_STORE_ENCRYPTED | GMM_STORE_PLAIN),
			  GMM_STORE_PLAIN);
	gmm_store_free(st);
}
END_TEST

UNIT_MAIN("store_encrypt", contents_do_not_reach_the_file,
	  contents_do_not_reach_the_file_without_io_uring,
	  contents_do_not_reach_the_file_through_the_page_cache, many_pages_wait_their_turn,
	  what_was_changed_is_noticed, what_was_there_before_is_noticed,
	  a_short_write_ends_page_by_page, a_short_read_ends_page_by_page,
	  unchanged_pages_are_known, each_store_has_a_key_of_its_own,
	  the_key_is_locked_and_not_dumped, the_key_lies_nowhere_else,
	  a_key_that_cannot_be_locked_is_none, every_file_of_a_description_is_encrypted,
	  a_tier_is_encrypted_only_where_all_of_it_is)
