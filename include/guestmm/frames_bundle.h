/* Inside gmm_frames: bundles, batches that stay together.
 *
 * Where memory is nearly full the frames of a batch lie in as many words of the bitmap, and to take
 * and return each of these words by an operation of its own is all that a batch costs. So a caller
 * that has returned a batch just as it got it is thought to do so again: the next one is tied. Its
 * frames are named in the caller's bundle, their bits stay set for good, and one word says whether
 * they are in use (OUT) or free (IN). From then on a get or a put of that batch is one
 * compare-and-swap, whatever the frames.
 *
 *   LOOSE    names nothing
 *   PROVEN   names nothing; the last batch came back whole: the next one is tied
 *   TYING    its caller writes the names
 *   OUT      the named frames are in use, got as one batch
 *   IN       the named frames are free
 *   UNTYING  somebody returns them to the bitmap, the last first: what he has returned is named no
 *            more, before anyone can get it
 *
 * LOOSE -> PROVEN    bundle_put()     its caller: a batch came back whole
 * OUT -> PROVEN      bundle_put()     its caller: another batch did
 * PROVEN -> TYING -> OUT  bundle_tie()   its caller, with a batch just got
 * OUT -> IN          bundle_put()     its caller returns the batch
 * IN -> OUT          bundle_get()     its caller gets it again
 * OUT -> LOOSE       tied_is_free()   anyone who returns one of the frames by itself: it is like
 *                                     any frame in use again, and so are the others
 * IN -> UNTYING -> LOOSE  untie()     anyone who finds memory short: nothing stays hidden here; its
 *                                     caller, who takes other batches now
 *
 * A named frame has its bit in the plane `tied` set, so whoever returns a frame knows whether he
 * has to look here. That bit outlives the bundle (OUT -> LOOSE): it means `look', no more. It is
 * cleared by who returns the frame to the bitmap, while the frame is his.
 *
 * The state's upper bits count how often the bundle was tied: who compared the names and then
 * changes the state knows that they are the ones he compared.
 *
 * Include <guestmm/frames.h>, not this.
 */
#ifndef GUESTMM_FRAMES_BUNDLE_H
#define GUESTMM_FRAMES_BUNDLE_H

#include <guestmm/frames_class.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GMM_FR_TIE_MIN	 16u /* frames in a batch that is worth tying */
#define GMM_FR_MISSES	 4u  /* batches of another kind until a bundle is given up */
#define GMM_FR_TIE_TRIES 8u  /* a bundle's state changes once or twice under one who looks */

enum gmm_fr_bundle_state {
	GMM_FR_LOOSE = 0,
	GMM_FR_PROVEN,
	GMM_FR_TYING,
	GMM_FR_OUT,
	GMM_FR_IN,
	GMM_FR_UNTYING,
};

/* The state's word: 3 bits of state, 10 of how many frames, the rest counts. */
static inline unsigned gmm_fr_bundle_state(uint64_t word)
{
	return (unsigned)(word & 7);
}

/* (Some other side may have written it.) */
static inline unsigned gmm_fr_bundle_n(uint64_t word)
{
	unsigned n = (unsigned)(word >> 3) & 1023;

	return n < GMM_FRAMES_HUGE ? n : GMM_FRAMES_HUGE;
}

static inline uint64_t gmm_fr_bundle_word(uint64_t before, unsigned n, unsigned state)
{
	return (before & ~UINT64_C(8191)) | (uint64_t)n << 3 | state;
}

static inline uint64_t gmm_fr_bundle_load(const struct gmm_frames_bundle *b)
{
	return __atomic_load_n(&b->state, __ATOMIC_SEQ_CST);
}

static inline bool gmm_fr_bundle_to(struct gmm_frames_bundle *b, uint64_t word, unsigned state)
{
	return gmm_fr_cas(&b->state, &word, (word & ~UINT64_C(7)) | state);
}

static inline uint64_t gmm_fr_name(const struct gmm_frames_bundle *b, unsigned i)
{
	return __atomic_load_n(&b->names[i], __ATOMIC_RELAXED);
}

/* The bundle for a batch of n frames of this caller, or NULL. */
static inline struct gmm_frames_bundle *gmm_fr_bundle(struct gmm_fr r, unsigned caller, unsigned n)
{
	if (n < GMM_FR_TIE_MIN || n > GMM_FRAMES_HUGE || caller >= gmm_fr_n_bundles(r.n_frames))
		return NULL;
	return gmm_fr_bundles(r) + caller;
}

/* What a batch looks like; 0: not scattered enough to be worth tying. */
static inline uint64_t gmm_fr_print(unsigned n, const uint64_t *frames)
{
	if (frames[n - 1] - frames[0] < n + n / 2)
		return 0;
	return (frames[0] << 32 | frames[n - 1]) * 1024 + n;
}

/* ---- Its caller ---- */

/* Takes the whole bundle, if it is one of n free frames. */
static inline bool gmm_fr_bundle_get(struct gmm_fr r, struct gmm_frames_bundle *b, unsigned n,
				     uint64_t *frames)
{
	uint64_t word = gmm_fr_load(&b->state), last = 0, wrong = 0;

	if (gmm_fr_bundle_state(word) != GMM_FR_IN || gmm_fr_bundle_n(word) != n ||
	    !gmm_fr_bundle_to(b, word, GMM_FR_OUT))
		return false;
	for (unsigned i = 0; i < n; i++) {
		uint64_t x = gmm_fr_name(b, i);

		wrong |= x < last;
		frames[i] = x;
		last = x + 1;
	}
	if (gmm_fr_load(&b->n_missed))
		__atomic_store_n(&b->n_missed, 0, __ATOMIC_RELAXED);
	if (__builtin_expect(!wrong && last <= r.n_frames, 1))
		return true;
	__atomic_store_n(&b->state, GMM_FR_LOOSE, __ATOMIC_SEQ_CST); /* not our writing */
	return false;
}

/* Names the frames, which the caller just got. */
GMM_FR_SLOW void gmm_fr_bundle_tie(struct gmm_fr r, struct gmm_frames_bundle *b, unsigned n,
				   const uint64_t *frames)
{
	uint64_t old = gmm_fr_load(&b->state);
	uint64_t word = gmm_fr_bundle_word(old + 8192, n, GMM_FR_TYING);

	if (gmm_fr_bundle_state(old) != GMM_FR_PROVEN || !gmm_fr_cas(&b->state, &old, word))
		return;
	for (unsigned i = 0, k; i < n; i += k) {
		uint64_t w = frames[i] / 64, mask = 0;

		for (k = 0; i + k < n && frames[i + k] / 64 == w; k++) {
			mask |= UINT64_C(1) << (frames[i + k] % 64);
			__atomic_store_n(&b->names[i + k], (uint32_t)frames[i + k],
					 __ATOMIC_RELAXED);
		}
		gmm_fr_set_tied(r, w, mask, true);
	}
	__atomic_store_n(&b->state, gmm_fr_bundle_word(word, n, GMM_FR_OUT), __ATOMIC_SEQ_CST);
}

/* The caller got n frames that were not its bundle. */
static inline void gmm_fr_bundle_got(struct gmm_fr r, struct gmm_frames_bundle *b, unsigned n,
				     const uint64_t *frames)
{
	uint64_t print = gmm_fr_print(n, frames);

	if (print && gmm_fr_bundle_state(gmm_fr_load(&b->state)) == GMM_FR_PROVEN)
		gmm_fr_bundle_tie(r, b, n, frames);
	else if (gmm_fr_load(&b->seen) != print)
		__atomic_store_n(&b->seen, print, __ATOMIC_RELAXED);
}

static inline bool gmm_fr_bundle_is(const struct gmm_frames_bundle *b, uint64_t word, unsigned n,
				    const uint64_t *frames)
{
	if (gmm_fr_bundle_n(word) != n)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (gmm_fr_name(b, i) != frames[i])
			return false;
	return true;
}

enum gmm_fr_bundle_answer {
	GMM_FR_WHOLE,	/* done */
	GMM_FR_TWICE,	/* they are free already */
	GMM_FR_APART,	/* not the bundle: return them one by one */
	GMM_FR_GIVE_UP, /* the same, and untie the bundle */
};

/* Returns the bundle, if these are its frames and in use. */
static inline enum gmm_fr_bundle_answer gmm_fr_bundle_put(struct gmm_frames_bundle *b, unsigned n,
							  const uint64_t *frames)
{
	uint64_t word = gmm_fr_bundle_load(b), seen = gmm_fr_load(&b->seen), n_missed;
	unsigned state = gmm_fr_bundle_state(word);

	if ((state == GMM_FR_OUT || state == GMM_FR_IN) && gmm_fr_bundle_is(b, word, n, frames)) {
		if (state == GMM_FR_IN)
			return GMM_FR_TWICE;
		if (gmm_fr_bundle_to(b, word, GMM_FR_IN))
			return GMM_FR_WHOLE;
		return GMM_FR_APART; /* one of the frames came back by itself this moment */
	}
	if (!seen || seen != gmm_fr_print(n, frames))
		return GMM_FR_APART;
	if (state == GMM_FR_LOOSE || state == GMM_FR_OUT)
		gmm_fr_bundle_to(b, word, GMM_FR_PROVEN);
	if (state != GMM_FR_IN)
		return GMM_FR_APART;
	n_missed = gmm_fr_load(&b->n_missed) + 1;
	__atomic_store_n(&b->n_missed, n_missed, __ATOMIC_RELAXED);
	return n_missed < GMM_FR_MISSES ? GMM_FR_APART : GMM_FR_GIVE_UP;
}

/* ---- Anyone ---- */

/* Bundles that may be in use. */
static inline unsigned gmm_fr_bundles_used(struct gmm_fr r)
{
	unsigned n = __atomic_load_n(&r.f->n_callers, __ATOMIC_RELAXED);
	unsigned max = gmm_fr_n_bundles(r.n_frames);

	return n < max ? n : max;
}

/* Where frame x stands among the names; GMM_FRAMES_HUGE: nowhere. */
static inline unsigned gmm_fr_bundle_find(const struct gmm_frames_bundle *b, uint64_t word,
					  uint64_t x)
{
	unsigned from = 0, to = gmm_fr_bundle_n(word);

	while (from < to) {
		unsigned mid = (from + to) / 2;

		if (gmm_fr_name(b, mid) < x)
			from = mid + 1;
		else
			to = mid;
	}
	if (from < gmm_fr_bundle_n(word) && gmm_fr_name(b, from) == x)
		return from;
	return GMM_FRAMES_HUGE;
}

/* Is the name that was found in a bundle of this word still there, and free? */
static inline bool gmm_fr_bundle_still_free(const struct gmm_frames_bundle *b, uint64_t word,
					    unsigned at)
{
	uint64_t now = gmm_fr_bundle_load(b);

	return !((now ^ word) & ~UINT64_C(8191)) && gmm_fr_bundle_state(now) >= GMM_FR_IN &&
	       at < gmm_fr_bundle_n(now);
}

/* Frame x has its bit set and is marked as tied: is it free all the same? A bundle that names it as
 * in use is untied if so wished: the frame's holder is about to do something else with it. */
GMM_FR_SLOW bool gmm_fr_tied_is_free(struct gmm_fr r, uint64_t x, bool untie)
{
	struct gmm_frames_bundle *b = gmm_fr_bundles(r);

	for (unsigned i = 0, n = gmm_fr_bundles_used(r); i < n; i++)
		for (unsigned tries = 0; tries < GMM_FR_TIE_TRIES; tries++) {
			uint64_t word = gmm_fr_bundle_load(&b[i]);
			unsigned state = gmm_fr_bundle_state(word), at;

			if (state < GMM_FR_OUT)
				break;
			at = gmm_fr_bundle_find(&b[i], word, x);
			if (at == GMM_FRAMES_HUGE)
				break;
			if (state != GMM_FR_OUT && gmm_fr_bundle_still_free(&b[i], word, at))
				return true;
			if (state == GMM_FR_OUT &&
			    (!untie || gmm_fr_bundle_to(&b[i], word, GMM_FR_LOOSE)))
				return false;
		}
	return false;
}

/* The same for several frames of word w: is one of them free? */
static inline bool gmm_fr_tied_any_free(struct gmm_fr r, uint64_t w, uint64_t mask)
{
	for (mask = gmm_fr_tied(r, w, mask); mask; mask &= mask - 1)
		if (gmm_fr_tied_is_free(r, w * 64 + (unsigned)__builtin_ctzll(mask), true))
			return true;
	return false;
}

/* ---- Questions ---- */

static inline bool gmm_fr_is_free(struct gmm_fr r, uint64_t frame)
{
	uint64_t w = frame / 64, bit = UINT64_C(1) << (frame % 64);

	if (frame >= r.n_frames)
		return false;
	if (!(__atomic_load_n(gmm_fr_words(r) + w, __ATOMIC_ACQUIRE) & bit))
		return true;
	return gmm_fr_tied(r, w, bit) && gmm_fr_tied_is_free(r, frame, false);
}

static inline int gmm_fr_class(struct gmm_fr r, uint64_t frame)
{
	const uint64_t *planes;

	if (frame >= r.n_frames)
		return -GMM_FRAMES_ERANGE;
	if (gmm_fr_is_free(r, frame))
		return -GMM_FRAMES_ENOENT;
	planes = gmm_fr_planes(r, frame / 64);
	return (int)((gmm_fr_load(&planes[0]) >> (frame % 64) & 1) |
		     (gmm_fr_load(&planes[1]) >> (frame % 64) & 1) << 1);
}

#ifdef __cplusplus
}
#endif
#endif
