/* Replaying traces: the optimum against a search that looks at everything, policies against the
 * optimum, and files that are none. */
#include "vmm/cmd/replay.h"

#include <errno.h>
#include <guestmm/pool.h>

#include "unit.h"

static uint64_t state = 88172645463325252;

static uint64_t draw(uint64_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 8) % n;
}

static struct replay_trace make(uint64_t n_events, uint64_t n_pages)
{
	struct replay_trace t = {.sort = GMM_TRACE_REFERENCES,
				 .n_events = n_events,
				 .n_touches = n_events,
				 .n_pages = n_pages,
				 .pages = calloc(n_events, sizeof(uint32_t)),
				 .events = calloc(n_events, 1)};

	return t;
}

static uint64_t optimum(const struct replay_trace *t, uint64_t limit)
{
	struct replay_result r;

	ck_assert_int_eq(replay_optimum(t, limit, &r), 0);
	return r.refaults;
}

/* Belady's own example: 12 touches, 3 frames, 7 faults, 5 of which are first touches. */
START_TEST(the_textbooks_example)
{
	static const uint32_t pages[] = {1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5};
	struct replay_trace t = make(12, 6);

	memcpy(t.pages, pages, sizeof(pages));
	memset(t.events, REPLAY_WRITE, 12);
	ck_assert_uint_eq(optimum(&t, 3), 2);
	ck_assert_uint_eq(optimum(&t, 4), 1);
	ck_assert_uint_eq(optimum(&t, 5), 0);
	memset(t.events, REPLAY_READ, 12); /* zeros need not be kept */
	ck_assert_uint_eq(optimum(&t, 3), 0);
	replay_unload(&t);
}
END_TEST

/* The fewest refaults from event i on, with the pages of `in` resident and those of `written` not
 * zero: by trying every victim. */
static unsigned fewest(const struct replay_trace *t, uint64_t i, unsigned limit, unsigned in,
		       unsigned written)
{
	unsigned best = UINT32_MAX, bit, cost;

	if (i == t->n_events)
		return 0;
	bit = 1u << t->pages[i];
	if (t->events[i] == REPLAY_DISCARD)
		return fewest(t, i + 1, limit, in & ~bit, written & ~bit);
	cost = (written & bit) && !(in & bit);
	if (t->events[i] == REPLAY_WRITE)
		written |= bit;
	if (in & bit || (unsigned)__builtin_popcount(in) < limit)
		return cost + fewest(t, i + 1, limit, in | bit, written);
	for (unsigned victim = 1; victim <= in; victim <<= 1) {
		unsigned n;

		if (!(in & victim))
			continue;
		n = fewest(t, i + 1, limit, (in & ~victim) | bit, written);
		best = n < best ? n : best;
	}
	return cost + best;
}

START_TEST(nobody_does_better_than_the_optimum)
{
	for (unsigned k = 0; k < 500; k++) {
		struct replay_trace t = make(6 + draw(9), 5);
		unsigned limit = 1 + (unsigned)draw(4);

		for (uint64_t i = 0; i < t.n_events; i++) {
			t.pages[i] = (uint32_t)draw(5);
			t.events[i] = (uint8_t)(draw(8) ? draw(2) : REPLAY_DISCARD);
		}
		ck_assert_uint_eq(optimum(&t, limit), fewest(&t, 0, limit, 0, 0));
		replay_unload(&t);
	}
}
END_TEST

/* Skewed touches, writes and reads, a scan now and then, pages given up. */
static struct replay_trace mixture(uint64_t n_events, uint64_t n_pages)
{
	struct replay_trace t = make(n_events, n_pages);

	for (uint64_t i = 0; i < n_events; i++) {
		uint64_t page = draw(1 + draw(1 + draw(n_pages)));

		t.pages[i] = (uint32_t)(i % 3 ? page : i / 3 % n_pages);
		t.events[i] = draw(50) == 0 ? REPLAY_DISCARD : draw(2) ? REPLAY_WRITE : REPLAY_READ;
	}
	return t;
}

START_TEST(policies_lie_between_the_optimum_and_everything)
{
	struct replay_trace t = mixture(100000, 4000);

	for (uint64_t limit = 600; limit <= 5000; limit += 1100) {
		uint64_t best = optimum(&t, limit);

		for (unsigned i = 0; gmm_policy_at(i); i++) {
			struct replay_result r;

			ck_assert_int_eq(replay_policy(&t, gmm_policy_at(i), limit, &r), 0);
			if (limit > t.n_pages + 600) { /* nothing ever has to go */
				ck_assert_uint_eq(r.evictions + r.refaults + best, 0);
				continue;
			}
			ck_assert_uint_ge(r.refaults, best);
			ck_assert_uint_lt(r.refaults + r.rescues + r.first_touches, t.n_events);
			/* What left for good, came back before, or still waits. */
			ck_assert_uint_ge(r.evictions, r.zero + r.clean + r.written + r.rescues);
			ck_assert_uint_gt(r.clean, 0);
			ck_assert_uint_gt(r.zero, 0);
		}
	}
	replay_unload(&t);
}
END_TEST

/* Two pages more than fit in, in turn: with first in, first out all that leave are needed next. */
START_TEST(a_loop_under_fifo)
{
	struct replay_trace t = make(40 * 1026, 1026);
	struct replay_result r;

	for (uint64_t i = 0; i < t.n_events; i++) {
		t.pages[i] = (uint32_t)(i % 1026);
		t.events[i] = REPLAY_WRITE;
	}
	ck_assert_int_eq(replay_policy(&t, gmm_policy_find("fifo"), 1024, &r), 0);
	ck_assert_uint_eq(r.refaults + r.rescues, 39 * 1026);
	ck_assert_int_eq(replay_policy(&t, gmm_policy_find("heat"), 1024, &r), 0);
	ck_assert_uint_lt(r.refaults, 39 * 1026 / 4);
	replay_unload(&t);
}
END_TEST

/* ---- files ---- */

static struct gmm_trace_header header(enum gmm_trace_sort sort)
{
	struct gmm_trace_header h = {.version = GMM_TRACE_VERSION,
				     .record_bytes = sizeof(struct gmm_trace_record),
				     .sort = sort,
				     .limit_bytes = 1 << 22};

	memcpy(h.magic, GMM_TRACE_MAGIC, sizeof(h.magic));
	return h;
}

static int load(const struct gmm_trace_header *h, const struct gmm_trace_record *records,
		size_t bytes, struct replay_trace *t)
{
	char error[200] = "";
	FILE *f = tmpfile();
	int rc;

	ck_assert_ptr_nonnull(f);
	fwrite(h, sizeof(*h), 1, f);
	fwrite(records, 1, bytes, f);
	rewind(f);
	rc = replay_load(f, t, error, sizeof(error));
	fclose(f);
	ck_assert_int_eq(rc != 0, error[0] != '\0');
	return rc;
}

START_TEST(a_fault_trace_is_read)
{
	const struct gmm_trace_record records[] = {
		gmm_trace_make(1000, 0x400, GMM_TRACE_FIRST_TOUCH),
		gmm_trace_make(1001, 0x123456789, GMM_TRACE_FILL_AHEAD),
		gmm_trace_make(1002, 0x300, GMM_TRACE_PREFETCH),
		gmm_trace_make(1003, 0x400, GMM_TRACE_EVICT),
		gmm_trace_make(1004, 17, GMM_TRACE_LOST),
		gmm_trace_make(1005, 0x300, GMM_TRACE_DISCARD),
		gmm_trace_make(1006, 0xff00000000, GMM_TRACE_RESCUE),
		gmm_trace_make(2000, 0x400, GMM_TRACE_SWAP_IN),
	};
	static const uint32_t pages[] = {1, 0, 0, 2, 1};
	static const uint8_t events[] = {REPLAY_WRITE, REPLAY_WRITE, REPLAY_DISCARD, REPLAY_WRITE,
					 REPLAY_WRITE};
	struct gmm_trace_header h = header(GMM_TRACE_FAULTS);
	struct replay_trace t;

	/* The last record is cut short in the file of a guest that was killed. */
	ck_assert_int_eq(load(&h, records, sizeof(records) - 3, &t), 0);
	ck_assert_uint_eq(t.n_events, 4);
	replay_unload(&t);
	ck_assert_int_eq(load(&h, records, sizeof(records), &t), 0);
	ck_assert_uint_eq(t.n_events, 5);
	ck_assert_uint_eq(t.n_touches, 4);
	ck_assert_uint_eq(t.n_pages, 3);
	ck_assert_uint_eq(t.n_lost, 17);
	ck_assert_uint_eq(t.duration_ns, 1000);
	ck_assert_uint_eq(t.limit_bytes, 1 << 22);
	ck_assert_mem_eq(t.pages, pages, sizeof(pages));
	ck_assert_mem_eq(t.events, events, sizeof(events));
	replay_unload(&t);
}
END_TEST

START_TEST(what_is_no_trace_is_refused)
{
	struct gmm_trace_record r = gmm_trace_make(0, 1, GMM_TRACE_READ);
	struct gmm_trace_header good = header(GMM_TRACE_REFERENCES), h;
	struct replay_trace t;

	ck_assert_int_eq(load(&good, &r, sizeof(r), &t), 0);
	ck_assert_uint_eq(t.n_touches, 1);
	replay_unload(&t);
	ck_assert_int_eq(load(&good, &r, 0, &t), -EINVAL); /* no touches */
	h = good, h.magic[0] = 'G';
	ck_assert_int_eq(load(&h, &r, sizeof(r), &t), -EINVAL);
	h = good, h.version = 2;
	ck_assert_int_eq(load(&h, &r, sizeof(r), &t), -EINVAL);
	h = good, h.record_bytes = 24;
	ck_assert_int_eq(load(&h, &r, sizeof(r), &t), -EINVAL);
	h = good, h.sort = 3;
	ck_assert_int_eq(load(&h, &r, sizeof(r), &t), -EINVAL);
	h = good, h.sort = GMM_TRACE_FAULTS; /* where nobody sees reads */
	ck_assert_int_eq(load(&h, &r, sizeof(r), &t), -EINVAL);
	r = gmm_trace_make(0, 1, (enum gmm_trace_kind)200);
	ck_assert_int_eq(load(&good, &r, sizeof(r), &t), -EINVAL);
}
END_TEST

UNIT_MAIN("replay", the_textbooks_example, nobody_does_better_than_the_optimum,
	  policies_lie_between_the_optimum_and_everything, a_loop_under_fifo, a_fault_trace_is_read,
	  what_is_no_trace_is_refused)
