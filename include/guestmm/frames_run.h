/* Inside gmm_frames: runs of frames, and the counts.
 *
 * Include <guestmm/frames.h>, not this.
 */
#ifndef GUESTMM_FRAMES_RUN_H
#define GUESTMM_FRAMES_RUN_H

#include <guestmm/frames_core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Huge frames ---- */

/* Takes the whole area, if all of it is free. */
static inline bool gmm_fr_take_whole(struct gmm_fr r, uint64_t area)
{
	uint64_t *words = gmm_fr_words(r) + area * GMM_FR_WORDS;
	unsigned n = 0;

	if (!gmm_fr_area_is(r, area, 0))
		return false;
	for (uint64_t old = 0; n < GMM_FR_WORDS && gmm_fr_cas(&words[n], &old, GMM_FR_ALL); n++)
		old = 0;
	if (n < GMM_FR_WORDS) /* somebody was faster */
		for (unsigned i = 0; i < n; i++)
			__atomic_store_n(&words[i], 0, __ATOMIC_SEQ_CST);
	gmm_fr_settle(r, area);
	return n == GMM_FR_WORDS;
}

static inline void gmm_fr_area_class_set(struct gmm_fr r, uint64_t area, unsigned holder)
{
	for (unsigned i = 0; i < GMM_FR_WORDS; i++)
		gmm_fr_class_set(r, area * GMM_FR_WORDS + i, GMM_FR_ALL, holder);
}

GMM_FR_SLOW int gmm_fr_get_huge_as(struct gmm_fr r, unsigned caller, unsigned holder,
				   uint64_t *first)
{
	uint64_t n_areas = r.n_frames / GMM_FRAMES_HUGE; /* whole ones */
	uint64_t area = gmm_fr_load(&r.f->huge_area);

	if (holder >= GMM_FRAMES_HOLDERS)
		return -GMM_FRAMES_EINVAL;
	/* first where kinds[] says FREE, then everywhere */
	for (uint64_t i = 0; i < 2 * n_areas; i++, area++) {
		if (area >= n_areas)
			area = 0;
		if (i < n_areas && gmm_fr_kind(r, area) != GMM_FR_FREE)
			continue;
		if (i == n_areas)
			gmm_fr_untie_all(r);
		if (!gmm_fr_take_whole(r, area))
			continue;
		__atomic_store_n(&r.f->huge_area, area, __ATOMIC_RELAXED);
		if (holder != GMM_FRAMES_GUEST)
			gmm_fr_area_class_set(r, area, holder);
		gmm_fr_class_count(r, caller, holder, GMM_FRAMES_HUGE);
		gmm_fr_count(&gmm_fr_caller(r, caller)->n_got, caller, GMM_FRAMES_HUGE);
		*first = area * GMM_FRAMES_HUGE;
		return 0;
	}
	return -GMM_FRAMES_ENOMEM;
}

/* The bits of word w that lie in [first, first + n). */
static inline uint64_t gmm_fr_range_mask(uint64_t w, uint64_t first, uint64_t n)
{
	uint64_t from = first > w * 64 ? first - w * 64 : 0;
	uint64_t to = first + n - w * 64;

	return (to >= 64 ? GMM_FR_ALL : (UINT64_C(1) << to) - 1) & (GMM_FR_ALL << from);
}

/* Sets the bits of the frames; false, and none is set, where one is set already. */
static inline bool gmm_fr_claim_bits(struct gmm_fr r, uint64_t first, uint64_t n)
{
	uint64_t *words = gmm_fr_words(r);
	uint64_t w, begin = first / 64, end = (first + n + 63) / 64;

	for (w = begin; w < end; w++) {
		uint64_t mask = gmm_fr_range_mask(w, first, n);
		uint64_t old = mask == GMM_FR_ALL ? 0 : gmm_fr_load(&words[w]);
		unsigned tries = 0;

		while (!(old & mask) && tries++ < GMM_FR_TRIES)
			if (gmm_fr_cas(&words[w], &old, old | mask)) {
				tries = 0;
				break;
			}
		if (tries || (old & mask))
			break;
	}
	if (w < end) {
		while (w-- > begin)
			gmm_fr_clear(r, w, gmm_fr_range_mask(w, first, n));
		return false;
	}
	return true;
}

GMM_FR_SLOW int gmm_fr_claim_as(struct gmm_fr r, unsigned holder, uint64_t first, uint64_t n)
{
	uint64_t w, begin = first / 64, end;

	if (holder >= GMM_FRAMES_HOLDERS)
		return -GMM_FRAMES_EINVAL;
	if (n == 0 || first >= r.n_frames || n > r.n_frames - first)
		return -GMM_FRAMES_ERANGE;
	end = (first + n + 63) / 64;
	if (!gmm_fr_claim_bits(r, first, n) &&
	    (!gmm_fr_untie_all(r) || !gmm_fr_claim_bits(r, first, n)))
		return -GMM_FRAMES_EBUSY;
	for (w = begin; w < end && holder != GMM_FRAMES_GUEST; w++)
		gmm_fr_class_set(r, w, gmm_fr_range_mask(w, first, n), holder);
	gmm_fr_class_count(r, GMM_FRAMES_ANYONE, holder, n);
	for (uint64_t area = begin / GMM_FR_WORDS; area * GMM_FR_WORDS < end; area++)
		gmm_fr_settle(r, area);
	gmm_fr_count(&gmm_fr_caller(r, GMM_FRAMES_ANYONE)->n_got, GMM_FRAMES_ANYONE, n);
	return 0;
}

/* ---- Orders in between: 2^order frames, aligned to as many ---- */

/* A bit where 2^order free frames begin, aligned; for orders up to 6. */
static inline uint64_t gmm_fr_aligned(uint64_t free, unsigned order)
{
	static const uint64_t starts[] = {
		GMM_FR_ALL,
		UINT64_C(0x5555555555555555),
		UINT64_C(0x1111111111111111),
		UINT64_C(0x0101010101010101),
		UINT64_C(0x0001000100010001),
		UINT64_C(0x0000000100000001),
		1,
	};

	for (unsigned k = 0; k < order; k++)
		free &= free >> (1u << k);
	return free & starts[order];
}

/* Takes part of one word; the first frame, or GMM_FR_ALL. */
static inline uint64_t gmm_fr_order_in_word(struct gmm_fr r, uint64_t w, unsigned order)
{
	uint64_t *word = gmm_fr_words(r) + w, old = gmm_fr_load(word), run, at;

	run = order < 6 ? (UINT64_C(1) << (1u << order)) - 1 : GMM_FR_ALL;
	for (unsigned i = 0; i < GMM_FR_TRIES; i++) {
		at = gmm_fr_aligned(~old & gmm_fr_exist(r, w), order);
		if (!at)
			break;
		at = (uint64_t)__builtin_ctzll(at);
		if (gmm_fr_cas(word, &old, old | run << at))
			return w * 64 + at;
	}
	return GMM_FR_ALL;
}

/* Takes n whole words; false: none was taken. */
static inline bool gmm_fr_take_words(struct gmm_fr r, uint64_t w, unsigned n)
{
	uint64_t *words = gmm_fr_words(r) + w, old = 0;
	unsigned k = 0;

	for (unsigned i = 0; i < n; i++)
		if (gmm_fr_load(&words[i]) || gmm_fr_exist(r, w + i) != GMM_FR_ALL)
			return false;
	for (; k < n && gmm_fr_cas(&words[k], &old, GMM_FR_ALL); k++)
		old = 0;
	for (unsigned i = 0; k < n && i < k; i++) /* somebody was faster */
		__atomic_store_n(&words[i], 0, __ATOMIC_SEQ_CST);
	return k == n;
}

static inline uint64_t gmm_fr_order_in_area(struct gmm_fr r, uint64_t area, unsigned order)
{
	unsigned step = order > 6 ? 1u << (order - 6) : 1;
	uint64_t first = GMM_FR_ALL;

	for (unsigned i = 0; i < GMM_FR_WORDS && first == GMM_FR_ALL; i += step) {
		uint64_t w = area * GMM_FR_WORDS + i;

		if (order <= 6)
			first = gmm_fr_order_in_word(r, w, order);
		else if (gmm_fr_take_words(r, w, step))
			first = w * 64;
	}
	if (first != GMM_FR_ALL || order > 6)
		gmm_fr_settle(r, area);
	return first;
}

/* Looks into n_areas areas from `area` on, whose kind is in [from, to]. */
static inline uint64_t gmm_fr_order_search(struct gmm_fr r, uint64_t area, uint64_t n_areas,
					   unsigned order, unsigned from, unsigned to)
{
	uint64_t end = gmm_fr_n_areas(r.n_frames), first = GMM_FR_ALL;

	for (uint64_t i = 0; i < n_areas && first == GMM_FR_ALL; i++, area++) {
		unsigned kind;

		area = area < end ? area : 0;
		kind = gmm_fr_kind(r, area);
		if (kind >= from && kind <= to)
			first = gmm_fr_order_in_area(r, area, order);
	}
	return first;
}

GMM_FR_SLOW int gmm_fr_get_order_as(struct gmm_fr r, unsigned caller, unsigned holder,
				    unsigned order, uint64_t *first)
{
	uint64_t area, end = gmm_fr_n_areas(r.n_frames), x = GMM_FR_ALL, n;

	if (order == 9)
		return gmm_fr_get_huge_as(r, caller, holder, first);
	if (order > 9 || holder >= GMM_FRAMES_HOLDERS)
		return -GMM_FRAMES_EINVAL;
	area = (gmm_fr_load(&gmm_fr_caller(r, caller)->next1) - 1) / GMM_FRAMES_HUGE;
	/* in the caller's own area, in partly used ones near by, in a free one, anywhere */
	if (area < end)
		x = gmm_fr_order_in_area(r, area, order);
	else
		area = 0;
	if (x == GMM_FR_ALL)
		x = gmm_fr_order_search(r, area, end < GMM_FR_FAR ? end : GMM_FR_FAR, order, 1,
					GMM_FR_PART_MAX);
	if (x == GMM_FR_ALL)
		x = gmm_fr_order_search(r, area, end, order, GMM_FR_FREE, GMM_FR_FREE);
	if (x == GMM_FR_ALL) {
		gmm_fr_untie_all(r);
		x = gmm_fr_order_search(r, area, end, order, GMM_FR_FREE, GMM_FR_FULL);
	}
	if (x == GMM_FR_ALL)
		return -GMM_FRAMES_ENOMEM;
	n = UINT64_C(1) << order;
	for (uint64_t w = x / 64; w * 64 < x + n && holder != GMM_FRAMES_GUEST; w++)
		gmm_fr_class_set(r, w, gmm_fr_range_mask(w, x, n), holder);
	gmm_fr_class_count(r, caller, holder, n);
	gmm_fr_count(&gmm_fr_caller(r, caller)->n_got, caller, n);
	*first = x;
	return 0;
}

GMM_FR_SLOW int gmm_fr_put_run_as(struct gmm_fr r, unsigned caller, unsigned holder, uint64_t first,
				  uint64_t n)
{
	uint64_t begin = first / 64, end, put = 0;
	int err = 0;

	if (holder >= GMM_FRAMES_HOLDERS)
		return -GMM_FRAMES_EINVAL;
	if (n == 0 || first >= r.n_frames || n > r.n_frames - first)
		return -GMM_FRAMES_ERANGE;
	end = (first + n + 63) / 64;
	/* a free frame is the first thing to be told of */
	for (uint64_t w = begin; w < end && err != -GMM_FRAMES_EALREADY; w++) {
		int e = gmm_fr_check_word(r, w, gmm_fr_range_mask(w, first, n), holder);

		err = e ? e : err;
	}
	if (err)
		return err;
	for (uint64_t w = begin; w < end; w++) {
		uint64_t mask = gmm_fr_range_mask(w, first, n);

		gmm_fr_make_plain(r, w, mask, holder);
		put += gmm_fr_popcount(
			mask & __atomic_fetch_and(gmm_fr_words(r) + w, ~mask, __ATOMIC_SEQ_CST));
		if ((w + 1) % GMM_FR_WORDS == 0 || w + 1 == end)
			gmm_fr_settle(r, w / GMM_FR_WORDS);
	}
	gmm_fr_count(&gmm_fr_caller(r, caller)->n_put, caller, put);
	gmm_fr_class_count(r, caller, holder, -put);
	return put == n ? 0 : -GMM_FRAMES_EALREADY;
}

static inline int gmm_fr_put_huge_as(struct gmm_fr r, unsigned caller, unsigned holder,
				     uint64_t first)
{
	if (first % GMM_FRAMES_HUGE)
		return -GMM_FRAMES_ERANGE;
	return gmm_fr_put_run_as(r, caller, holder, first, GMM_FRAMES_HUGE);
}

/* ---- Counts ---- */

/* Sums what each caller counted: frames put less frames got, or held as `holder`. */
static inline uint64_t gmm_fr_sum(struct gmm_fr r, unsigned holder)
{
	unsigned n_callers = __atomic_load_n(&r.f->n_callers, __ATOMIC_RELAXED);
	uint64_t n = 0;

	n_callers = n_callers < GMM_FRAMES_CALLERS ? n_callers : GMM_FRAMES_CALLERS;
	for (unsigned i = 0; i <= n_callers; i++) {
		const struct gmm_frames_caller *c =
			&r.f->callers[i < n_callers ? i : GMM_FRAMES_CALLERS];

		n += holder == GMM_FRAMES_GUEST ? gmm_fr_load(&c->n_put) - gmm_fr_load(&c->n_got)
						: gmm_fr_load(&c->held[holder]);
	}
	return n;
}

/* A sum that was read while others were at it, or that the other side made up. */
static inline uint64_t gmm_fr_bound(struct gmm_fr r, uint64_t n)
{
	if ((int64_t)n < 0)
		return 0;
	return n < r.n_frames ? n : r.n_frames;
}

static inline uint64_t gmm_fr_n_free(struct gmm_fr r)
{
	return gmm_fr_bound(r, r.n_frames + gmm_fr_sum(r, GMM_FRAMES_GUEST));
}

static inline uint64_t gmm_fr_n_held(struct gmm_fr r, unsigned holder)
{
	uint64_t n;

	if (holder >= GMM_FRAMES_HOLDERS)
		return 0;
	if (holder != GMM_FRAMES_GUEST)
		return gmm_fr_bound(r, gmm_fr_sum(r, holder));
	n = -gmm_fr_sum(r, GMM_FRAMES_GUEST);
	for (unsigned i = GMM_FRAMES_GUEST + 1; i < GMM_FRAMES_HOLDERS; i++)
		n -= gmm_fr_sum(r, i);
	return gmm_fr_bound(r, n);
}

static inline uint64_t gmm_fr_n_free_huge(struct gmm_fr r)
{
	const uint8_t *kinds = gmm_fr_kinds(r);
	uint64_t n = 0;

	gmm_fr_untie_all(r);
	for (uint64_t area = 0; area < r.n_frames / GMM_FRAMES_HUGE; area++) {
		unsigned kind = __atomic_load_n(&kinds[area], __ATOMIC_RELAXED);

		n += kind == GMM_FR_FREE || (kind == GMM_FR_RESERVED && gmm_fr_area_is(r, area, 0));
	}
	return n;
}

#ifdef __cplusplus
}
#endif
#endif
