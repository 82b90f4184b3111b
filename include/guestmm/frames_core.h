/* Inside gmm_frames: taking and returning.
 *
 * All changes to the bitmap are in this file. Each is one atomic operation on one word; whoever
 * makes it looks after kinds[] (frames_hints.h) before it returns.
 *
 * A side that does not trust the block, a VMM whose guest has it, calls the gmm_fr_ twin of each
 * public function, at the end of this file, with the number of frames that it knows itself.
 *
 * Include <guestmm/frames.h>, not this.
 */
#ifndef GUESTMM_FRAMES_CORE_H
#define GUESTMM_FRAMES_CORE_H

#include <guestmm/frames_class.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Taking ---- */

static inline unsigned gmm_fr_emit(uint64_t base, uint64_t mask, uint64_t *frames)
{
	unsigned low = (unsigned)__builtin_ctzll(mask), n = 0;
	uint64_t run = mask >> low;

	if (!(run & (run + 1))) { /* one run */
		unsigned len = run == GMM_FR_ALL ? 64 : (unsigned)__builtin_ctzll(run + 1);

		for (; n < len; n++)
			frames[n] = base + low + n;
		return n;
	}
	for (; mask; mask &= mask - 1)
		frames[n++] = base + (unsigned)__builtin_ctzll(mask);
	return n;
}

/* The frames of word w that exist. In a sound block the others are in use for ever; this
 * is for one that is not. */
static inline uint64_t gmm_fr_exist(struct gmm_fr r, uint64_t w)
{
	if (w < r.n_frames / 64)
		return GMM_FR_ALL;
	return w == r.n_frames / 64 ? ~(GMM_FR_ALL << (r.n_frames % 64)) : 0;
}

/* Takes up to n frames of word w. The caller calls gmm_fr_filled() afterwards. */
static inline unsigned gmm_fr_take_word(struct gmm_fr r, uint64_t w, unsigned n, uint64_t *frames)
{
	uint64_t *word = gmm_fr_words(r) + w;
	uint64_t old = gmm_fr_load(word), exist = gmm_fr_exist(r, w);

	for (unsigned i = 0; (~old & exist) && i < GMM_FR_TRIES; i++) {
		uint64_t mask = gmm_fr_lowest(~old & exist, n);

		if (gmm_fr_cas(word, &old, old | mask))
			return gmm_fr_emit(w * 64, mask, frames);
	}
	return 0;
}

/* Takes up to n frames of the area, ascending. */
static inline unsigned gmm_fr_take_area(struct gmm_fr r, uint64_t area, unsigned n,
					uint64_t *frames)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < GMM_FR_WORDS && taken < n; i++)
		taken += gmm_fr_take_word(r, area * GMM_FR_WORDS + i, n - taken, frames + taken);
	if (taken)
		gmm_fr_filled(r, area);
	return taken;
}

/* ---- Sweeping ---- */

/* Takes wherever the bitmap has something: the hints named no place. First where kinds[] does
 * not say FULL, then everywhere. */
GMM_FR_SLOW unsigned gmm_fr_sweep(struct gmm_fr r, struct gmm_frames_caller *c, unsigned n,
				  uint64_t *frames)
{
	uint64_t n_areas = gmm_fr_n_areas(r.n_frames);
	unsigned taken = 0;

	for (unsigned pass = 0; pass < 2; pass++)
		for (uint64_t area = 0; area < n_areas && taken < n; area++) {
			unsigned got;

			if (!pass && gmm_fr_kind(r, area) == GMM_FR_FULL)
				continue;
			got = gmm_fr_take_area(r, area, n - taken, frames + taken);
			if (got)
				gmm_fr_move(r, c, frames[taken + got - 1]);
			taken += got;
		}
	return taken;
}

static inline void gmm_fr_reverse(uint64_t *frames, unsigned n)
{
	for (unsigned i = 0; i < n / 2; i++) {
		uint64_t x = frames[i];

		frames[i] = frames[n - 1 - i];
		frames[n - 1 - i] = x;
	}
}

/* Areas are visited in ascending order, most often; where the search wrapped around
 * it takes a rotation, and seldom more. */
GMM_FR_SLOW void gmm_fr_sort(uint64_t *frames, unsigned n)
{
	unsigned n_drops = 0, drop = 0;

	for (unsigned i = 1; i < n; i++)
		if (frames[i] < frames[i - 1]) {
			n_drops++;
			drop = i;
		}
	if (n_drops == 1 && frames[n - 1] < frames[0]) {
		gmm_fr_reverse(frames, drop);
		gmm_fr_reverse(frames + drop, n - drop);
		gmm_fr_reverse(frames, n);
		return;
	}
	for (unsigned gap = n / 2; n_drops && gap; gap /= 2) /* Shell's */
		for (unsigned i = gap; i < n; i++) {
			uint64_t x = frames[i];
			unsigned j = i;

			for (; j >= gap && frames[j - gap] > x; j -= gap)
				frames[j] = frames[j - gap];
			frames[j] = x;
		}
}

/* ---- Returning ---- */

/* Clears those bits of `mask` that are set in word w; returns them. */
static inline uint64_t gmm_fr_clear(struct gmm_fr r, uint64_t w, uint64_t mask)
{
	uint64_t now = __atomic_fetch_and(gmm_fr_words(r) + w, ~mask, __ATOMIC_SEQ_CST);
	uint64_t cleared = now & mask;

	if (cleared && gmm_fr_unsettled(gmm_fr_kind(r, w / GMM_FR_WORDS), now & ~mask))
		gmm_fr_emptied(r, w / GMM_FR_WORDS);
	return cleared;
}

/* The same for one frame; the compiler makes one `lock btr` of it. */
static inline bool gmm_fr_clear_one(struct gmm_fr r, uint64_t frame)
{
	uint64_t *word = gmm_fr_words(r) + frame / 64, bit = UINT64_C(1) << (frame % 64);

	if (!(__atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST) & bit))
		return false;
	if (gmm_fr_unsettled(gmm_fr_kind(r, frame / GMM_FRAMES_HUGE), gmm_fr_load(word)))
		gmm_fr_emptied(r, frame / GMM_FRAMES_HUGE);
	return true;
}

/* Gathers the frames at the head of the list that lie in one word: how many, and their mask.
 * A frame named twice ends the group. */
static inline unsigned gmm_fr_gather(const uint64_t *frames, unsigned n, uint64_t *mask)
{
	uint64_t first = frames[0], bits = 0, differ = 0;
	unsigned i = 0, room = 64 - (unsigned)(first % 64);

	if (n == 1 || frames[1] / 64 != first / 64) {
		*mask = UINT64_C(1) << (first % 64);
		return 1;
	}
	/* the rest of the word in order, perhaps */
	if (n >= room && frames[room / 2] == first + room / 2) {
		for (; i < room; i++)
			differ |= frames[i] ^ (first + i);
		if (!differ) {
			*mask = GMM_FR_ALL << (first % 64);
			return room;
		}
	}
	for (i = 0; i < n && frames[i] / 64 == first / 64; i++) {
		uint64_t bit = UINT64_C(1) << (frames[i] % 64);

		if (bits & bit)
			break;
		bits |= bit;
	}
	*mask = bits;
	return i;
}

static inline int gmm_fr_check_put(struct gmm_fr r, unsigned holder, unsigned n,
				   const uint64_t *frames)
{
	for (unsigned i = 0; i < n; i++)
		if (frames[i] >= r.n_frames)
			return -GMM_FRAMES_ERANGE;
	for (unsigned i = 0; i < n;) {
		uint64_t mask;
		unsigned k = gmm_fr_gather(frames + i, n - i, &mask);

		if (i + k < n && frames[i + k] == frames[i + k - 1]) /* NOLINT: k > 0 */
			return -GMM_FRAMES_EALREADY;
		if (mask & ~gmm_fr_load(gmm_fr_words(r) + frames[i] / 64))
			return -GMM_FRAMES_EALREADY;
		if (!gmm_fr_class_is(r, frames[i] / 64, mask, holder))
			return -GMM_FRAMES_EPERM;
		i += k;
	}
	return 0;
}

/* Returns how many were in use and are free now. */
static inline unsigned gmm_fr_put_list(struct gmm_fr r, unsigned holder, unsigned n,
				       const uint64_t *frames)
{
	unsigned put = 0;

	for (unsigned i = 0; i < n;) {
		uint64_t mask;
		unsigned k = gmm_fr_gather(frames + i, n - i, &mask);

		if (holder != GMM_FRAMES_GUEST)
			gmm_fr_class_set(r, frames[i] / 64, mask, GMM_FRAMES_GUEST);
		put += k == 1 ? gmm_fr_clear_one(r, frames[i])
			      : gmm_fr_popcount(gmm_fr_clear(r, frames[i] / 64, mask));
		i += k;
	}
	return put;
}

/* ---- The inside of the public functions; r.n_frames is trusted, the block is not ---- */

/* Frame x was taken: the caller tries the next free one of the area after this, if there is one. */
GMM_FR_SLOW int gmm_fr_next_word(struct gmm_fr r, struct gmm_frames_caller *c, uint64_t x)
{
	const uint64_t *words = gmm_fr_words(r);
	uint64_t w = x / 64, v = gmm_fr_load(&words[w]) | ~(GMM_FR_ALL << (x % 64));

	while (v == GMM_FR_ALL && ++w % GMM_FR_WORDS)
		v = gmm_fr_load(&words[w]);
	gmm_fr_set_next(c, v == GMM_FR_ALL ? x : w * 64 + (unsigned)__builtin_ctzll(~v));
	return 0;
}

GMM_FR_SLOW int gmm_fr_get_many(struct gmm_fr r, unsigned caller, unsigned n, uint64_t *frames)
{
	struct gmm_frames_caller *c = gmm_fr_caller(r, caller);
	uint64_t area = (gmm_fr_load(&c->next1) - 1) / GMM_FRAMES_HUGE;
	unsigned taken = 0;

	if (n == 0 || n > GMM_FRAMES_HUGE)
		return -GMM_FRAMES_EINVAL;
	if (area < gmm_fr_n_areas(r.n_frames))
		taken = gmm_fr_take_area(r, area, n, frames);
	for (unsigned vain = 0; taken < n && vain < 16;) {
		unsigned got;

		area = gmm_fr_choose(r, area, caller < GMM_FRAMES_CALLERS);
		if (area == GMM_FR_ALL)
			break;
		gmm_fr_move(r, c, area * GMM_FRAMES_HUGE);
		got = gmm_fr_take_area(r, area, n - taken, frames + taken);
		taken += got;
		vain += !got;
	}
	if (taken == n)
		gmm_fr_next_word(r, c, frames[n - 1]);
	else
		taken += gmm_fr_sweep(r, c, n - taken, frames + taken);
	if (taken < n) {
		gmm_fr_put_list(r, GMM_FRAMES_GUEST, taken, frames);
		return -GMM_FRAMES_ENOMEM;
	}
	gmm_fr_sort(frames, n);
	gmm_fr_count(&c->n_got, caller, n);
	return 0;
}

GMM_FR_SLOW int gmm_fr_got_first(struct gmm_fr r, uint64_t area)
{
	gmm_fr_settle(r, area);
	return 0;
}

/* One frame for a caller with a number: the one to try next, or another of the same word. Few
 * instructions, no stores and no calls before the atomic operation, which would wait for them; what
 * to try after this is worked out behind it, while the memory is busy. */
static inline int gmm_fr_get(struct gmm_fr r, unsigned caller, unsigned n, uint64_t *frames)
{
	struct gmm_frames_caller *c = &r.f->callers[caller & (GMM_FRAMES_CALLERS - 1)];
	uint64_t x, v, bit, rest, *word;

	if (n != 1 || caller >= GMM_FRAMES_CALLERS)
		return gmm_fr_get_many(r, caller, n, frames);
	x = gmm_fr_load(&c->next1) - 1;
	if (x >= r.n_frames)
		return gmm_fr_get_many(r, caller, 1, frames);
	word = gmm_fr_words(r) + x / 64;
	v = gmm_fr_load(word);
	if (v >> (x % 64) & 1) {
		if (v == GMM_FR_ALL)
			return gmm_fr_get_many(r, caller, 1, frames);
		x = (x & ~UINT64_C(63)) + (unsigned)__builtin_ctzll(~v);
		if (x >= r.n_frames)
			return gmm_fr_get_many(r, caller, 1, frames);
	}
	bit = UINT64_C(1) << (x % 64);
	if (__atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST) & bit) /* somebody was faster */
		return gmm_fr_get_many(r, caller, 1, frames);
	*frames = x;
	gmm_fr_count(&c->n_got, caller, 1);
	if (__builtin_expect(gmm_fr_kind(r, x / GMM_FRAMES_HUGE) == GMM_FR_FREE, 0))
		return gmm_fr_got_first(r, x / GMM_FRAMES_HUGE);
	rest = ~v & (GMM_FR_ALL - 1) << (x % 64);
	if (!rest)
		return gmm_fr_next_word(r, c, x);
	gmm_fr_set_next(c, (x & ~UINT64_C(63)) + (unsigned)__builtin_ctzll(rest));
	return 0;
}

/* A whole batch that is one word's: by one operation, whatever the word held. */
static inline int gmm_fr_put_group(struct gmm_fr r, unsigned holder, uint64_t w, uint64_t mask)
{
	uint64_t *word = gmm_fr_words(r) + w;
	uint64_t old = gmm_fr_load(word);

	if (mask & ~old)
		return -GMM_FRAMES_EALREADY;
	if (!gmm_fr_class_is(r, w, mask, holder))
		return -GMM_FRAMES_EPERM;
	if (holder != GMM_FRAMES_GUEST)
		gmm_fr_class_set(r, w, mask, GMM_FRAMES_GUEST);
	for (unsigned i = 0; !(mask & ~old) && i < GMM_FR_TRIES; i++)
		if (gmm_fr_cas(word, &old, old & ~mask)) {
			if (gmm_fr_unsettled(gmm_fr_kind(r, w / GMM_FR_WORDS), old & ~mask))
				gmm_fr_emptied(r, w / GMM_FR_WORDS);
			return 0;
		}
	return -GMM_FRAMES_EALREADY;
}

GMM_FR_SLOW int gmm_fr_put_many(struct gmm_fr r, unsigned caller, unsigned holder, unsigned n,
				const uint64_t *frames)
{
	uint64_t mask;
	unsigned put = n;
	int err;

	if (n == 0 || n > GMM_FRAMES_HUGE || holder >= GMM_FRAMES_HOLDERS)
		return -GMM_FRAMES_EINVAL;
	if (gmm_fr_gather(frames, n, &mask) == n && frames[0] < r.n_frames &&
	    frames[0] / 64 * 64 + 63 - (unsigned)__builtin_clzll(mask) < r.n_frames) {
		err = gmm_fr_put_group(r, holder, frames[0] / 64, mask);
		if (err)
			return err;
	} else {
		err = gmm_fr_check_put(r, holder, n, frames);
		if (err)
			return err;
		put = gmm_fr_put_list(r, holder, n, frames);
	}
	gmm_fr_count(&gmm_fr_caller(r, caller)->n_put, caller, put);
	gmm_fr_class_count(r, caller, holder, -(uint64_t)put);
	return put == n ? 0 : -GMM_FRAMES_EALREADY;
}

/* As gmm_fr_get: one frame by a caller with a number. A frame of the area that the caller takes
 * from is the next to be taken: it is still in the cache. */
static inline int gmm_fr_put(struct gmm_fr r, unsigned caller, unsigned n, const uint64_t *frames)
{
	struct gmm_frames_caller *c = &r.f->callers[caller & (GMM_FRAMES_CALLERS - 1)];
	uint64_t x = frames[0], bit = UINT64_C(1) << (x % 64), *word;

	/* (a caller that got nothing yet is not in n_callers) */
	if (n != 1 || caller >= GMM_FRAMES_CALLERS || !gmm_fr_load(&c->next1))
		return gmm_fr_put_many(r, caller, GMM_FRAMES_GUEST, n, frames);
	if (x >= r.n_frames)
		return -GMM_FRAMES_ERANGE;
	word = gmm_fr_words(r) + x / 64;
	if (__builtin_expect(!gmm_fr_class_is(r, x / 64, bit, GMM_FRAMES_GUEST), 0))
		return -GMM_FRAMES_EPERM;
	/* only this bit of the result is asked for: one `lock btr` */
	if (!(__atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST) & bit))
		return -GMM_FRAMES_EALREADY;
	if (((gmm_fr_load(&c->next1) - 1) ^ x) < GMM_FRAMES_HUGE)
		gmm_fr_set_next(c, x);
	gmm_fr_count(&c->n_put, caller, 1);
	if (__builtin_expect(
		    gmm_fr_unsettled(gmm_fr_kind(r, x / GMM_FRAMES_HUGE), gmm_fr_load(word)), 0))
		return gmm_fr_emptied(r, x / GMM_FRAMES_HUGE);
	return 0;
}

/* The frames of the list, which the caller just got, are of this class. */
static inline void gmm_fr_got_as(struct gmm_fr r, unsigned caller, unsigned holder, unsigned n,
				 const uint64_t *frames)
{
	for (unsigned i = 0; i < n;) {
		uint64_t mask, w = frames[i] / 64;

		i += gmm_fr_gather(frames + i, n - i, &mask);
		gmm_fr_class_set(r, w, mask, holder);
	}
	gmm_fr_class_count(r, caller, holder, n);
}

GMM_FR_SLOW int gmm_fr_get_as(struct gmm_fr r, unsigned caller, unsigned holder, unsigned n,
			      uint64_t *frames)
{
	int err = -GMM_FRAMES_EINVAL;

	if (holder < GMM_FRAMES_HOLDERS)
		err = gmm_fr_get(r, caller, n, frames);
	if (!err && holder != GMM_FRAMES_GUEST)
		gmm_fr_got_as(r, caller, holder, n, frames);
	return err;
}

static inline int gmm_fr_put_as(struct gmm_fr r, unsigned caller, unsigned holder, unsigned n,
				const uint64_t *frames)
{
	if (holder == GMM_FRAMES_GUEST)
		return gmm_fr_put(r, caller, n, frames);
	return gmm_fr_put_many(r, caller, holder, n, frames);
}

GMM_FR_SLOW int gmm_fr_pass(struct gmm_fr r, unsigned caller, unsigned from, unsigned to,
			    unsigned n, const uint64_t *frames)
{
	int err;

	if (n == 0 || n > GMM_FRAMES_HUGE || from >= GMM_FRAMES_HOLDERS || to >= GMM_FRAMES_HOLDERS)
		return -GMM_FRAMES_EINVAL;
	err = gmm_fr_check_put(r, from, n, frames);
	if (err)
		return err;
	gmm_fr_class_count(r, caller, from, -(uint64_t)n);
	gmm_fr_got_as(r, caller, to, n, frames);
	return 0;
}

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

	if (first % GMM_FRAMES_HUGE || first >= r.n_frames || r.n_frames - first < GMM_FRAMES_HUGE)
		return -GMM_FRAMES_ERANGE;
	if (holder >= GMM_FRAMES_HOLDERS)
		return -GMM_FRAMES_EINVAL;
	for (unsigned i = 0; i < GMM_FR_WORDS; i++)
		if (gmm_fr_load(&words[i]) != GMM_FR_ALL)
			return -GMM_FRAMES_EALREADY;
	for (unsigned i = 0; i < GMM_FR_WORDS; i++)
		if (!gmm_fr_class_is(r, area * GMM_FR_WORDS + i, GMM_FR_ALL, holder))
			return -GMM_FRAMES_EPERM;
	if (holder != GMM_FRAMES_GUEST)
		gmm_fr_area_class_set(r, area, GMM_FRAMES_GUEST);
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

GMM_FR_SLOW int gmm_fr_claim_as(struct gmm_fr r, unsigned holder, uint64_t first, uint64_t n)
{
	uint64_t *words = gmm_fr_words(r);
	uint64_t w, begin = first / 64, end;

	if (holder >= GMM_FRAMES_HOLDERS)
		return -GMM_FRAMES_EINVAL;
	if (n == 0 || first >= r.n_frames || n > r.n_frames - first)
		return -GMM_FRAMES_ERANGE;
	end = (first + n + 63) / 64;
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
		return -GMM_FRAMES_EBUSY;
	}
	for (w = begin; w < end && holder != GMM_FRAMES_GUEST; w++)
		gmm_fr_class_set(r, w, gmm_fr_range_mask(w, first, n), holder);
	gmm_fr_class_count(r, GMM_FRAMES_ANYONE, holder, n);
	for (uint64_t area = begin / GMM_FR_WORDS; area * GMM_FR_WORDS < end; area++)
		gmm_fr_settle(r, area);
	gmm_fr_count(&gmm_fr_caller(r, GMM_FRAMES_ANYONE)->n_got, GMM_FRAMES_ANYONE, n);
	return 0;
}

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

	for (uint64_t area = 0; area < r.n_frames / GMM_FRAMES_HUGE; area++) {
		unsigned kind = __atomic_load_n(&kinds[area], __ATOMIC_RELAXED);

		n += kind == GMM_FR_FREE || (kind == GMM_FR_RESERVED && gmm_fr_area_is(r, area, 0));
	}
	return n;
}

static inline bool gmm_fr_is_free(struct gmm_fr r, uint64_t frame)
{
	return frame < r.n_frames &&
	       !((__atomic_load_n(gmm_fr_words(r) + frame / 64, __ATOMIC_ACQUIRE) >> (frame % 64)) &
		 1);
}

#ifdef __cplusplus
}
#endif
#endif
