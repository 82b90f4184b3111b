/* Inside gmm_frames: the bitmap's words.
 *
 * All changes to the bitmap by lists of frames are made here (those by whole runs: frames_run.h;
 * one frame's short paths: frames_core.h). Each is one atomic operation on one word; whoever makes
 * it looks after kinds[] (frames_hints.h) before it returns.
 *
 * Include <guestmm/frames.h>, not this.
 */
#ifndef GUESTMM_FRAMES_WORD_H
#define GUESTMM_FRAMES_WORD_H

#include <guestmm/frames_bundle.h>

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

/* May the frames of word w be returned by `holder`? They are in no bundle any more, if so. */
static inline int gmm_fr_check_word(struct gmm_fr r, uint64_t w, uint64_t mask, unsigned holder)
{
	bool mine;

	if (mask & ~gmm_fr_load(gmm_fr_words(r) + w))
		return -GMM_FRAMES_EALREADY;
	mine = gmm_fr_class_is(r, w, mask, holder);
	if ((!mine || holder == GMM_FRAMES_GUEST) && gmm_fr_tied_any_free(r, w, mask))
		return -GMM_FRAMES_EALREADY;
	return mine ? 0 : -GMM_FRAMES_EPERM;
}

/* Before they are returned: the frames of word w, held as `holder`. */
static inline void gmm_fr_make_plain(struct gmm_fr r, uint64_t w, uint64_t mask, unsigned holder)
{
	if (holder != GMM_FRAMES_GUEST)
		gmm_fr_class_set(r, w, mask, GMM_FRAMES_GUEST);
	gmm_fr_set_tied(r, w, mask, false);
}

static inline int gmm_fr_check_put(struct gmm_fr r, unsigned holder, unsigned n,
				   const uint64_t *frames)
{
	int err;

	for (unsigned i = 0; i < n; i++)
		if (frames[i] >= r.n_frames)
			return -GMM_FRAMES_ERANGE;
	for (unsigned i = 0; i < n;) {
		uint64_t mask;
		unsigned k = gmm_fr_gather(frames + i, n - i, &mask);

		if (i + k < n && frames[i + k] == frames[i + k - 1]) /* NOLINT: k > 0 */
			return -GMM_FRAMES_EALREADY;
		err = gmm_fr_check_word(r, frames[i] / 64, mask, holder);
		if (err)
			return err;
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

		gmm_fr_make_plain(r, frames[i] / 64, mask, holder);
		put += k == 1 ? gmm_fr_clear_one(r, frames[i])
			      : gmm_fr_popcount(gmm_fr_clear(r, frames[i] / 64, mask));
		i += k;
	}
	return put;
}

/* ---- Bundles ---- */

/* Returns a bundle's frames to the bitmap, if they are free. */
GMM_FR_SLOW bool gmm_fr_untie(struct gmm_fr r, struct gmm_frames_bundle *b)
{
	uint64_t word = gmm_fr_bundle_load(b);
	unsigned n = gmm_fr_bundle_n(word);

	if (gmm_fr_bundle_state(word) != GMM_FR_IN || !gmm_fr_bundle_to(b, word, GMM_FR_UNTYING))
		return false;
	while (n) {
		uint64_t x = gmm_fr_name(b, --n), w = x / 64, mask = UINT64_C(1) << (x % 64);

		for (; n && (x = gmm_fr_name(b, n - 1)) / 64 == w; n--)
			mask |= UINT64_C(1) << (x % 64);
		__atomic_store_n(&b->state, gmm_fr_bundle_word(word, n, GMM_FR_UNTYING),
				 __ATOMIC_RELEASE);
		mask &= gmm_fr_exist(r, w); /* some other side may have written the names */
		if (mask) {
			gmm_fr_make_plain(r, w, mask, GMM_FRAMES_GUEST);
			gmm_fr_clear(r, w, mask);
		}
	}
	__atomic_store_n(&b->state, gmm_fr_bundle_word(word, 0, GMM_FR_LOOSE), __ATOMIC_RELEASE);
	return true;
}

/* Memory is short: all free frames into the bitmap. Were there any elsewhere? */
GMM_FR_SLOW bool gmm_fr_untie_all(struct gmm_fr r)
{
	struct gmm_frames_bundle *b = gmm_fr_bundles(r);
	bool any = false;

	for (unsigned i = 0, n = gmm_fr_bundles_used(r); i < n; i++)
		any |= gmm_fr_untie(r, &b[i]);
	return any;
}

#ifdef __cplusplus
}
#endif
#endif
