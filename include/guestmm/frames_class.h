/* Inside gmm_frames: who holds a frame.
 *
 * Two bits a frame in two planes: for each word of the bitmap a word of the lower bits and a
 * word of the upper ones, side by side, so that a whole word's frames get a class by two
 * operations at most. The class of a frame is its holder's to change, from the moment on that its
 * bit is set until he clears it:
 *  - a free frame has class 0, the guest's: who gets as the guest writes nothing here;
 *  - who gets as something else sets the class after the bit, who returns resets it before.
 * So a get or put by the guest costs no atomic operation beside that on the bitmap, and a put
 * looks whether the class is the one it means: a frame that was returned, then taken by the
 * host, then returned again by mistake, is refused.
 *
 * Include <guestmm/frames.h>, not this.
 */
#ifndef GUESTMM_FRAMES_CLASS_H
#define GUESTMM_FRAMES_CLASS_H

#include <guestmm/frames_hints.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Are those frames of word w all of this class? */
static inline bool gmm_fr_class_is(struct gmm_fr r, uint64_t w, uint64_t mask, unsigned holder)
{
	const uint64_t *planes = gmm_fr_planes(r, w);
	uint64_t low = gmm_fr_load(&planes[0]), high = gmm_fr_load(&planes[1]);

	low ^= holder & 1 ? GMM_FR_ALL : 0;
	high ^= holder & 2 ? GMM_FR_ALL : 0;
	return !((low | high) & mask);
}

/* Those frames of word w, which the caller holds, become of this class. */
static inline void gmm_fr_class_set(struct gmm_fr r, uint64_t w, uint64_t mask, unsigned holder)
{
	uint64_t *planes = gmm_fr_planes(r, w);

	for (unsigned i = 0; i < 2; i++) {
		uint64_t want = holder >> i & 1 ? mask : 0;

		if ((gmm_fr_load(&planes[i]) & mask) == want)
			continue;
		if (mask == GMM_FR_ALL) /* nobody else's frame is in the word */
			__atomic_store_n(&planes[i], want, __ATOMIC_RELAXED);
		else if (want)
			__atomic_fetch_or(&planes[i], mask, __ATOMIC_RELAXED);
		else
			__atomic_fetch_and(&planes[i], ~mask, __ATOMIC_RELAXED);
	}
}

/* A caller got n frames (or returned -n) as this class. */
static inline void gmm_fr_class_count(struct gmm_fr r, unsigned caller, unsigned holder, uint64_t n)
{
	if (holder != GMM_FRAMES_GUEST)
		gmm_fr_count(&gmm_fr_caller(r, caller)->held[holder], caller, n);
}

static inline int gmm_fr_class(struct gmm_fr r, uint64_t frame)
{
	const uint64_t *planes;
	uint64_t at = frame % 64;

	if (frame >= r.n_frames)
		return -GMM_FRAMES_ERANGE;
	if (!(__atomic_load_n(gmm_fr_words(r) + frame / 64, __ATOMIC_ACQUIRE) >> at & 1))
		return -GMM_FRAMES_ENOENT;
	planes = gmm_fr_planes(r, frame / 64);
	return (int)((gmm_fr_load(&planes[0]) >> at & 1) | (gmm_fr_load(&planes[1]) >> at & 1)
								   << 1);
}

#ifdef __cplusplus
}
#endif
#endif
