/* words: counts the words of a text. A word is the longest run of letters, digits,
 * underscores and bytes from 0x80 on; case counts. The text is mapped, not read; each
 * different word is a block of its own from malloc, found through a table that doubles. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <system.h>
#include <unistd.h>

#include "list.h"
#include "random.h"

#define FIRST_SLOTS 4096ul
#define TOP	    10u

struct word {
	uint64_t hash;
	uint64_t count;
	uint32_t n;
	char text[];
};

struct table {
	struct word **slots;
	uint64_t n_slots; /* a power of two */
	uint64_t n_distinct, n_words;
};

static bool is_word_byte(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c >= 0x80;
}

/* FNV-1a, then mixed: the low bits choose the slot. */
static uint64_t hash_of(const char *text, uint64_t n)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (uint64_t i = 0; i < n; i++)
		hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
	return mix64(hash);
}

static void table_put(struct table *t, struct word *word)
{
	uint64_t i = word->hash & (t->n_slots - 1);

	while (t->slots[i])
		i = (i + 1) & (t->n_slots - 1);
	t->slots[i] = word;
}

static bool table_grow(struct table *t)
{
	struct table grown = *t;

	grown.n_slots = t->n_slots ? t->n_slots * 2 : FIRST_SLOTS;
	grown.slots = calloc(grown.n_slots, sizeof(struct word *));
	if (!grown.slots)
		return false;
	for (uint64_t i = 0; i < t->n_slots; i++)
		if (t->slots[i])
			table_put(&grown, t->slots[i]);
	free(t->slots);
	*t = grown;
	return true;
}

static bool count_word(struct table *t, const char *text, uint64_t n)
{
	uint64_t hash = hash_of(text, n), i;
	struct word *word;

	if (t->n_distinct * 4 >= t->n_slots * 3 && !table_grow(t))
		return false;
	t->n_words++;
	for (i = hash & (t->n_slots - 1); (word = t->slots[i]); i = (i + 1) & (t->n_slots - 1))
		if (word->hash == hash && word->n == n && memcmp(word->text, text, n) == 0) {
			word->count++;
			return true;
		}
	word = n <= UINT32_MAX ? malloc(sizeof(*word) + n) : NULL;
	if (!word)
		return false;
	word->hash = hash;
	word->count = 1;
	word->n = (uint32_t)n;
	memcpy(word->text, text, n);
	t->slots[i] = word;
	t->n_distinct++;
	return true;
}

static bool count_text(struct table *t, const char *text, uint64_t n)
{
	for (uint64_t i = 0; i < n;) {
		uint64_t start = i;

		while (i < n && is_word_byte((unsigned char)text[i]))
			i++;
		if (i > start && !count_word(t, text + start, i - start))
			return false;
		while (i < n && !is_word_byte((unsigned char)text[i]))
			i++;
	}
	return true;
}

/* Whether a comes before b: more often, or as often and smaller by its bytes. */
static bool comes_before(const struct word *a, const struct word *b)
{
	int order;

	if (a->count != b->count)
		return a->count > b->count;
	order = memcmp(a->text, b->text, a->n < b->n ? a->n : b->n);
	return order ? order < 0 : a->n < b->n;
}

static void top_add(const struct word **top, const struct word *word)
{
	for (unsigned i = 0; i < TOP && word; i++)
		if (!top[i] || comes_before(word, top[i])) {
			const struct word *next = top[i];

			top[i] = word;
			word = next;
		}
}

/* Prints the most frequent; returns a checksum over all words and their counts, which are
 * also verified: each word still hashes to what it did, and the counts add up. */
static uint64_t table_report(const struct table *t, bool *ok)
{
	const struct word *top[TOP] = {NULL};
	uint64_t checksum = 0, n_words = 0;

	for (uint64_t i = 0; i < t->n_slots; i++) {
		const struct word *word = t->slots[i];

		if (!word)
			continue;
		*ok &= hash_of(word->text, word->n) == word->hash;
		checksum += mix64(word->hash + word->count);
		n_words += word->count;
		top_add(top, word);
	}
	*ok &= n_words == t->n_words;
	for (unsigned i = 0; i < TOP && top[i]; i++)
		printf("%10lu %.*s\n", top[i]->count, top[i]->n < 200 ? (int)top[i]->n : 200,
		       top[i]->text);
	return checksum;
}

static void table_free(struct table *t)
{
	for (uint64_t i = 0; i < t->n_slots; i++)
		free(t->slots[i]);
	free(t->slots);
}

static const char *map_file(const char *name, uint64_t *bytes)
{
	int fd = open(name, O_RDONLY), error = fd < 0 ? -errno : 0;
	void *text = "";

	if (error == 0)
		error = system_file_bytes(fd, bytes);
	if (error == 0 && *bytes)
		text = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (text == MAP_FAILED)
		error = -errno;
	if (fd >= 0)
		close(fd);
	if (error == 0)
		return text;
	eprintf("words: cannot map %s: %s. Hand the file in with run --file HOSTPATH:/NAME.\n",
		name, strerror(-error));
	return NULL;
}

static int words_main(int argc, char **argv)
{
	const char *name = NULL, *text;
	const struct option options[] = {{"file", OPTION_TEXT, &name}, {NULL, OPTION_FLAG, NULL}};
	struct table table = {0};
	uint64_t bytes = 0, checksum;
	bool ok;

	options_read(&program_words, argc, argv, options);
	if (!name)
		usage_die(&program_words, "an option is missing", "--file");
	text = map_file(name, &bytes);
	ok = text != NULL;
	if (ok && !count_text(&table, text, bytes)) {
		eprintf("words: out of memory after %lu words, %lu of them distinct\n",
			table.n_words, table.n_distinct);
		ok = false;
	}
	checksum = table_report(&table, &ok);
	printf("words: words=%lu distinct=%lu checksum=%016lx %s\n", table.n_words,
	       table.n_distinct, checksum, verdict(ok));
	table_free(&table);
	return ok ? 0 : EXIT_FAILED;
}

const struct program program_words = {"words", "--file /NAME", words_main};
