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

GMM_FR_SLOW int gmm_fr_put_huge_as(struct gmm_fr r, unsigned caller, unsigned holder,
				   uint64_t first)
{
	uint64_t area = first / GMM_FRAMES_HUGE;
	uint64_t *words = gmm_fr_words(r) + area * GMM_FR_WORDS;
	unsigned put = 0;
	int err = 0;

	if (first % GMM_FRAMES_HUGE || first >= r.n_frames || r.n_frames - first < GMM_FRAMES_HUGE)
		return -GMM_FRAMES_ERANGE;
	if (holder >= GMM_FRAMES_HOLDERS)
		return -GMM_FRAMES_EINVAL;
	/* a free frame is the first thing to be told of */
	for (unsigned i = 0; i < GMM_FR_WORDS && err != -GMM_FRAMES_EALREADY; i++) {
		int e = gmm_fr_check_word(r, area * GMM_FR_WORDS + i, GMM_FR_ALL, holder);

		err = e ? e : err;
	}
	if (err)
		return err;
	for (unsigned i = 0; i < GMM_FR_WORDS; i++)
		gmm_fr_make_plain(r, area * GMM_FR_WORDS + i, GMM_FR_ALL, holder);
	for (unsigned i = 0; i < GMM_FR_WORDS; i++)
		put += gmm_fr_popcount(__atomic_exchange_n(&words[i], 0, __ATOMIC_SEQ_CST));
	gmm_fr_settle(r, area);
	gmm_fr_count(&gmm_fr_caller(r, caller)->n_put, caller, put);
	gmm_fr_class_count(r, caller, holder, -(uint64_t)put);
	return put == GMM_FRAMES_HUGE ? 0 : -GMM_FRAMES_EALREADY;
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
