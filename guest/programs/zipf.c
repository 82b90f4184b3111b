/* zipf: pages of a mapping visited with Zipf's law: the k-th most popular page k^-theta as
 * often as the first. Reclaim that keeps what is used shows here.
 *
 * A page holds how often it was written and, at a place that moves with each write, a
 * stamp made from its number and that count. Each visit verifies both; at the end all pages
 * are verified and the counts must add up to the writes made: none is lost, none twice.
 *
 * Ranks are drawn by rejection-inversion (Hörmann and Derflinger, 1996), which takes any
 * theta >= 0 and no table; about 50 ns of each operation are its own.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#include "list.h"
#include "loads.h"
#include "random.h"
#include "real.h"
#include "references.h"

struct zipf {
	double n, theta, low, high, quick;
};

struct share {
	char *memory; /* NULL: only told which pages */
	uint64_t n_pages, n_ops, writes_percent, seed;
	uint64_t n_writes, n_wrong;
	struct zipf zipf;
};

static double power(double x, double y)
{
	return real_exp(y * real_log(x));
}

static bool is_one(double theta)
{
	return theta > 1 - 1e-9 && theta < 1 + 1e-9;
}

/* The integral of x^-theta from 1, and its inverse. */
static double area(const struct zipf *z, double x)
{
	if (is_one(z->theta))
		return real_log(x);
	return (power(x, 1 - z->theta) - 1) / (1 - z->theta);
}

static double area_inverse(const struct zipf *z, double a)
{
	double base;

	if (is_one(z->theta))
		return real_exp(a);
	base = 1 + a * (1 - z->theta);
	return base > 0 ? power(base, 1 / (1 - z->theta)) : z->n;
}

static void zipf_init(struct zipf *z, uint64_t n, double theta)
{
	z->n = (double)n;
	z->theta = theta;
	z->low = area(z, 1.5) - 1;
	z->high = area(z, z->n + 0.5);
	z->quick = 2 - area_inverse(z, area(z, 2.5) - power(2, -theta));
}

/* A rank, 0 the most popular. */
static uint64_t zipf_next(const struct zipf *z, uint64_t *random)
{
	for (;;) {
		double unit = (double)(random_next(random) >> 11) * 0x1p-53;
		double a = z->high + unit * (z->low - z->high);
		double x = area_inverse(z, a);
		uint64_t k = x + 0.5 < 1      ? 1
			     : x + 0.5 > z->n ? (uint64_t)z->n
					      : (uint64_t)(x + 0.5);

		if ((double)k - x <= z->quick ||
		    a >= area(z, (double)k + 0.5) - power((double)k, -z->theta))
			return k - 1;
	}
}

static uint64_t *page_words(const struct share *s, uint64_t page)
{
	return (uint64_t *)(s->memory + page * PAGE_BYTES);
}

static uint64_t stamp(uint64_t page, uint64_t count)
{
	return count ? mix64(page << 32 ^ count) : 0;
}

static uint64_t stamp_index(uint64_t page, uint64_t count)
{
	return 1 + (page + count * 67) % 511;
}

static bool page_is_right(const struct share *s, uint64_t page)
{
	const uint64_t *words = page_words(s, page);
	uint64_t count = words[0];

	return words[stamp_index(page, count)] == stamp(page, count);
}

static void page_write(const struct share *s, uint64_t page)
{
	uint64_t *words = page_words(s, page);
	uint64_t count = words[0];

	words[stamp_index(page, count)] = 0;
	words[0] = count + 1;
	words[stamp_index(page, count + 1)] = stamp(page, count + 1);
}

static void share_run(void *arg)
{
	struct share *s = arg;
	uint64_t random = s->seed;

	for (uint64_t i = 0; i < s->n_ops; i++) {
		uint64_t page = permute(zipf_next(&s->zipf, &random), s->n_pages, s->seed);
		bool is_write = random_below(&random, 100) < s->writes_percent;

		if (!s->memory) {
			references_add(page, is_write);
			continue;
		}
		s->n_wrong += !page_is_right(s, page);
		if (is_write) {
			page_write(s, page);
			s->n_writes++;
		}
	}
}

/* Whether all pages hold what their counts say, and nothing else, and the counts add up. */
static bool share_verify(const struct share *s)
{
	uint64_t n_counted = 0, n_wrong = 0;

	for (uint64_t page = 0; page < s->n_pages; page++) {
		const uint64_t *words = page_words(s, page);
		uint64_t others = 0;

		n_wrong += !page_is_right(s, page);
		for (uint64_t i = 1; i < 512; i++)
			others |= i == stamp_index(page, words[0]) ? 0 : words[i];
		n_wrong += others != 0;
		n_counted += words[0];
	}
	return n_wrong == 0 && n_counted == s->n_writes;
}

int zipf_load(uint64_t bytes, uint64_t n_ops, uint64_t theta_millionths, uint64_t writes_percent,
	      uint64_t seed)
{
	static struct share shares[WORKERS_MAX];
	uint64_t n_pages = bytes / PAGE_BYTES, start, ns, n_wrong = 0;
	char *memory = pages_map("zipf", n_pages * PAGE_BYTES);
	unsigned n = workers_count();
	bool ok = true;

	if (!memory)
		return EXIT_FAILED;
	for (unsigned i = 0; i < n; i++) {
		struct share *s = &shares[i];
		uint64_t first = n_pages * i / n;

		*s = (struct share){.memory = memory + first * PAGE_BYTES,
				    .n_pages = n_pages * (i + 1) / n - first,
				    .n_ops = n_ops * (i + 1) / n - n_ops * i / n,
				    .writes_percent = writes_percent,
				    .seed = mix64(seed + i)};
		zipf_init(&s->zipf, s->n_pages, (double)theta_millionths / 1e6);
	}
	start = clock_ns();
	workers_run(n, share_run, shares, sizeof(*shares));
	ns = clock_ns() - start;
	for (unsigned i = 0; i < n; i++) {
		n_wrong += shares[i].n_wrong;
		ok &= share_verify(&shares[i]);
	}
	ok &= n_wrong == 0;
	munmap(memory, n_pages * PAGE_BYTES);
	printf("zipf: ops=%lu ns_per_op=%lu wrong=%lu %s\n", n_ops, ns / n_ops, n_wrong,
	       verdict(ok));
	return ok ? 0 : EXIT_FAILED;
}

/* What zipf_load() would touch on one CPU, the verification at the end with it. */
static int zipf_references(uint64_t bytes, uint64_t n_ops, uint64_t theta_millionths,
			   uint64_t writes_percent, uint64_t seed)
{
	struct share s = {.n_pages = bytes / PAGE_BYTES,
			  .n_ops = n_ops,
			  .writes_percent = writes_percent,
			  .seed = mix64(seed)};

	zipf_init(&s.zipf, s.n_pages, (double)theta_millionths / 1e6);
	references_begin();
	share_run(&s);
	for (uint64_t page = 0; page < s.n_pages; page++)
		references_add(page, false);
	return references_end();
}

static int zipf_main(int argc, char **argv)
{
	uint64_t bytes = 64ul << 20, n_ops = 1000000, theta = 990000, writes = 50, seed = 1;
	bool references = false;
	const struct option options[] = {
		{"bytes", OPTION_SIZE, &bytes},	  {"ops", OPTION_NUMBER, &n_ops},
		{"theta", OPTION_SCALED, &theta}, {"writes", OPTION_NUMBER, &writes},
		{"seed", OPTION_NUMBER, &seed},	  {"references", OPTION_FLAG, &references},
		{NULL, OPTION_FLAG, NULL},
	};

	options_read(&program_zipf, argc, argv, options);
	if (bytes < 4 * WORKERS_MAX * PAGE_BYTES || !n_ops || writes > 100 || theta > 10000000)
		usage_die(&program_zipf, "out of range",
			  "--bytes is 1M at least, --ops 1 at least, --theta 0 to 10, --writes 0 "
			  "to 100");
	if (references)
		return zipf_references(bytes, n_ops, theta, writes, seed);
	return zipf_load(bytes, n_ops, theta, writes, seed);
}

const struct program program_zipf = {
	"zipf", "[--bytes SIZE] [--ops N] [--theta T] [--writes PERCENT] [--seed S] [--references]",
	zipf_main};
