/* Inside gmm_frames: getting and putting.
 *
 * One frame by a caller with a number has paths of its own, a few instructions long; all else
 * goes word by word (frames_word.h).
 *
 * A side that does not trust the block, a VMM whose guest has it, calls the gmm_fr_ twin of each
 * public function, here and in frames_run.h, with the number of frames that it knows itself.
 *
 * Include <guestmm/frames.h>, not this.
 */
#ifndef GUESTMM_FRAMES_CORE_H
#define GUESTMM_FRAMES_CORE_H

#include <guestmm/frames_word.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Sweeping ---- */

/* Takes wherever the bitmap has something: the hints named no place. First where kinds[] does
 * not say FULL, then everywhere. */
GMM_FR_SLOW unsigned gmm_fr_sweep(struct gmm_fr r, struct gmm_frames_caller *c, unsigned n,
				  uint64_t *frames)
{
	uint64_t n_areas = gmm_fr_n_areas(r.n_frames);
	unsigned taken = 0;

	gmm_fr_untie_all(r);
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

	if (area < gmm_fr_n_areas(r.n_frames))
		taken = gmm_fr_take_area(r, area, n, frames);
	for (unsigned vain = 0; taken < n && vain < 16;) {
		unsigned got;

		area = gmm_fr_choose(r, caller, area);
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

/* As get_many, for a caller's batch that may be its bundle. */
GMM_FR_SLOW int gmm_fr_get_batch(struct gmm_fr r, unsigned caller, unsigned n, uint64_t *frames)
{
	struct gmm_frames_bundle *b = gmm_fr_bundle(r, caller, n);
	int err;

	if (n == 0 || n > GMM_FRAMES_HUGE)
		return -GMM_FRAMES_EINVAL;
	if (b && gmm_fr_bundle_get(r, b, n, frames)) {
		gmm_fr_count(&r.f->callers[caller].n_got, caller, n);
		return 0;
	}
	err = gmm_fr_get_many(r, caller, n, frames);
	if (!err && b)
		gmm_fr_bundle_got(r, b, n, frames);
	return err;
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
		return gmm_fr_get_batch(r, caller, n, frames);
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
	int err = gmm_fr_check_word(r, w, mask, holder);

	if (err)
		return err;
	gmm_fr_make_plain(r, w, mask, holder);
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

/* As put_many, for a caller's batch that may be its bundle. */
GMM_FR_SLOW int gmm_fr_put_batch(struct gmm_fr r, unsigned caller, unsigned n,
				 const uint64_t *frames)
{
	struct gmm_frames_bundle *b = gmm_fr_bundle(r, caller, n);

	if (b)
		switch (gmm_fr_bundle_put(b, n, frames)) {
		case GMM_FR_WHOLE:
			gmm_fr_count(&r.f->callers[caller].n_put, caller, n);
			return 0;
		case GMM_FR_TWICE:
			return -GMM_FRAMES_EALREADY;
		case GMM_FR_GIVE_UP:
			gmm_fr_untie(r, b);
			break;
		case GMM_FR_APART:
			break;
		}
	return gmm_fr_put_many(r, caller, GMM_FRAMES_GUEST, n, frames);
}

/* As gmm_fr_get: one frame by a caller with a number. A frame of the area that the caller takes
 * from is the next to be taken: it is still in the cache. */
static inline int gmm_fr_put(struct gmm_fr r, unsigned caller, unsigned n, const uint64_t *frames)
{
	struct gmm_frames_caller *c = &r.f->callers[caller & (GMM_FRAMES_CALLERS - 1)];
	uint64_t x = frames[0], bit = UINT64_C(1) << (x % 64), *word;

	/* (a caller that got nothing yet is not in n_callers) */
	if (n != 1 || caller >= GMM_FRAMES_CALLERS || !gmm_fr_load(&c->next1))
		return gmm_fr_put_batch(r, caller, n, frames);
	if (x >= r.n_frames)
		return -GMM_FRAMES_ERANGE;
	word = gmm_fr_words(r) + x / 64;
	if (__builtin_expect(!gmm_fr_is_plain(r, x / 64, bit), 0))
		return gmm_fr_put_many(r, caller, GMM_FRAMES_GUEST, 1, frames);
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
		gmm_fr_make_plain(r, w, mask, GMM_FRAMES_GUEST);
		gmm_fr_class_set(r, w, mask, holder);
	}
	gmm_fr_class_count(r, caller, holder, n);
}

GMM_FR_SLOW int gmm_fr_get_as(struct gmm_fr r, unsigned caller, unsigned holder, unsigned n,
			      uint64_t *frames)
{
	int err;

	if (n == 0 || n > GMM_FRAMES_HUGE || holder >= GMM_FRAMES_HOLDERS)
		return -GMM_FRAMES_EINVAL;
	if (holder == GMM_FRAMES_GUEST)
		return gmm_fr_get(r, caller, n, frames);
	err = n == 1 ? gmm_fr_get(r, caller, 1, frames) : gmm_fr_get_many(r, caller, n, frames);
	if (!err)
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

#ifdef __cplusplus
}
#endif
#endif
