/* gmm_frames: a lock-free allocator of page frames.
 *
 * Host frames, a guest kernel's physical memory and swap slots all come from this one piece
 * of code. It is freestanding (no libc, no threads API, general registers only) and its whole
 * state is one block of memory without pointers in it, so that two sides may map the block at
 * different addresses. A block of zero bytes is nearly an allocator whose frames are all free.
 *
 * Idea. A bitmap, one bit a frame, set = in use, is the only truth: a frame is taken or
 * returned by one compare-and-swap on its word and nothing else decides. Everything beside it is
 * a hint that says where to look, or a count:
 *   kinds[]    a byte for each area (512 frames, 2 MiB): FREE, partly used (how much, roughly),
 *              RESERVED (some caller takes its frames there now), FULL
 *   callers[]  a cache line for each caller: the word it took from last, what it got and put
 * A caller takes from its own area until that is used up, then moves to the fullest partly
 * used area near by, and to a free one only where there is none: areas stay whole, callers
 * stay apart. A reservation keeps others away while there is choice, and hides nothing: when
 * the hints name no place, the bitmap is swept, reserved areas included.
 *
 * Invariants
 *  1. A frame has at most one holder: its bit went from 0 to 1 in that holder's compare-and-swap.
 *  2. When nobody is inside a call, an area is FREE in kinds[] only if all its frames are free, and
 *     if it is not RESERVED also the other way round; an area with a free frame is never FULL.
 *     Whoever stores a kind looks at the bitmap again afterwards (gmm_fr_settle), so the last one
 *     to store has seen the last change.
 *  3. Whatever bytes the block holds, no function loops without end, leaves the block or
 *     names a frame outside [0, n_frames): each index read from it is checked, each retry counted.
 *
 * No locks. A thread that stops in the middle keeps at most the frames of its call.
 *
 * Callers. `caller` is a number below GMM_FRAMES_CALLERS that one thread at a time uses (a
 * vCPU's index, a worker's number), or GMM_FRAMES_ANYONE, which any number of threads may use
 * at once at the price of two more atomic operations a call. Two threads that share another
 * number still never get the same frame, but the counts go astray.
 *
 * All or nothing. A get of several frames that fails gives back what it had taken; whoever
 * asks for those frames in that short time may be told ENOMEM too.
 */
#ifndef GUESTMM_FRAMES_H
#define GUESTMM_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Errors, as on Linux; functions return them negated. */
#define GMM_FRAMES_ENOMEM   12	/* not that many frames are free */
#define GMM_FRAMES_EBUSY    16	/* a frame asked for by number is in use */
#define GMM_FRAMES_EINVAL   22	/* wrong size or count */
#define GMM_FRAMES_ERANGE   34	/* no such frame */
#define GMM_FRAMES_EALREADY 114 /* double free: the frame is free already */

#define GMM_FRAMES_HUGE	   512u /* frames in a huge frame, in an area, and at most in a batch */
#define GMM_FRAMES_CALLERS 64u
#define GMM_FRAMES_ANYONE  0xffffffffu
#define GMM_FRAMES_MAX	   (UINT64_C(1) << 32) /* 16 TiB */

struct gmm_frames_caller {
	uint64_t word1; /* bitmap word it takes from, plus one; 0: none */
	uint64_t n_got; /* frames, since init */
	uint64_t n_put;
	uint64_t reserved[13]; /* two cache lines: the prefetcher works in pairs */
};

/* The block: this head, the bitmap, kinds[]. */
struct gmm_frames {
	uint64_t n_frames;
	uint64_t reserved[15];
	struct gmm_frames_caller callers[GMM_FRAMES_CALLERS + 1]; /* the last: anyone */
};

/* A block and the size that this side knows it to have. Nothing that keeps accesses inside
 * the block is read from the block. */
struct gmm_fr {
	struct gmm_frames *f;
	uint64_t n_frames;
};

#define GMM_FR_WORDS 8u	 /* bitmap words an area */
#define GMM_FR_NEAR  16u /* groups of 64 areas to look through for a partly used one */
#define GMM_FR_TRIES 1024u

enum gmm_fr_kind {
	GMM_FR_FREE = 0,
	/* 1..253: partly used, used frames / 2 or so */
	GMM_FR_PART_MAX = 253,
	GMM_FR_RESERVED = 254,
	GMM_FR_FULL = 255,
};

/* ---- Where things are ---- */

static inline uint64_t gmm_fr_n_areas(uint64_t n_frames)
{
	return (n_frames + GMM_FRAMES_HUGE - 1) / GMM_FRAMES_HUGE;
}

static inline uint64_t *gmm_fr_words(struct gmm_fr r)
{
	return (uint64_t *)(void *)(r.f + 1);
}

static inline uint8_t *gmm_fr_kinds(struct gmm_fr r)
{
	return (uint8_t *)(gmm_fr_words(r) + gmm_fr_n_areas(r.n_frames) * GMM_FR_WORDS);
}

static inline struct gmm_frames_caller *gmm_fr_caller(struct gmm_fr r, unsigned caller)
{
	return &r.f->callers[caller < GMM_FRAMES_CALLERS ? caller : GMM_FRAMES_CALLERS];
}

static inline struct gmm_fr gmm_fr_of(struct gmm_frames *f)
{
	struct gmm_fr r;

	r.f = f;
	r.n_frames = f->n_frames;
	return r;
}

/* Bytes that the state of an area of n_frames takes. */
static inline size_t gmm_frames_bytes(uint64_t n_frames)
{
	uint64_t n = gmm_fr_n_areas(n_frames);

	/* kinds[] is read eight at a time */
	return sizeof(struct gmm_frames) +
	       (size_t)(n * GMM_FR_WORDS * 8 + ((n + 7) & ~UINT64_C(7)));
}

/* ---- Bits ---- */

/* Not __builtin_popcountll: without -mpopcnt that is a call into a library. */
static inline unsigned gmm_fr_popcount(uint64_t x)
{
	x -= (x >> 1) & UINT64_C(0x5555555555555555);
	x = (x & UINT64_C(0x3333333333333333)) + ((x >> 2) & UINT64_C(0x3333333333333333));
	x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (unsigned)((x * UINT64_C(0x0101010101010101)) >> 56);
}

/* The lowest n bits of those set in x; all of them where there are not more. */
static inline uint64_t gmm_fr_lowest(uint64_t x, unsigned n)
{
	uint64_t rest = x;

	if (n >= 64)
		return x;
	if (x == ~UINT64_C(0))
		return (UINT64_C(1) << n) - 1;
	while (n-- && rest)
		rest &= rest - 1;
	return x ^ rest;
}

static inline uint64_t gmm_fr_load(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline bool gmm_fr_cas(uint64_t *p, uint64_t *old, uint64_t to)
{
	return __atomic_compare_exchange_n(p, old, to, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* ---- Counts ---- */

static inline void gmm_fr_count(uint64_t *count, unsigned caller, uint64_t n)
{
	if (caller < GMM_FRAMES_CALLERS)
		__atomic_store_n(count, gmm_fr_load(count) + n, __ATOMIC_RELAXED);
	else
		__atomic_fetch_add(count, n, __ATOMIC_RELAXED);
}

/* ---- Kinds of areas ---- */

static inline bool gmm_fr_area_is_free(struct gmm_fr r, uint64_t area)
{
	const uint64_t *words = gmm_fr_words(r) + area * GMM_FR_WORDS;

	for (unsigned i = 0; i < GMM_FR_WORDS; i++)
		if (__atomic_load_n(&words[i], __ATOMIC_SEQ_CST))
			return false;
	return true;
}

static inline unsigned gmm_fr_area_kind(struct gmm_fr r, uint64_t area)
{
	const uint64_t *words = gmm_fr_words(r) + area * GMM_FR_WORDS;
	unsigned n = 0;

	for (unsigned i = 0; i < GMM_FR_WORDS; i++) {
		uint64_t w = __atomic_load_n(&words[i], __ATOMIC_SEQ_CST);

		n += w == 0 ? 0 : w == ~UINT64_C(0) ? 64 : gmm_fr_popcount(w);
	}
	if (n == 0)
		return GMM_FR_FREE;
	if (n == GMM_FRAMES_HUGE)
		return GMM_FR_FULL;
	n = n / 2 + 1;
	return n < GMM_FR_PART_MAX ? n : (unsigned)GMM_FR_PART_MAX;
}

static inline bool gmm_fr_kinds_agree(unsigned a, unsigned b)
{
	if (a == GMM_FR_FREE || b == GMM_FR_FREE || a == GMM_FR_FULL || b == GMM_FR_FULL)
		return a == b;
	return true;
}

/* Makes kinds[area] true again, unless it is reserved: then its owner does so on leaving. */
static inline void gmm_fr_settle(struct gmm_fr r, uint64_t area)
{
	uint8_t *kind = gmm_fr_kinds(r) + area;

	for (unsigned i = 0; i < GMM_FR_TRIES; i++) {
		uint8_t is = __atomic_load_n(kind, __ATOMIC_SEQ_CST);
		uint8_t want;

		if (is == GMM_FR_RESERVED)
			return;
		want = (uint8_t)gmm_fr_area_kind(r, area);
		if (gmm_fr_kinds_agree(is, want))
			return;
		__atomic_compare_exchange_n(kind, &is, want, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED);
	}
}

/* The area is nobody's any more. */
static inline void gmm_fr_leave(struct gmm_fr r, uint64_t area)
{
	uint8_t is = GMM_FR_RESERVED;

	__atomic_compare_exchange_n(gmm_fr_kinds(r) + area, &is, (uint8_t)gmm_fr_area_kind(r, area),
				    false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	gmm_fr_settle(r, area);
}

/* ---- Taking ---- */

static inline unsigned gmm_fr_emit(uint64_t base, uint64_t mask, uint64_t *frames)
{
	unsigned n = 0;

	if (mask == ~UINT64_C(0)) {
		for (; n < 64; n++)
			frames[n] = base + n;
		return n;
	}
	for (; mask; mask &= mask - 1)
		frames[n++] = base + (unsigned)__builtin_ctzll(mask);
	return n;
}

/* Takes up to n frames of word w. */
static inline unsigned gmm_fr_take_word(struct gmm_fr r, uint64_t w, unsigned n, uint64_t *frames)
{
	uint64_t *word = gmm_fr_words(r) + w;
	uint64_t old = gmm_fr_load(word);

	for (unsigned i = 0; ~old && i < GMM_FR_TRIES; i++) {
		uint64_t mask = gmm_fr_lowest(~old, n);

		if (!gmm_fr_cas(word, &old, old | mask))
			continue;
		if (!old && __atomic_load_n(gmm_fr_kinds(r) + w / GMM_FR_WORDS, __ATOMIC_SEQ_CST) ==
				    GMM_FR_FREE)
			gmm_fr_settle(r, w / GMM_FR_WORDS);
		return gmm_fr_emit(w * 64, mask, frames);
	}
	return 0;
}

/* Takes up to n frames of the area that word w is in, from w on and around; *last
 * becomes the word where it ended. */
static inline unsigned gmm_fr_take_area(struct gmm_fr r, uint64_t w, unsigned n, uint64_t *frames,
					uint64_t *last)
{
	uint64_t first = w & ~(uint64_t)(GMM_FR_WORDS - 1);
	unsigned taken = 0;

	for (unsigned i = 0; i < GMM_FR_WORDS && taken < n; i++) {
		uint64_t at = first + ((w + i) & (GMM_FR_WORDS - 1));
		unsigned got = gmm_fr_take_word(r, at, n - taken, frames + taken);

		taken += got;
		if (got)
			*last = at;
	}
	return taken;
}

/* ---- Where to take ---- */

struct gmm_fr_found {
	uint64_t part, free; /* areas; n_areas where there is none */
	unsigned part_kind;
};

/* Looks at up to 64 areas from `at` on, those below end. */
static inline void gmm_fr_look(struct gmm_fr r, uint64_t at, uint64_t end,
			       struct gmm_fr_found *found)
{
	const uint8_t *kinds = gmm_fr_kinds(r);

	for (uint64_t stop = at + 64 < end ? at + 64 : end; at < stop; at++) {
		unsigned kind = __atomic_load_n(&kinds[at], __ATOMIC_RELAXED);

		if (kind == GMM_FR_FREE) {
			if (found->free == end)
				found->free = at;
		} else if (kind <= GMM_FR_PART_MAX && kind > found->part_kind) {
			found->part = at;
			found->part_kind = kind;
		}
	}
}

/* The fullest partly used area near `from`, else a free one: reserved. n_areas: none found. */
static inline uint64_t gmm_fr_choose(struct gmm_fr r, uint64_t from)
{
	uint64_t n_areas = gmm_fr_n_areas(r.n_frames);
	uint64_t n_groups = (n_areas + 63) / 64;
	uint64_t group = from < n_areas ? from / 64 : 0;
	struct gmm_fr_found found;

	found.part = found.free = n_areas;
	found.part_kind = 0;
	for (uint64_t i = 0; i < n_groups; i++) {
		uint64_t area;
		uint8_t kind;

		gmm_fr_look(r, group * 64, n_areas, &found);
		group = group + 1 < n_groups ? group + 1 : 0;
		if (found.part == n_areas && (found.free == n_areas || i + 1 < GMM_FR_NEAR) &&
		    i + 1 < n_groups)
			continue;
		area = found.part < n_areas ? found.part : found.free;
		if (area == n_areas)
			break;
		kind = (uint8_t)found.part_kind;
		if (__atomic_compare_exchange_n(gmm_fr_kinds(r) + area, &kind, GMM_FR_RESERVED,
						false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			return area;
		found.part = found.free = n_areas; /* somebody was faster: look on */
		found.part_kind = 0;
	}
	return n_areas;
}

/* Makes word w the one that the caller takes from, and leaves where it was. */
static inline void gmm_fr_move(struct gmm_fr r, struct gmm_frames_caller *c, uint64_t w)
{
	uint64_t old = __atomic_exchange_n(&c->word1, w + 1, __ATOMIC_SEQ_CST) - 1;
	uint64_t area = old / GMM_FR_WORDS;

	if (area < gmm_fr_n_areas(r.n_frames) && area != w / GMM_FR_WORDS)
		gmm_fr_leave(r, area);
}

/* Takes wherever the bitmap has something: the hints named no place. */
static inline unsigned gmm_fr_sweep(struct gmm_fr r, struct gmm_frames_caller *c, unsigned n,
				    uint64_t *frames)
{
	uint64_t n_words = gmm_fr_n_areas(r.n_frames) * GMM_FR_WORDS;
	unsigned taken = 0;

	for (uint64_t w = 0; w < n_words && taken < n; w++) {
		unsigned got = gmm_fr_take_word(r, w, n - taken, frames + taken);

		taken += got;
		if (got)
			gmm_fr_move(r, c, w);
	}
	return taken;
}

/* Shell sort: areas are not visited in order. */
static inline void gmm_fr_sort(uint64_t *frames, unsigned n)
{
	for (unsigned gap = n / 2; gap; gap /= 2)
		for (unsigned i = gap; i < n; i++) {
			uint64_t x = frames[i];
			unsigned j = i;

			for (; j >= gap && frames[j - gap] > x; j -= gap)
				frames[j] = frames[j - gap];
			frames[j] = x;
		}
}

/* ---- Returning ---- */

/* After bits of a word went from `old` to `now`, fewer of them. */
static inline void gmm_fr_emptied(struct gmm_fr r, uint64_t area, uint64_t old, uint64_t now)
{
	unsigned kind;

	if (old != ~UINT64_C(0) && now)
		return;
	kind = __atomic_load_n(gmm_fr_kinds(r) + area, __ATOMIC_SEQ_CST);
	if (kind == GMM_FR_FULL ||
	    (!now && kind != GMM_FR_RESERVED && gmm_fr_area_is_free(r, area)))
		gmm_fr_settle(r, area);
}

/* Clears those bits of `mask` that are set in word w; returns them. */
static inline uint64_t gmm_fr_clear(struct gmm_fr r, uint64_t w, uint64_t mask)
{
	uint64_t *word = gmm_fr_words(r) + w;
	uint64_t old = gmm_fr_load(word);

	for (unsigned i = 0; (old & mask) && i < GMM_FR_TRIES; i++) {
		if (!gmm_fr_cas(word, &old, old & ~mask))
			continue;
		gmm_fr_emptied(r, w / GMM_FR_WORDS, old, old & ~mask);
		return old & mask;
	}
	return 0;
}

/* Gathers the frames at the head of the list that lie in one word: how many, and their mask.
 * A frame named twice ends the group. */
static inline unsigned gmm_fr_gather(const uint64_t *frames, unsigned n, uint64_t *mask)
{
	uint64_t w = frames[0] / 64, bits = 0;
	unsigned i = 0;

	for (; i < n && frames[i] / 64 == w; i++) {
		uint64_t bit = UINT64_C(1) << (frames[i] % 64);

		if (bits & bit)
			break;
		bits |= bit;
	}
	*mask = bits;
	return i;
}

static inline int gmm_fr_check_put(struct gmm_fr r, unsigned n, const uint64_t *frames)
{
	for (unsigned i = 0; i < n; i++)
		if (frames[i] >= r.n_frames)
			return -GMM_FRAMES_ERANGE;
	for (unsigned i = 0; i < n;) {
		uint64_t mask;
		unsigned k = gmm_fr_gather(frames + i, n - i, &mask);

		if (i + k < n && frames[i + k] == frames[i + k - 1])
			return -GMM_FRAMES_EALREADY;
		if (mask & ~gmm_fr_load(gmm_fr_words(r) + frames[i] / 64))
			return -GMM_FRAMES_EALREADY;
		i += k;
	}
	return 0;
}

/* Returns how many were in use and are free now. */
static inline unsigned gmm_fr_put_list(struct gmm_fr r, unsigned n, const uint64_t *frames)
{
	unsigned put = 0;

	for (unsigned i = 0; i < n;) {
		uint64_t mask;
		unsigned k = gmm_fr_gather(frames + i, n - i, &mask);

		put += gmm_fr_popcount(gmm_fr_clear(r, frames[i] / 64, mask));
		i += k;
	}
	return put;
}

/* ---- The inside of the public functions; r.n_frames is trusted, the block is not ---- */

static inline int gmm_fr_get_slow(struct gmm_fr r, unsigned caller, unsigned n, uint64_t *frames)
{
	struct gmm_frames_caller *c = gmm_fr_caller(r, caller);
	uint64_t n_areas = gmm_fr_n_areas(r.n_frames);
	uint64_t w = gmm_fr_load(&c->word1) - 1, last = w;
	unsigned taken = 0;

	if (w / GMM_FR_WORDS < n_areas)
		taken = gmm_fr_take_area(r, w, n, frames, &last);
	for (unsigned i = 0; taken < n && i < GMM_FR_TRIES; i++) {
		uint64_t area = gmm_fr_choose(r, last / GMM_FR_WORDS);

		if (area == n_areas)
			break;
		last = area * GMM_FR_WORDS;
		gmm_fr_move(r, c, last);
		taken += gmm_fr_take_area(r, last, n - taken, frames + taken, &last);
	}
	if (taken == n)
		gmm_fr_move(r, c, last);
	else
		taken += gmm_fr_sweep(r, c, n - taken, frames + taken);
	if (taken < n) {
		gmm_fr_put_list(r, taken, frames);
		return -GMM_FRAMES_ENOMEM;
	}
	for (unsigned i = 1; i < n; i++)
		if (frames[i] < frames[i - 1]) {
			gmm_fr_sort(frames, n);
			break;
		}
	gmm_fr_count(&c->n_got, caller, n);
	return 0;
}

static inline int gmm_fr_get(struct gmm_fr r, unsigned caller, unsigned n, uint64_t *frames)
{
	struct gmm_frames_caller *c = gmm_fr_caller(r, caller);
	uint64_t w = gmm_fr_load(&c->word1) - 1;

	if (n == 0 || n > GMM_FRAMES_HUGE)
		return -GMM_FRAMES_EINVAL;
	if (n == 1 && w / GMM_FR_WORDS < gmm_fr_n_areas(r.n_frames) &&
	    gmm_fr_take_word(r, w, 1, frames)) {
		gmm_fr_count(&c->n_got, caller, 1);
		return 0;
	}
	return gmm_fr_get_slow(r, caller, n, frames);
}

static inline int gmm_fr_put(struct gmm_fr r, unsigned caller, unsigned n, const uint64_t *frames)
{
	unsigned put;

	if (n == 0 || n > GMM_FRAMES_HUGE)
		return -GMM_FRAMES_EINVAL;
	if (n == 1) {
		if (frames[0] >= r.n_frames)
			return -GMM_FRAMES_ERANGE;
		put = !!gmm_fr_clear(r, frames[0] / 64, UINT64_C(1) << (frames[0] % 64));
	} else {
		int err = gmm_fr_check_put(r, n, frames);

		if (err)
			return err;
		put = gmm_fr_put_list(r, n, frames);
	}
	gmm_fr_count(&gmm_fr_caller(r, caller)->n_put, caller, put);
	return put == n ? 0 : -GMM_FRAMES_EALREADY;
}

/* Takes the whole area, if all of it is free. */
static inline bool gmm_fr_take_whole(struct gmm_fr r, uint64_t area)
{
	uint64_t *words = gmm_fr_words(r) + area * GMM_FR_WORDS;
	unsigned i = 0;

	if (!gmm_fr_area_is_free(r, area))
		return false;
	for (; i < GMM_FR_WORDS; i++) {
		uint64_t old = 0;

		if (!gmm_fr_cas(&words[i], &old, ~UINT64_C(0)))
			break;
	}
	if (i < GMM_FR_WORDS)
		while (i--)
			__atomic_store_n(&words[i], 0, __ATOMIC_SEQ_CST);
	else
		i = GMM_FR_WORDS + 1;
	gmm_fr_settle(r, area);
	return i > GMM_FR_WORDS;
}

static inline int gmm_fr_get_huge(struct gmm_fr r, unsigned caller, uint64_t *first)
{
	uint64_t n_areas = r.n_frames / GMM_FRAMES_HUGE; /* whole ones */

	for (unsigned pass = 0; pass < 2; pass++)
		for (uint64_t area = 0; area < n_areas; area++) {
			if (!pass && __atomic_load_n(gmm_fr_kinds(r) + area, __ATOMIC_RELAXED))
				continue;
			if (!gmm_fr_take_whole(r, area))
				continue;
			gmm_fr_count(&gmm_fr_caller(r, caller)->n_got, caller, GMM_FRAMES_HUGE);
			*first = area * GMM_FRAMES_HUGE;
			return 0;
		}
	return -GMM_FRAMES_ENOMEM;
}

static inline int gmm_fr_put_huge(struct gmm_fr r, unsigned caller, uint64_t first)
{
	uint64_t area = first / GMM_FRAMES_HUGE;
	uint64_t *words = gmm_fr_words(r) + area * GMM_FR_WORDS;
	unsigned put = 0;

	if (first % GMM_FRAMES_HUGE || first >= r.n_frames || r.n_frames - first < GMM_FRAMES_HUGE)
		return -GMM_FRAMES_ERANGE;
	for (unsigned i = 0; i < GMM_FR_WORDS; i++)
		if (gmm_fr_load(&words[i]) != ~UINT64_C(0))
			return -GMM_FRAMES_EALREADY;
	for (unsigned i = 0; i < GMM_FR_WORDS; i++)
		put += gmm_fr_popcount(__atomic_exchange_n(&words[i], 0, __ATOMIC_SEQ_CST));
	gmm_fr_settle(r, area);
	gmm_fr_count(&gmm_fr_caller(r, caller)->n_put, caller, put);
	return put == GMM_FRAMES_HUGE ? 0 : -GMM_FRAMES_EALREADY;
}

/* The bits of word w that lie in [first, first + n). */
static inline uint64_t gmm_fr_range_mask(uint64_t w, uint64_t first, uint64_t n)
{
	uint64_t from = first > w * 64 ? first - w * 64 : 0;
	uint64_t to = first + n - w * 64;

	return (to >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << to) - 1) & (~UINT64_C(0) << from);
}

static inline int gmm_fr_claim(struct gmm_fr r, uint64_t first, uint64_t n)
{
	uint64_t *words = gmm_fr_words(r);
	uint64_t w, begin = first / 64, end;

	if (n == 0 || first >= r.n_frames || n > r.n_frames - first)
		return -GMM_FRAMES_ERANGE;
	end = (first + n + 63) / 64;
	for (w = begin; w < end; w++) {
		uint64_t mask = gmm_fr_range_mask(w, first, n);
		uint64_t old = mask == ~UINT64_C(0) ? 0 : gmm_fr_load(&words[w]);
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
	for (uint64_t area = begin / GMM_FR_WORDS; area * GMM_FR_WORDS < end; area++)
		gmm_fr_settle(r, area);
	gmm_fr_count(&gmm_fr_caller(r, GMM_FRAMES_ANYONE)->n_got, GMM_FRAMES_ANYONE, n);
	return 0;
}

static inline uint64_t gmm_fr_n_free(struct gmm_fr r)
{
	uint64_t n = r.n_frames;

	for (unsigned i = 0; i <= GMM_FRAMES_CALLERS; i++)
		n += gmm_fr_load(&r.f->callers[i].n_put) - gmm_fr_load(&r.f->callers[i].n_got);
	if ((int64_t)n < 0)
		return 0; /* read while others were at it */
	return n < r.n_frames ? n : r.n_frames;
}

static inline uint64_t gmm_fr_n_free_huge(struct gmm_fr r)
{
	const uint8_t *kinds = gmm_fr_kinds(r);
	uint64_t n = 0;

	for (uint64_t area = 0; area < r.n_frames / GMM_FRAMES_HUGE; area++) {
		unsigned kind = __atomic_load_n(&kinds[area], __ATOMIC_RELAXED);

		n += kind == GMM_FR_FREE ||
		     (kind == GMM_FR_RESERVED && gmm_fr_area_is_free(r, area));
	}
	return n;
}

static inline bool gmm_fr_is_free(struct gmm_fr r, uint64_t frame)
{
	return frame < r.n_frames &&
	       !((__atomic_load_n(gmm_fr_words(r) + frame / 64, __ATOMIC_ACQUIRE) >> (frame % 64)) &
		 1);
}

/* ---- The public functions: for a block that is trusted ---- */

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
			words[w++] = ~UINT64_C(0) << (n_frames % 64);
		for (; w < end; w++)
			words[w] = ~UINT64_C(0);
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

/* Takes the frames [first, first + n). -EBUSY: one of them is in use; none was taken. -ERANGE. */
static inline int gmm_frames_claim(struct gmm_frames *f, uint64_t first, uint64_t n)
{
	return gmm_fr_claim(gmm_fr_of(f), first, n);
}

/* Takes n frames, 1 to 512, ascending, in few runs. -ENOMEM: none was taken. -EINVAL: n. */
static inline int gmm_frames_get(struct gmm_frames *f, unsigned caller, unsigned n,
				 uint64_t *frames)
{
	return gmm_fr_get(gmm_fr_of(f), caller, n, frames);
}

/* Returns n frames, 1 to 512, in any order (ascending is fastest), got in whatever way. -ERANGE:
 * one is outside, -EALREADY: one is free already; none was returned. Only where a frame stands
 * twice in the list, not side by side, or another thread returns it at the same time, -EALREADY
 * means that all frames of the list are free now, each returned once. -EINVAL: n. */
static inline int gmm_frames_put(struct gmm_frames *f, unsigned caller, unsigned n,
				 const uint64_t *frames)
{
	return gmm_fr_put(gmm_fr_of(f), caller, n, frames);
}

/* Takes 512 frames that begin at a multiple of 512. -ENOMEM: there is no such run. */
static inline int gmm_frames_get_huge(struct gmm_frames *f, unsigned caller, uint64_t *first)
{
	return gmm_fr_get_huge(gmm_fr_of(f), caller, first);
}

/* Returns 512 frames from `first`, a multiple of 512, got in whatever way. -ERANGE, -EALREADY: as
 * above, and nothing was returned. */
static inline int gmm_frames_put_huge(struct gmm_frames *f, unsigned caller, uint64_t first)
{
	return gmm_fr_put_huge(gmm_fr_of(f), caller, first);
}

/* Free frames. Exact when nobody is inside a call; costs GMM_FRAMES_CALLERS reads. */
static inline uint64_t gmm_frames_n_free(struct gmm_frames *f)
{
	return gmm_fr_n_free(gmm_fr_of(f));
}

/* Free huge frames. Exact when nobody is inside a call; costs a read for each area. */
static inline uint64_t gmm_frames_n_free_huge(struct gmm_frames *f)
{
	return gmm_fr_n_free_huge(gmm_fr_of(f));
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
