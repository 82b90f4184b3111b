/* The page-table builder against a naive map of pages, and the walker against a second walker that
 * is written down flat, level by level, on tables full of garbage. */
#include <guestmm/pagetable.h>
#include <string.h>

#include "unit.h"

#define ARENA_PAGES 4096u

/* ck_assert writes a mark each time it passes: too slow for inner loops. */
#define MUST(e)                                                                                    \
	do {                                                                                       \
		if (!(e))                                                                          \
			ck_abort_msg("failed: %s", #e);                                            \
	} while (0)

struct arena {
	uint64_t (*pages)[512];
	uint8_t state[ARENA_PAGES]; /* 0: free, 1: a table */
	unsigned n_used, limit;
	struct gmm_pt pt;
};

static uint64_t rng_state = 88172645463325252u;

static uint64_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state * UINT64_C(2685821657736338717);
}

static int arena_read(void *user, uint64_t pa, uint64_t *entry)
{
	struct arena *a = user;

	MUST(pa % 8 == 0);
	if (pa / 4096 >= ARENA_PAGES)
		return -1;
	*entry = a->pages[pa / 4096][pa % 4096 / 8];
	return 0;
}

static int arena_write(void *user, uint64_t pa, uint64_t entry)
{
	struct arena *a = user;

	MUST(pa % 8 == 0);
	if (pa / 4096 >= ARENA_PAGES)
		return -1;
	MUST(a->state[pa / 4096]);
	a->pages[pa / 4096][pa % 4096 / 8] = entry;
	return 0;
}

static int arena_alloc(void *user, uint64_t *pa)
{
	struct arena *a = user;

	if (a->n_used >= a->limit)
		return -1;
	for (uint64_t i = 0; i < ARENA_PAGES; i++)
		if (!a->state[i]) {
			memset(a->pages[i], 0, 4096);
			a->state[i] = 1;
			a->n_used++;
			*pa = i * 4096;
			return 0;
		}
	return -1;
}

static void arena_free(void *user, uint64_t pa)
{
	struct arena *a = user;

	ck_assert_uint_eq(a->state[pa / 4096], 1);
	a->state[pa / 4096] = 0;
	a->n_used--;
}

static struct arena *arena_new(bool direct, unsigned mode)
{
	struct arena *a = calloc(1, sizeof(*a));

	a->pages = aligned_alloc(4096, ARENA_PAGES * 4096);
	a->limit = ARENA_PAGES;
	a->pt.mode = mode;
	a->pt.alloc = arena_alloc;
	a->pt.user = a;
	if (direct) {
		a->pt.direct = (uint8_t *)a->pages;
		a->pt.direct_bytes = ARENA_PAGES * 4096;
	} else {
		a->pt.read = arena_read;
		a->pt.write = arena_write;
	}
	arena_alloc(a, &a->pt.root);
	return a;
}

static void arena_done(struct arena *a)
{
	free(a->pages);
	free(a);
}

static uint64_t map_size(const struct arena *a, uint64_t va)
{
	struct gmm_pt_result w;

	gmm_pt_walk(&a->pt, va, &w);
	return w.stop == GMM_PT_MAPPED ? w.bytes : 0;
}

#define MODE (GMM_PT_NXE | GMM_PT_WP | GMM_PT_PAGE_1G)
#define KIB  UINT64_C(1024)
#define MIB  (1024 * KIB)
#define GIB  (1024 * MIB)

START_TEST(the_largest_page_that_fits)
{
	struct arena *a = arena_new(true, MODE);

	ck_assert_int_eq(gmm_pt_map(&a->pt, GIB - 2 * MIB - 4096, 3 * GIB - 2 * MIB - 4096,
				    GIB + 4 * MIB + 8192, GMM_PT_W),
			 0);
	ck_assert_uint_eq(map_size(a, GIB - 2 * MIB - 8192), 0);
	ck_assert_uint_eq(map_size(a, GIB - 2 * MIB - 4096), 4096);
	ck_assert_uint_eq(map_size(a, GIB - 2 * MIB), 2 * MIB);
	ck_assert_uint_eq(map_size(a, GIB), GIB);
	ck_assert_uint_eq(map_size(a, 2 * GIB), 2 * MIB);
	ck_assert_uint_eq(map_size(a, 2 * GIB + 2 * MIB), 4096);
	ck_assert_uint_eq(map_size(a, 2 * GIB + 2 * MIB + 4096), 0);
	/* addresses that differ below 2 MiB leave small pages */
	ck_assert_int_eq(gmm_pt_map(&a->pt, 8 * GIB, 4096, 2 * MIB, 0), 0);
	ck_assert_uint_eq(map_size(a, 8 * GIB), 4096);
	a->pt.largest = 2;
	ck_assert_int_eq(gmm_pt_map(&a->pt, 16 * GIB, 0, GIB, 0), 0);
	ck_assert_uint_eq(map_size(a, 16 * GIB), 2 * MIB);
	a->pt.largest = 0;
	a->pt.mode &= ~GMM_PT_PAGE_1G;
	ck_assert_int_eq(gmm_pt_map(&a->pt, 32 * GIB, 0, GIB, 0), 0);
	ck_assert_uint_eq(map_size(a, 32 * GIB), 2 * MIB);
	arena_done(a);
}
END_TEST

START_TEST(bad_arguments_change_nothing)
{
	static const struct {
		uint64_t va, pa, bytes, flags;
	} bad[] = {
		{4096, 0, 0, 0},
		{1, 0, 4096, 0},
		{0, 1, 4096, 0},
		{0, 0, 4095, 0},
		{0, 0, 4096, GMM_PT_P},
		{0, 0, 4096, GMM_PT_PS},
		{0, 0, 4096, UINT64_C(1) << 62},
		{UINT64_C(1) << 47, 0, 4096, 0},
		{(UINT64_C(1) << 47) - 4096, 0, 8192, 0},
		{UINT64_C(0xffff7ffffffff000), 0, 8192, 0},
		{UINT64_MAX - 4095, 0, 8192, 0},
		{0, UINT64_C(1) << 52, 4096, 0},
		{0, (UINT64_C(1) << 52) - 4096, 8192, 0},
		{0, 0, UINT64_MAX - 4095, 0},
	};
	struct arena *a = arena_new(false, MODE);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(
			gmm_pt_map(&a->pt, bad[i].va, bad[i].pa, bad[i].bytes, bad[i].flags),
			-GMM_PT_EINVAL);
	ck_assert_uint_eq(a->n_used, 1);
	a->pt.mode = 0;
	ck_assert_int_eq(gmm_pt_map(&a->pt, 0, 0, 4096, GMM_PT_NX), -GMM_PT_EINVAL);
	ck_assert_int_eq(gmm_pt_protect(&a->pt, 0, 4096, GMM_PT_NX), -GMM_PT_EINVAL);
	ck_assert_int_eq(gmm_pt_unmap(&a->pt, 0, 1), -GMM_PT_EINVAL);
	a->pt.root = ARENA_PAGES * 4096;
	ck_assert_int_eq(gmm_pt_map(&a->pt, 0, 0, 4096, 0), -GMM_PT_EFAULT);
	arena_done(a);
}
END_TEST

START_TEST(a_failed_map_maps_nothing)
{
	for (unsigned limit = 1; limit < 8; limit++) {
		struct arena *a = arena_new(false, MODE);
		int err;

		a->limit = limit;
		err = gmm_pt_map(&a->pt, 4096, 4096, 8 * MIB, GMM_PT_W);
		/* root, level 3, level 2, one page table at each end */
		ck_assert_int_eq(err, limit < 5 ? -GMM_PT_ENOMEM : 0);
		for (uint64_t va = 0; va < 12 * MIB; va += 4096)
			MUST((map_size(a, va) != 0) ==
			     (limit >= 5 && va >= 4096 && va < 8 * MIB + 4096));
		arena_done(a);
	}
}
END_TEST

START_TEST(overlaps_are_refused)
{
	struct arena *a = arena_new(false, MODE);

	ck_assert_int_eq(gmm_pt_map(&a->pt, 2 * GIB, 0, GIB, 0), 0);
	ck_assert_int_eq(gmm_pt_map(&a->pt, 2 * GIB + 4096, 0, 4096, 0), -GMM_PT_EEXIST);
	ck_assert_int_eq(gmm_pt_map(&a->pt, 2 * GIB - 4096, 0, 8192, 0), -GMM_PT_EEXIST);
	ck_assert_int_eq(gmm_pt_map(&a->pt, 0, 0, 512 * GIB, 0), -GMM_PT_EEXIST);
	ck_assert_uint_eq(map_size(a, 2 * GIB - 4096), 0);
	ck_assert_int_eq(gmm_pt_map(&a->pt, 2 * GIB - 4096, 0, 4096, 0), 0);
	arena_done(a);
}
END_TEST

/* Small and large pages in turn at one place: tables come back, or are used again. */
START_TEST(tables_do_not_leak)
{
	for (int with_free = 0; with_free < 2; with_free++) {
		struct arena *a = arena_new(false, MODE);
		unsigned n_used = 0;

		a->pt.free = with_free ? arena_free : NULL;
		for (int i = 0; i < 10; i++) {
			ck_assert_int_eq(gmm_pt_map(&a->pt, GIB + 4096, 0, 4096, 0), 0);
			ck_assert_int_eq(gmm_pt_unmap(&a->pt, GIB + 4096, 4096), 0);
			ck_assert_int_eq(gmm_pt_map(&a->pt, GIB, 0, GIB, GMM_PT_W), 0);
			ck_assert_uint_eq(map_size(a, GIB), with_free ? GIB : 4096);
			ck_assert_uint_eq(map_size(a, GIB + 8 * MIB), with_free ? GIB : 2 * MIB);
			ck_assert_int_eq(gmm_pt_unmap(&a->pt, GIB, GIB), 0);
			if (i == 0)
				n_used = a->n_used;
			ck_assert_uint_eq(a->n_used, n_used);
		}
		arena_done(a);
	}
}
END_TEST

/* ---- Random ranges against an array of pages ---- */

#define SPAN	   (5 * GIB)
#define SPAN_PAGES (SPAN / 4096)

struct oracle {
	uint64_t *pages; /* pa | flags | P; 0: not mapped */
	uint64_t base;
};

static void oracle_check(const struct oracle *o, const struct arena *a, uint64_t page)
{
	uint64_t want = o->pages[page], va = o->base + page * 4096;
	struct gmm_pt_result w;

	gmm_pt_walk(&a->pt, va + 123, &w);
	if (!want) {
		MUST(w.stop == GMM_PT_NOT_PRESENT);
		return;
	}
	MUST(w.stop == GMM_PT_MAPPED);
	MUST(w.pa == ((want & GMM_PT_ADDR) + 123));
	MUST((w.entry & GMM_PT_FLAGS) == (want & GMM_PT_FLAGS));
	MUST(w.rights == (want & (GMM_PT_W | GMM_PT_U | GMM_PT_NX)));
}

static uint64_t random_length(uint64_t max)
{
	static const uint64_t sizes[] = {1, 1, 512, 512, 262144, 5, 700, 2048, 300000};
	uint64_t n = sizes[rng() % 9];

	if (rng() % 2)
		n = 1 + rng() % (2 * n);
	return n < max ? n : max;
}

static void random_step(struct oracle *o, struct arena *a)
{
	static const uint64_t align[] = {1, 512, 262144};
	uint64_t page = rng() % SPAN_PAGES & ~(align[rng() % 3] - 1);
	uint64_t n = random_length(SPAN_PAGES - page);
	uint64_t pa = (rng() % (UINT64_C(1) << 28)) * 4096;
	uint64_t flags = rng() & GMM_PT_FLAGS, va = o->base + page * 4096;
	unsigned verb = rng() % 4;
	bool taken = false;

	for (uint64_t i = page; i < page + n; i++)
		taken |= o->pages[i] != 0;
	if (rng() % 2) /* so that large pages fit */
		pa = (pa & ~(GIB - 1)) | (page * 4096 & (GIB - 1));
	if (verb < 2) {
		ck_assert_int_eq(gmm_pt_map(&a->pt, va, pa, n * 4096, flags),
				 taken ? -GMM_PT_EEXIST : 0);
		for (uint64_t i = 0; i < n && !taken; i++)
			o->pages[page + i] = (pa + i * 4096) | flags | GMM_PT_P;
	} else if (verb == 2) {
		ck_assert_int_eq(gmm_pt_unmap(&a->pt, va, n * 4096), 0);
		memset(o->pages + page, 0, n * sizeof(uint64_t));
	} else {
		ck_assert_int_eq(gmm_pt_protect(&a->pt, va, n * 4096, flags), 0);
		for (uint64_t i = page; i < page + n; i++)
			if (o->pages[i])
				o->pages[i] = (o->pages[i] & GMM_PT_ADDR) | flags | GMM_PT_P;
	}
	for (int i = 0; i < 32; i++)
		oracle_check(o, a, rng() % SPAN_PAGES);
	for (uint64_t i = page ? page - 1 : 0; i < page + 2; i++)
		oracle_check(o, a, i < SPAN_PAGES ? i : page);
	oracle_check(o, a, page + n - 1);
	oracle_check(o, a, page + n < SPAN_PAGES ? page + n : page);
}

static void random_run(uint64_t base, unsigned mode, bool direct, bool with_free)
{
	struct arena *a = arena_new(direct, mode);
	struct oracle o = {calloc(SPAN_PAGES, sizeof(uint64_t)), base};

	a->pt.free = with_free ? arena_free : NULL;
	for (int i = 0; i < 300; i++)
		random_step(&o, a);
	for (uint64_t i = 0; i < SPAN_PAGES; i++)
		oracle_check(&o, a, i);
	free(o.pages);
	arena_done(a);
}

START_TEST(random_ranges_low_end)
{
	random_run(0, MODE, true, false);
}
END_TEST

START_TEST(random_ranges_end_of_the_low_half)
{
	random_run((UINT64_C(1) << 47) - SPAN, MODE, false, true);
}
END_TEST

START_TEST(random_ranges_across_512_gib)
{
	random_run(UINT64_C(0xffff800000000000) + 510 * GIB, MODE, false, false);
}
END_TEST

START_TEST(random_ranges_end_of_all)
{
	random_run(-SPAN, MODE & ~GMM_PT_PAGE_1G, true, true);
}
END_TEST

START_TEST(random_ranges_five_levels)
{
	random_run((UINT64_C(1) << 56) - SPAN, MODE | GMM_PT_LA57, false, true);
}
END_TEST

START_TEST(large_pages_keep_their_memory_type)
{
	struct arena *a = arena_new(false, MODE);
	struct gmm_pt_result w;

	ck_assert_int_eq(gmm_pt_map(&a->pt, GIB, 0, GIB, GMM_PT_W), 0);
	gmm_pt_walk(&a->pt, GIB, &w);
	arena_write(a, w.entry_pa, w.entry | GMM_PT_PAT_LARGE);
	ck_assert_int_eq(gmm_pt_protect(&a->pt, GIB + 4096, 4096, 0), 0);
	gmm_pt_walk(&a->pt, GIB + 4 * MIB, &w);
	ck_assert_uint_eq(w.level, 2);
	ck_assert(w.entry & GMM_PT_PAT_LARGE);
	gmm_pt_walk(&a->pt, GIB, &w);
	ck_assert_uint_eq(w.level, 1);
	ck_assert(w.entry & GMM_PT_PAT_4K);
	ck_assert(!(w.entry & GMM_PT_PAT_LARGE));
	ck_assert_uint_eq(w.pa, 0);
	arena_done(a);
}
END_TEST

/* ---- The walker on garbage ---- */

#define G_PAGES 24u

static uint64_t garbage_entry(void)
{
	uint64_t e = (rng() % (G_PAGES + 1)) * 4096;

	if (rng() % 16)
		e |= GMM_PT_P;
	if (rng() % 8)
		e |= GMM_PT_W;
	if (rng() % 8)
		e |= GMM_PT_U;
	if (!(rng() % 8))
		e |= GMM_PT_PS | (rng() % 2 ? (rng() % 8) << 30 : 0);
	if (!(rng() % 8))
		e |= GMM_PT_NX;
	if (!(rng() % 32))
		e |= UINT64_C(1) << (rng() % 64);
	if ((e & GMM_PT_PS) && rng() % 2)
		e &= ~UINT64_C(0x3fffe000);
	return e;
}

static bool garbage_inside(void *user, uint64_t pa, uint64_t bytes)
{
	(void)user;
	return bytes <= 8 * GIB && pa <= 8 * GIB - bytes;
}

/* The manual's rules once more, without loops or helpers of the code under test. */
static int naive_walk(const struct arena *a, uint64_t va, unsigned *level, uint64_t *pa,
		      uint64_t *rights)
{
	const struct gmm_pt *pt = &a->pt;
	unsigned n = pt->mode & GMM_PT_LA57 ? 5 : 4, va_bits = n == 5 ? 57 : 48;
	uint64_t table = pt->root;
	bool w = true, u = true, nx = false;

	*level = n;
	if ((uint64_t)((int64_t)(va << (64 - va_bits)) >> (64 - va_bits)) != va)
		return GMM_PT_NONCANONICAL;
	for (;;) {
		unsigned shift = *level == 5   ? 48
				 : *level == 4 ? 39
				 : *level == 3 ? 30
				 : *level == 2 ? 21
					       : 12;
		uint64_t e;
		bool bad, leaf;

		if (table >= ARENA_PAGES * UINT64_C(4096))
			return GMM_PT_OUTSIDE;
		e = a->pages[table / 4096][va >> shift & 511];
		if (!(e & 1))
			return GMM_PT_NOT_PRESENT;
		leaf = *level == 1 || ((*level == 2 || *level == 3) && (e >> 7 & 1));
		bad = (e >> 63 & 1) && !(pt->mode & GMM_PT_NXE);
		bad |= (e & 0x000fffffffffffff) >> pt->phys_bits != 0;
		bad |= *level >= 4 && (e >> 7 & 1);
		bad |= *level == 3 && (e >> 7 & 1) && !(pt->mode & GMM_PT_PAGE_1G);
		bad |= *level == 3 && leaf && (pt->mode & GMM_PT_PAGE_1G) && (e & 0x3fffe000);
		bad |= *level == 2 && leaf && (e & 0x1fe000);
		if (bad)
			return GMM_PT_RESERVED;
		w &= e >> 1 & 1;
		u &= e >> 2 & 1;
		nx |= e >> 63 & 1;
		table = e & 0x000ffffffffff000;
		if (leaf) {
			*pa = (table >> shift << shift) + (va & ((UINT64_C(1) << shift) - 1));
			*rights = (w ? 2 : 0) | (u ? 4 : 0) | (nx ? UINT64_C(1) << 63 : 0);
			return garbage_inside(NULL, *pa >> shift << shift, UINT64_C(1) << shift)
				       ? GMM_PT_MAPPED
				       : GMM_PT_OUTSIDE;
		}
		(*level)--;
	}
}

START_TEST(the_walker_agrees_with_a_flat_one)
{
	unsigned seen[5] = {0}, seen_level[6] = {0};

	for (int round = 0; round < 400; round++) {
		struct arena *a = arena_new(round & 1, (unsigned)rng() % 64);

		a->pt.phys_bits = 36 + (unsigned)rng() % 17;
		a->pt.inside = garbage_inside;
		for (unsigned i = 0; i < G_PAGES * 512; i++)
			a->pages[i / 512][i % 512] = garbage_entry();
		memset(a->pages[G_PAGES], 0, 4096);
		for (int i = 0; i < 500; i++) {
			uint64_t va = rng(), pa = 0, rights = 0;
			struct gmm_pt_result w;
			unsigned level;
			int stop;

			if (i % 10)
				va = (uint64_t)((int64_t)va >> (a->pt.mode & GMM_PT_LA57 ? 7 : 16));
			stop = naive_walk(a, va, &level, &pa, &rights);
			gmm_pt_walk(&a->pt, va, &w);
			MUST((int)w.stop == stop);
			MUST(w.level == level);
			if (stop == GMM_PT_MAPPED) {
				MUST(w.pa == pa);
				MUST(w.rights == rights);
				seen_level[level]++;
			}
			seen[stop]++;
		}
		arena_done(a);
	}
	for (int i = 0; i < 5; i++)
		ck_assert_uint_gt(seen[i], 100);
	for (int i = 1; i < 4; i++)
		ck_assert_uint_gt(seen_level[i], 100);
}
END_TEST

/* Rights and error codes, written out from the manual. */
START_TEST(faults)
{
	static const struct {
		unsigned mode;
		uint64_t rights;
		unsigned access;
		int code; /* -1: none */
	} cases[] = {
		{MODE, 0, 0, -1},
		{MODE, 0, GMM_PT_FAULT_WRITE, 3},
		{0, 0, GMM_PT_FAULT_WRITE, -1}, /* without CR0.WP */
		{0, GMM_PT_U, GMM_PT_FAULT_WRITE | GMM_PT_FAULT_USER, 7},
		{MODE, GMM_PT_W, GMM_PT_FAULT_USER, 5},
		{MODE, GMM_PT_W, GMM_PT_FAULT_USER | GMM_PT_FAULT_WRITE, 7},
		{MODE, GMM_PT_W | GMM_PT_U, GMM_PT_FAULT_USER | GMM_PT_FAULT_WRITE, -1},
		{MODE, GMM_PT_NX, GMM_PT_FAULT_FETCH, 0x11},
		{MODE, 0, GMM_PT_FAULT_FETCH, -1},
		{MODE, GMM_PT_NX | GMM_PT_U, GMM_PT_FAULT_FETCH | GMM_PT_FAULT_USER, 0x15},
		{MODE, 0, GMM_PT_FAULT_FETCH | GMM_PT_FAULT_USER, 0x15},
		{0, 0, GMM_PT_FAULT_FETCH | GMM_PT_FAULT_USER, 5},
		{MODE | GMM_PT_SMEP, GMM_PT_U, GMM_PT_FAULT_FETCH, 0x11},
		{MODE | GMM_PT_SMEP, GMM_PT_U, GMM_PT_FAULT_FETCH | GMM_PT_FAULT_USER, -1},
		{MODE | GMM_PT_SMAP, GMM_PT_U, 0, 1},
		{MODE | GMM_PT_SMAP, GMM_PT_U | GMM_PT_W, GMM_PT_FAULT_WRITE, 3},
		{MODE | GMM_PT_SMAP, GMM_PT_U, GMM_PT_FAULT_FETCH, -1},
	};
	struct gmm_pt_result w = {.stop = GMM_PT_MAPPED};
	unsigned code;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct gmm_pt pt = {.mode = cases[i].mode};

		w.rights = cases[i].rights;
		ck_assert_msg(gmm_pt_fault(&pt, &w, cases[i].access, &code) == (cases[i].code >= 0),
			      "case %zu", i);
		if (cases[i].code >= 0)
			ck_assert_msg((int)code == cases[i].code, "case %zu: %x", i, code);
	}
	w.stop = GMM_PT_NOT_PRESENT;
	ck_assert(gmm_pt_fault(&(struct gmm_pt){0}, &w, GMM_PT_FAULT_WRITE, &code));
	ck_assert_uint_eq(code, 2);
	w.stop = GMM_PT_RESERVED;
	ck_assert(gmm_pt_fault(&(struct gmm_pt){0}, &w, GMM_PT_FAULT_USER, &code));
	ck_assert_uint_eq(code, 0xd);
	w.stop = GMM_PT_NONCANONICAL;
	ck_assert(!gmm_pt_fault(&(struct gmm_pt){0}, &w, 0, &code));
}
END_TEST

UNIT_MAIN("pagetable", the_largest_page_that_fits, bad_arguments_change_nothing,
	  a_failed_map_maps_nothing, overlaps_are_refused, tables_do_not_leak,
	  random_ranges_low_end, random_ranges_end_of_the_low_half, random_ranges_across_512_gib,
	  random_ranges_end_of_all, random_ranges_five_levels, large_pages_keep_their_memory_type,
	  the_walker_agrees_with_a_flat_one, faults)
