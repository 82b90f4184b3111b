/* The curve against exact stack distances: synthetic accesses, a sample of the pages watched in
 * cycles as working_set.c does it, and an LRU of every size beside it. */
#include "curve.h"

#include <math.h>

#include "sampling.h"
#include "unit.h"

#define PAGES	   4096u
#define STEP_NS	   20000u /* an access */
#define N_ACCESSES 6000000u
#define LEVEL	   3u

static uint64_t random_state;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* ---- exact: a Fenwick tree over the times of last touches ---- */

#define TIMES (4u * PAGES)

static struct {
	int tree[TIMES + 1];
	uint32_t last[PAGES], owner[TIMES + 1], next; /* last: 0, never */
	uint64_t n_at[PAGES + 1];		      /* accesses by distance */
} lru;

static void lru_add(uint32_t at, int n)
{
	for (; at <= TIMES; at += at & -at)
		lru.tree[at] += n;
}

static int lru_sum(uint32_t at)
{
	int n = 0;

	for (; at; at -= at & -at)
		n += lru.tree[at];
	return n;
}

/* Times are used up: those that count begin again at 1. */
static void lru_renumber(void)
{
	uint32_t next = 1;

	memset(lru.tree, 0, sizeof(lru.tree));
	for (uint32_t t = 1; t <= TIMES; t++) {
		uint32_t p = lru.owner[t];

		lru.owner[t] = PAGES;
		if (p == PAGES || lru.last[p] != t)
			continue;
		lru.last[p] = next;
		lru.owner[next] = p;
		lru_add(next++, 1);
	}
	lru.next = next;
}

static void lru_touch(uint32_t p)
{
	uint32_t last = lru.last[p];

	if (lru.next > TIMES) {
		lru_renumber();
		last = lru.last[p];
	}
	if (last) {
		lru.n_at[lru_sum(TIMES) - lru_sum(last)]++;
		lru_add(last, -1);
	}
	lru.last[p] = lru.next;
	lru.owner[lru.next] = p;
	lru_add(lru.next++, 1);
}

/* ---- what is seen ---- */

static struct {
	uint64_t touched_ns, armed_ns; /* 0: not */
	uint64_t arm_ns;	       /* when it is due */
} watched[PAGES];

static struct curve curve;

static void watch_touch(uint32_t p, uint64_t now, uint64_t cool_ns)
{
	if (!sampling_has(LEVEL, p))
		return;
	if (watched[p].touched_ns && now < watched[p].arm_ns)
		return; /* it cools: not seen */
	if (watched[p].touched_ns)
		curve_cycle(&curve, 1 << LEVEL, watched[p].arm_ns - watched[p].touched_ns,
			    now - watched[p].arm_ns);
	watched[p].touched_ns = now;
	watched[p].arm_ns = now + cool_ns / 2 + next_random() % cool_ns;
}

typedef uint32_t access_fn(uint64_t n);

static uint32_t loop(uint64_t n)
{
	return (uint32_t)(n % (PAGES / 2));
}

static uint32_t uniform(uint64_t n)
{
	(void)n;
	return (uint32_t)(next_random() % PAGES);
}

/* Zipf of exponent 0.99, scattered over all pages. */
static uint32_t zipf(uint64_t n)
{
	static double sum[PAGES];
	double u;
	uint32_t low = 0, high = PAGES - 1;

	(void)n;
	for (uint32_t i = 0; i < PAGES && sum[PAGES - 1] == 0; i++)
		sum[i] = (i ? sum[i - 1] : 0) + pow(i + 1, -0.99);
	u = (double)(next_random() >> 11) / 9007199254740992.0 * sum[PAGES - 1];
	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (sum[mid] < u)
			low = mid + 1;
		else
			high = mid;
	}
	return low * 1237u % PAGES;
}

/* Half of the accesses in a small part, the rest a loop over all: two knees. */
static uint32_t mixed(uint64_t n)
{
	return n & 1 ? (uint32_t)(next_random() % 256) : 256 + (uint32_t)(n / 2 % (PAGES - 256));
}

static void run(access_fn *access, uint64_t cool_ns)
{
	memset(&lru, 0, sizeof(lru));
	memset(watched, 0, sizeof(watched));
	for (uint32_t t = 0; t <= TIMES; t++)
		lru.owner[t] = PAGES;
	lru.next = 1;
	random_state = 88172645463325252u;
	curve_init(&curve, 1);
	for (uint64_t n = 0; n < N_ACCESSES; n++) {
		uint32_t p = access(n);

		lru_touch(p);
		watch_touch(p, 1 + n * STEP_NS, cool_ns);
		curve_advance(&curve, 1 + n * STEP_NS);
	}
}

/* Refaults an access, exact. */
static double exact(uint32_t pages)
{
	uint64_t n = 0;

	for (uint32_t d = pages; d <= PAGES; d++)
		n += lru.n_at[d];
	return (double)n / N_ACCESSES;
}

static double open_ns(void)
{
	uint64_t end = 1 + (uint64_t)N_ACCESSES * STEP_NS;
	double sum = 0;

	for (uint32_t p = 0; p < PAGES; p++)
		if (watched[p].touched_ns && watched[p].arm_ns < end)
			sum += curve_faded(end - watched[p].touched_ns) * (1 << LEVEL);
	return sum;
}

/* At sixteenths of all memory, by how much of all accesses the curve is wrong: on average, and
 * where it is worst. Right at a knee it may be: there a sixteenth more or less changes all. */
static void compare(access_fn *access, double n_pages, uint64_t cool_ns, double average,
		    double worst)
{
	struct curve_slopes slopes;
	double sum = 0, most = 0;

	run(access, cool_ns);
	curve_fit(&curve, n_pages, open_ns(), &slopes);
	for (uint32_t i = 1; i <= 16; i++) {
		double want = exact(i * PAGES / 16);
		double have = curve_refaults(&slopes, i * PAGES / 16.0) * STEP_NS / 1e9;
		double wrong = fabs(have - want);

		printf("%2u/16: exact %.4f, curve %.4f\n", i, want, have);
		sum += wrong / 16;
		most = wrong > most ? wrong : most;
	}
	printf("cooling %.3f s: wrong by %.4f on average, %.4f at worst\n", (double)cool_ns / 1e9,
	       sum, most);
	ck_assert_double_le(sum, average);
	ck_assert_double_le(most, worst);
}

/* Shorter than the guest takes to come round, much longer, and about as long, where what happens
 * while nobody looks is hardest to tell. */
static const uint64_t cooling[] = {4000000, 1000000000, 60000000};

START_TEST(uniform_accesses)
{
	compare(uniform, PAGES, cooling[_i], 0.04, 0.12);
}
END_TEST

START_TEST(accesses_by_zipf)
{
	compare(zipf, PAGES, cooling[_i], 0.015, 0.07);
}
END_TEST

/* All of it or nothing: at half the pages. */
START_TEST(a_loop)
{
	compare(loop, PAGES / 2, cooling[_i], _i < 2 ? 0.02 : 0.18, _i < 2 ? 0.06 : 1.01);
}
END_TEST

START_TEST(a_loop_beside_what_is_hot)
{
	compare(mixed, PAGES, cooling[_i], _i < 2 ? 0.05 : 0.13, 0.27);
}
END_TEST

START_TEST(nothing_seen_is_no_refault)
{
	struct curve_slopes slopes;

	curve_init(&curve, 5);
	curve_fit(&curve, 100, 0, &slopes);
	ck_assert_double_eq(curve_refaults(&slopes, 1), 0);
	curve_fit(&curve, 100, 1e9, &slopes); /* watched, and never touched again */
	ck_assert_double_eq(curve_refaults(&slopes, 1), 0);
}
END_TEST

START_TEST(what_is_old_fades)
{
	struct curve_slopes before, after;

	curve_init(&curve, 0);
	for (unsigned i = 0; i < 1000; i++)
		curve_cycle(&curve, 1, 0, 10000000);
	curve_fit(&curve, 100, 0, &before);
	ck_assert_double_gt(curve_refaults(&before, 50), 9000);
	curve_advance(&curve, 10 * CURVE_FADE_NS);
	for (unsigned i = 0; i < 10; i++)
		curve_cycle(&curve, 1, 0, 10000000000);
	curve_fit(&curve, 100, 0, &after);
	ck_assert_double_lt(curve_refaults(&after, 50), 12);
	ck_assert_double_gt(curve_refaults(&after, 50), 8);
}
END_TEST

START_TEST(samples_are_spread_and_nested)
{
	for (unsigned level = 0; level < 10; level++) {
		uint32_t n = 0;

		for (uint32_t p = 0; p < PAGES; p++) {
			if (!sampling_has(level, p))
				continue;
			n++;
			ck_assert_uint_eq(sampling_page(level, p >> level), p);
			ck_assert(level == 0 || sampling_has(level - 1, p));
		}
		ck_assert_uint_eq(n, PAGES >> level);
	}
}
END_TEST

/* Pages that are used at a stride are in the sample as often as others. */
START_TEST(strides_are_no_trap)
{
	for (uint32_t stride = 2; stride <= 64; stride *= 2) {
		uint32_t n = 0, all = (1u << 20) / stride;

		for (uint32_t p = 0; p < 1u << 20; p += stride)
			n += sampling_has(6, p);
		ck_assert_uint_gt(n * 64, all * 7 / 10);
		ck_assert_uint_lt(n * 64, all * 13 / 10);
	}
}
END_TEST

UNIT_MAIN_LOOP("curve", 3, 120, uniform_accesses, accesses_by_zipf, a_loop,
	       a_loop_beside_what_is_hot, nothing_seen_is_no_refault, what_is_old_fades,
	       samples_are_spread_and_nested, strides_are_no_trap)
