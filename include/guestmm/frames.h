/* gmm_frames: a lock-free allocator of page frames.
 *
 * Host frames, a guest kernel's physical memory and swap slots all come from this one piece
 * of code. It is freestanding (no libc, no threads API, general registers only) and its whole
 * state is one block of memory without pointers in it, so that two sides may map the block at
 * different addresses. A block of zero bytes is nearly an allocator whose frames are all free.
 *
 * Idea. A bitmap, one bit a frame, set = in use, is the only truth: a frame is taken or
 * returned by one atomic operation on its word and nothing else decides. Everything beside it
 * says who holds a frame, is a hint that says where to look, or a count:
 *   classes    two bits a frame that is in use: guest (costs nothing), host, kernel, slot
 *   kinds[]    a byte for each area (512 frames, 2 MiB): FREE, partly used (how much, roughly),
 *              RESERVED (some caller takes its frames there now), FULL
 *   bundles    batches that their callers get and return as a whole, again and again: tied
 * together, one word decides over all their frames callers[]  two cache lines for each caller: the
 * frame to try next, what it got and put A caller takes from its own area until that is used up,
 * then moves to a partly used one near by, fuller ones first, and to a free one only where there is
 * none: areas stay whole, callers stay apart. A reservation keeps others away while there is
 * choice, and hides nothing: when the hints name no place, the bitmap is swept, reserved areas
 * included.
 *
 * Invariants
 *  1. A frame has at most one holder: its bit went from 0 to 1 in that holder's compare-and-swap,
 * or its bundle went from IN to OUT.
 *  2. When nobody is inside a call, an area is FREE in kinds[] only if all its frames are free, and
 *     if it is not RESERVED also the other way round; an area with a free frame is never FULL.
 *     Whoever stores a kind looks at the bitmap again afterwards (gmm_fr_settle), so the last one
 *     to store has seen the last change.
 *  3. A frame that a bundle names has its bit set, and is marked: the bundle's word says whether it
 *     is in use. Whoever finds memory short returns what bundles hold to the bitmap first: any
 * frame that is free can be had by any caller.
 *  4. Whatever bytes the block holds, no function loops without end, leaves the block or
 *     names a frame outside [0, n_frames): each index read from it is checked, each retry counted.
 *
 * Classes. Each function that takes or returns frames does so for the guest; its twin whose name
 * ends in _as does so for the class that it is told (enum gmm_frames_holder). Frames are returned
 * as what they were got as, else -EPERM: so a frame that its holder returned already is told from
 * one that somebody of another class holds now. Whoever shares the block can write there what he
 * likes: a side that does not trust the other keeps a record of its own of what it holds.
 *
 * No locks. A thread that stops in the middle keeps at most the frames of its call, or of the
 * bundle that it is about to untie.
 *
 * Callers. `caller` is a number below GMM_FRAMES_CALLERS that one thread at a time uses (a
 * vCPU's index, a worker's number), or GMM_FRAMES_ANYONE, which any number of threads may use
 * at once; that costs another atomic operation a call, and reserves nothing. Two threads that share
 * another number still never get the same frame, but the counts go astray.
 *
 * All or nothing. A get of several frames that fails gives back what it had taken; whoever
 * asks for those frames in that short time may be told ENOMEM too.
 */
#ifndef GUESTMM_FRAMES_H
#define GUESTMM_FRAMES_H

#include <guestmm/frames_run.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- The public functions: for a block that is trusted ---- */

/* Bytes that the state of an area of n_frames takes. */
static inline size_t gmm_frames_bytes(uint64_t n_frames)
{
	uint64_t n_words = gmm_fr_n_areas(n_frames) * GMM_FR_WORDS;

	return sizeof(struct gmm_frames) +
	       (size_t)(n_words * 8 * (1 + GMM_FR_PLANES) + gmm_fr_kinds_bytes(n_frames)) +
	       gmm_fr_n_bundles(n_frames) * sizeof(struct gmm_frames_bundle);
}

/* As gmm_frames_init, for a block that is known to hold zero bytes: takes no time
 * worth mentioning, whatever n_frames. */
static inline int gmm_frames_init_zeroed(struct gmm_frames *f, size_t bytes, uint64_t n_frames)
{
	struct gmm_fr r;

	if (n_frames == 0 || n_frames > GMM_FRAMES_MAX || bytes < gmm_frames_bytes(n_frames))
		return -GMM_FRAMES_EINVAL;
	f->n_frames = n_frames;
	r = gmm_fr_of(f);
	/* what the last area lacks of its 512 frames is in use for ever */
	if (n_frames % GMM_FRAMES_HUGE) {
		uint64_t *words = gmm_fr_words(r);
		uint64_t w = n_frames / 64, end = gmm_fr_n_areas(n_frames) * GMM_FR_WORDS;

		if (n_frames % 64)
			words[w++] = GMM_FR_ALL << (n_frames % 64);
		for (; w < end; w++)
			words[w] = GMM_FR_ALL;
		gmm_fr_settle(r, end / GMM_FR_WORDS - 1);
	}
	return 0;
}

/* Makes the allocator of frames 0 to n_frames - 1, all free, in a block of
 * gmm_frames_bytes(n_frames) bytes or more, 8-byte aligned (better 128). -EINVAL: too small,
 * n_frames 0 or above GMM_FRAMES_MAX. */
static inline int gmm_frames_init(struct gmm_frames *f, size_t bytes, uint64_t n_frames)
{
	if (n_frames == 0 || n_frames > GMM_FRAMES_MAX || bytes < gmm_frames_bytes(n_frames))
		return -GMM_FRAMES_EINVAL;
	for (size_t i = 0; i < gmm_frames_bytes(n_frames) / 8; i++)
		((uint64_t *)(void *)f)[i] = 0;
	return gmm_frames_init_zeroed(f, bytes, n_frames);
}

/* Takes the frames [first, first + n). -EBUSY: one of them is in use; none was taken. -ERANGE.
 * _as: -EINVAL: holder. */
static inline int gmm_frames_claim_as(struct gmm_frames *f, unsigned holder, uint64_t first,
				      uint64_t n)
{
	return gmm_fr_claim_as(gmm_fr_of(f), holder, first, n);
}

static inline int gmm_frames_claim(struct gmm_frames *f, uint64_t first, uint64_t n)
{
	return gmm_frames_claim_as(f, GMM_FRAMES_GUEST, first, n);
}

/* Takes n frames, 1 to 512, ascending, in few runs. -ENOMEM: none was taken. -EINVAL: n, holder. */
static inline int gmm_frames_get_as(struct gmm_frames *f, unsigned caller, unsigned holder,
				    unsigned n, uint64_t *frames)
{
	return gmm_fr_get_as(gmm_fr_of(f), caller, holder, n, frames);
}

static inline int gmm_frames_get(struct gmm_frames *f, unsigned caller, unsigned n,
				 uint64_t *frames)
{
	return gmm_fr_get(gmm_fr_of(f), caller, n, frames);
}

/* Returns n frames, 1 to 512, in any order (ascending is fastest), got in whatever way. -ERANGE:
 * one is outside, -EALREADY: one is free already, -EPERM: one is held by another class; none was
 * returned. Only where a frame stands twice in the list, not side by side, or another thread
 * returns it at the same time, -EALREADY means that all frames of the list are free now, each
 * returned once. -EINVAL: n, holder. */
static inline int gmm_frames_put_as(struct gmm_frames *f, unsigned caller, unsigned holder,
				    unsigned n, const uint64_t *frames)
{
	return gmm_fr_put_as(gmm_fr_of(f), caller, holder, n, frames);
}

static inline int gmm_frames_put(struct gmm_frames *f, unsigned caller, unsigned n,
				 const uint64_t *frames)
{
	return gmm_fr_put(gmm_fr_of(f), caller, n, frames);
}

/* n frames, 1 to 512, each once, that are held as `from` are held as `to` from now on. -ERANGE,
 * -EALREADY (it is free), -EPERM (it is not `from`), -EINVAL: as above; no frame was passed. */
static inline int gmm_frames_pass(struct gmm_frames *f, unsigned caller, unsigned from, unsigned to,
				  unsigned n, const uint64_t *frames)
{
	return gmm_fr_pass(gmm_fr_of(f), caller, from, to, n, frames);
}

/* Takes 512 frames that begin at a multiple of 512. -ENOMEM: there is no such run. _as: -EINVAL:
 * holder. */
static inline int gmm_frames_get_huge_as(struct gmm_frames *f, unsigned caller, unsigned holder,
					 uint64_t *first)
{
	return gmm_fr_get_huge_as(gmm_fr_of(f), caller, holder, first);
}

static inline int gmm_frames_get_huge(struct gmm_frames *f, unsigned caller, uint64_t *first)
{
	return gmm_frames_get_huge_as(f, caller, GMM_FRAMES_GUEST, first);
}

/* Returns 512 frames from `first`, a multiple of 512, got in whatever way. -ERANGE, -EALREADY,
 * -EPERM: as above, and nothing was returned. _as: -EINVAL: holder. */
static inline int gmm_frames_put_huge_as(struct gmm_frames *f, unsigned caller, unsigned holder,
					 uint64_t first)
{
	return gmm_fr_put_huge_as(gmm_fr_of(f), caller, holder, first);
}

static inline int gmm_frames_put_huge(struct gmm_frames *f, unsigned caller, uint64_t first)
{
	return gmm_frames_put_huge_as(f, caller, GMM_FRAMES_GUEST, first);
}

/* Takes 2^order frames, order 0 to 9, that begin at a multiple of as many. -ENOMEM: there is no
 * such run. -EINVAL: order; _as: holder. */
static inline int gmm_frames_get_order_as(struct gmm_frames *f, unsigned caller, unsigned holder,
					  unsigned order, uint64_t *first)
{
	return gmm_fr_get_order_as(gmm_fr_of(f), caller, holder, order, first);
}

static inline int gmm_frames_get_order(struct gmm_frames *f, unsigned caller, unsigned order,
				       uint64_t *first)
{
	return gmm_frames_get_order_as(f, caller, GMM_FRAMES_GUEST, order, first);
}

/* Returns the frames [first, first + n), as many as you like, got in whatever way. -ERANGE (n is 0,
 * too), -EALREADY, -EPERM: as above, and nothing was returned. _as: -EINVAL: holder. */
static inline int gmm_frames_put_run_as(struct gmm_frames *f, unsigned caller, unsigned holder,
					uint64_t first, uint64_t n)
{
	return gmm_fr_put_run_as(gmm_fr_of(f), caller, holder, first, n);
}

static inline int gmm_frames_put_run(struct gmm_frames *f, unsigned caller, uint64_t first,
				     uint64_t n)
{
	return gmm_frames_put_run_as(f, caller, GMM_FRAMES_GUEST, first, n);
}

/* Free frames. Exact when nobody is inside a call; costs two reads a caller. */
static inline uint64_t gmm_frames_n_free(struct gmm_frames *f)
{
	return gmm_fr_n_free(gmm_fr_of(f));
}

/* Free huge frames. Exact when nobody is inside a call; costs a read for each area. */
static inline uint64_t gmm_frames_n_free_huge(struct gmm_frames *f)
{
	return gmm_fr_n_free_huge(gmm_fr_of(f));
}

/* Frames held as this class. Exact when nobody is inside a call; costs a read a caller, for the
 * guest five. */
static inline uint64_t gmm_frames_n_held(struct gmm_frames *f, unsigned holder)
{
	return gmm_fr_n_held(gmm_fr_of(f), holder);
}

/* Who holds the frame: enum gmm_frames_holder. -ENOENT: nobody, it is free. -ERANGE. Somebody
 * who got it just now for another class may still be seen as the guest. */
static inline int gmm_frames_class(struct gmm_frames *f, uint64_t frame)
{
	return gmm_fr_class(gmm_fr_of(f), frame);
}

/* False for frames that do not exist. */
static inline bool gmm_frames_is_free(struct gmm_frames *f, uint64_t frame)
{
	return gmm_fr_is_free(gmm_fr_of(f), frame);
}

#ifdef __cplusplus
}
#endif
#endif
