/* Inside gmm_frames: what is known of a frame that is in use.
 *
 * Three bits a frame in three planes, side by side for each word of the bitmap, so that a whole
 * word's frames are asked or told by an operation a plane: two for the class (who holds it), one
 * that says that it may be named in a bundle (frames_bundle.h).
 *
 * They are the holder's to change, from the moment on that the frame's bit is set until he
 * clears it, and all clear where the frame is free:
 *  - who gets as the guest writes nothing here, and a put by the guest only reads;
 *  - who gets as something else sets the class after the bit; who returns resets it before.
 * A put looks whether the class is the one that it means: a frame that was returned, then taken by
 * the host, then returned again by mistake, is refused.
 *
 * Include <guestmm/frames.h>, not this.
 */
#ifndef GUESTMM_FRAMES_CLASS_H
#define GUESTMM_FRAMES_CLASS_H

#include <guestmm/frames_hints.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GMM_FR_TIED 2u /* the plane after those of the class */

static inline void gmm_fr_plane_set(uint64_t *plane, uint64_t mask, uint64_t want)
{
	if ((gmm_fr_load(plane) & mask) == want)
		return;
	if (mask == GMM_FR_ALL) /* nobody else's frame is in the word */
		__atomic_store_n(plane, want, __ATOMIC_RELAXED);
	else if (want)
		__atomic_fetch_or(plane, mask, __ATOMIC_RELAXED);
	else
		__atomic_fetch_and(plane, ~mask, __ATOMIC_RELAXED);
}

/* Are those frames of word w the guest's and not tied? */
static inline bool gmm_fr_is_plain(struct gmm_fr r, uint64_t w, uint64_t mask)
{
	const uint64_t *planes = gmm_fr_planes(r, w);

	return !((gmm_fr_load(&planes[0]) | gmm_fr_load(&planes[1]) |
		  gmm_fr_load(&planes[GMM_FR_TIED])) &
		 mask);
}

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

	gmm_fr_plane_set(&planes[0], mask, holder & 1 ? mask : 0);
	gmm_fr_plane_set(&planes[1], mask, holder & 2 ? mask : 0);
}

/* Those of these frames that may be named in a bundle. */
static inline uint64_t gmm_fr_tied(struct gmm_fr r, uint64_t w, uint64_t mask)
{
	return gmm_fr_load(gmm_fr_planes(r, w) + GMM_FR_TIED) & mask;
}

/* The caller holds those frames of word w, and they are named in no bundle (or are now). */
static inline void gmm_fr_set_tied(struct gmm_fr r, uint64_t w, uint64_t mask, bool tied)
{
	gmm_fr_plane_set(gmm_fr_planes(r, w) + GMM_FR_TIED, mask, tied ? mask : 0);
}

/* A caller got n frames (or returned -n) as this class. */
static inline void gmm_fr_class_count(struct gmm_fr r, unsigned caller, unsigned holder, uint64_t n)
{
	if (holder != GMM_FRAMES_GUEST)
		gmm_fr_count(&gmm_fr_caller(r, caller)->held[holder], caller, n);
}

#ifdef __cplusplus
}
#endif
#endif
