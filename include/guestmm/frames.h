/* gmm_frames: a lock-free allocator of page frames.
 *
 * Host frames, a guest kernel's physical memory and swap slots all come from this one piece
 * of code. It is freestanding (no libc, no threads API, general registers only) and its whole
 * state is one block of memory without pointers in it, so that two sides may map the block at
 * different addresses. A block of zero bytes is nearly an allocator whose frames are all free.
 *
 * Idea. A bitmap, one bit a frame, set = in use, is the only truth: a frame is taken or
 * returned by one atomic operation on its word and nothing else decides. Everything beside it is
 * a hint that says where to look, or a count:
 *   kinds[]    a byte for each area (512 frames, 2 MiB): FREE, partly used (how much, roughly),
 *              RESERVED (some caller takes its frames there now), FULL
 *   callers[]  two cache lines for each caller: the frame to try next, what it got and put
 * A caller takes from its own area until that is used up, then moves to a partly used one near by,
 * fuller ones first, and to a free one only where there is none: areas stay whole, callers
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
 * at once; that costs another atomic operation a call, and reserves nothing. Two threads that share
 * another number still never get the same frame, but the counts go astray.
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
	uint64_t next1; /* the frame to try next, plus one; 0: none */
	uint64_t n_got; /* frames, since init */
	uint64_t n_put;
	uint64_t reserved[13]; /* two cache lines: the prefetcher works in pairs */
};

/* The block: this head, the bitmap, kinds[]. */
struct gmm_frames {
	uint64_t n_frames;
	uint32_t n_callers; /* the highest number used, plus one */
	uint32_t reserved0;
	uint64_t huge_area; /* where the last huge frame was found */
	uint64_t reserved[13];
	struct gmm_frames_caller callers[GMM_FRAMES_CALLERS + 1]; /* the last: anyone */
};

/* A block and the size that this side knows it to have. Nothing that keeps accesses inside
 * the block is read from the block. */
struct gmm_fr {
	struct gmm_frames *f;
	uint64_t n_frames;
};

#define GMM_FR_WORDS 8u	   /* bitmap words an area */
#define GMM_FR_NEAR  256u  /* areas among which the fullest is chosen */
#define GMM_FR_FAR   1024u /* areas to look through before a free one is broken */
#define GMM_FR_GOOD  224u  /* kind of an area full enough to look no further */
#define GMM_FR_TRIES 1024u
#define GMM_FR_ALL   (~UINT64_C(0))

/* Keeps what is seldom needed out of the short paths. */
#define GMM_FR_SLOW static __attribute__((noinline, unused))

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
	if (x == GMM_FR_ALL)
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

/* ---- Callers ---- */

/* A number that was not used before: gmm_fr_n_free() has to look at it too. */
GMM_FR_SLOW void gmm_fr_admit(struct gmm_fr r, unsigned caller)
{
	uint32_t n = __atomic_load_n(&r.f->n_callers, __ATOMIC_RELAXED);

	for (unsigned i = 0; caller >= n && i < GMM_FR_TRIES; i++)
		if (__atomic_compare_exchange_n(&r.f->n_callers, &n, caller + 1, false,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return;
}

static inline struct gmm_frames_caller *gmm_fr_caller(struct gmm_fr r, unsigned caller)
{
	if (caller >= GMM_FRAMES_CALLERS)
		return &r.f->callers[GMM_FRAMES_CALLERS];
	if (__builtin_expect(caller >= __atomic_load_n(&r.f->n_callers, __ATOMIC_RELAXED), 0))
		gmm_fr_admit(r, caller);
	return &r.f->callers[caller];
}

static inline void gmm_fr_count(uint64_t *count, unsigned caller, uint64_t n)
{
	if (caller < GMM_FRAMES_CALLERS)
		__atomic_store_n(count, gmm_fr_load(count) + n, __ATOMIC_RELAXED);
	else
		__atomic_fetch_add(count, n, __ATOMIC_RELAXED);
}

static inline void gmm_fr_set_next(struct gmm_frames_caller *c, uint64_t frame)
{
	__atomic_store_n(&c->next1, frame + 1, __ATOMIC_RELAXED);
}

/* ---- Kinds of areas ---- */

static inline unsigned gmm_fr_kind(struct gmm_fr r, uint64_t area)
{
	return __atomic_load_n(gmm_fr_kinds(r) + area, __ATOMIC_SEQ_CST);
}

static inline bool gmm_fr_kind_cas(struct gmm_fr r, uint64_t area, unsigned from, unsigned to)
{
	uint8_t is = (uint8_t)from;

	return __atomic_compare_exchange_n(gmm_fr_kinds(r) + area, &is, (uint8_t)to, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* Are all words of the area equal to `word`? */
static inline bool gmm_fr_area_is(struct gmm_fr r, uint64_t area, uint64_t word)
{
	const uint64_t *words = gmm_fr_words(r) + area * GMM_FR_WORDS;

	for (unsigned i = 0; i < GMM_FR_WORDS; i++)
		if (__atomic_load_n(&words[i], __ATOMIC_SEQ_CST) != word)
			return false;
	return true;
}

/* The kind that the bitmap says. */
static inline unsigned gmm_fr_count_area(struct gmm_fr r, uint64_t area)
{
	const uint64_t *words = gmm_fr_words(r) + area * GMM_FR_WORDS;
	unsigned n = 0;

	for (unsigned i = 0; i < GMM_FR_WORDS; i++) {
		uint64_t w = __atomic_load_n(&words[i], __ATOMIC_SEQ_CST);

		n += w == 0 ? 0 : w == GMM_FR_ALL ? 64 : gmm_fr_popcount(w);
	}
	if (n == 0)
		return GMM_FR_FREE;
	if (n == GMM_FRAMES_HUGE)
		return GMM_FR_FULL;
	n = n / 2 + 1;
	return n < GMM_FR_PART_MAX ? n : (unsigned)GMM_FR_PART_MAX;
}

/* FREE and FULL have to be exact, the rest is an estimate. */
static inline bool gmm_fr_kind_holds(struct gmm_fr r, uint64_t area, unsigned kind)
{
	if (kind == GMM_FR_FREE)
		return gmm_fr_area_is(r, area, 0);
	if (kind == GMM_FR_FULL)
		return gmm_fr_area_is(r, area, GMM_FR_ALL);
	return !gmm_fr_area_is(r, area, 0) && !gmm_fr_area_is(r, area, GMM_FR_ALL);
}

/* Makes kinds[area] true again, unless it is reserved: then its owner does so on leaving. */
GMM_FR_SLOW void gmm_fr_settle(struct gmm_fr r, uint64_t area)
{
	for (unsigned i = 0; i < GMM_FR_TRIES; i++) {
		unsigned kind = gmm_fr_kind(r, area);

		if (kind == GMM_FR_RESERVED || gmm_fr_kind_holds(r, area, kind))
			return;
		gmm_fr_kind_cas(r, area, kind, gmm_fr_count_area(r, area));
	}
}

/* The area is nobody's any more; used up, most likely. */
GMM_FR_SLOW void gmm_fr_leave(struct gmm_fr r, uint64_t area)
{
	if (gmm_fr_kind(r, area) != GMM_FR_RESERVED)
		return;
	gmm_fr_kind_cas(r, area, GMM_FR_RESERVED, GMM_FR_FULL);
	gmm_fr_settle(r, area);
}

/* After frames of the area were taken. */
static inline void gmm_fr_filled(struct gmm_fr r, uint64_t area)
{
	if (__builtin_expect(gmm_fr_kind(r, area) == GMM_FR_FREE, 0))
		gmm_fr_settle(r, area);
}

/* Has kinds[] to be looked after, now that frames of the area were returned and one of its words
 * became `now`? */
static inline bool gmm_fr_unsettled(unsigned kind, uint64_t now)
{
	return kind == GMM_FR_FULL || (!now && kind != GMM_FR_RESERVED);
}

GMM_FR_SLOW int gmm_fr_emptied(struct gmm_fr r, uint64_t area)
{
	gmm_fr_kind_cas(r, area, GMM_FR_FULL, GMM_FR_PART_MAX);
	if (gmm_fr_area_is(r, area, 0))
		gmm_fr_settle(r, area);
	return 0;
}

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

/* ---- Where to take ---- */

struct gmm_fr_found {
	uint64_t part, free; /* areas; GMM_FR_ALL where there is none */
	unsigned kind;	     /* of part */
};

/* Looks at those of the eight areas around `at` that are not before it and exist. */
static inline void gmm_fr_look(struct gmm_fr r, uint64_t at, struct gmm_fr_found *found)
{
	const uint8_t *kinds = gmm_fr_kinds(r);
	uint64_t end = gmm_fr_n_areas(r.n_frames), first = at & ~UINT64_C(7);
	uint64_t eight = gmm_fr_load((const uint64_t *)(const void *)(kinds + first));

	if (eight == GMM_FR_ALL || (found->kind >= 128 && !(eight & UINT64_C(0x8080808080808080))))
		return;
	for (end = first + 8 < end ? first + 8 : end; at < end; at++) {
		unsigned kind = __atomic_load_n(&kinds[at], __ATOMIC_RELAXED);

		if (kind == GMM_FR_FREE) {
			if (found->free == GMM_FR_ALL)
				found->free = at;
		} else if (kind <= GMM_FR_PART_MAX && kind > found->kind) {
			found->part = at;
			found->kind = kind;
			if (kind >= GMM_FR_GOOD)
				return;
		}
	}
}

/* Finds a partly used area, else a free one, from `from` on and around. */
static inline uint64_t gmm_fr_find(struct gmm_fr r, uint64_t from, unsigned *kind)
{
	uint64_t n_areas = gmm_fr_n_areas(r.n_frames);
	uint64_t at = from < n_areas ? from : 0;
	struct gmm_fr_found found;

	found.part = found.free = GMM_FR_ALL;
	found.kind = 0;
	for (uint64_t seen = 8; seen < n_areas + 16; seen += 8) {
		gmm_fr_look(r, at, &found);
		if (found.kind >= GMM_FR_GOOD || (found.kind && seen >= GMM_FR_NEAR) ||
		    (found.free != GMM_FR_ALL && seen >= GMM_FR_FAR))
			break;
		at = (at & ~UINT64_C(7)) + 8;
		at = at < n_areas ? at : 0;
	}
	*kind = found.kind;
	return found.kind ? found.part : found.free;
}

/* Chooses the area to go on in and reserves it for a caller that may. GMM_FR_ALL: the hints name
 * none. */
GMM_FR_SLOW uint64_t gmm_fr_choose(struct gmm_fr r, uint64_t from, bool reserve)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned kind, real;
		uint64_t area = gmm_fr_find(r, from, &kind);

		if (area == GMM_FR_ALL)
			return area;
		/* what was returned to it since then is not in the estimate: correct it and choose
		 * again */
		real = gmm_fr_count_area(r, area);
		if (real == GMM_FR_FULL || (real + 16 < kind && i < 8)) {
			gmm_fr_kind_cas(r, area, kind, real);
			gmm_fr_settle(r, area);
			continue;
		}
		if (!reserve || gmm_fr_kind_cas(r, area, kind, GMM_FR_RESERVED))
			return area;
	}
	return GMM_FR_ALL;
}

/* The caller takes from this area now, beginning with `frame`, and leaves the one it was in. */
static inline void gmm_fr_move(struct gmm_fr r, struct gmm_frames_caller *c, uint64_t frame)
{
	uint64_t old = gmm_fr_load(&c->next1) - 1;

	gmm_fr_set_next(c, frame);
	if (old < r.n_frames && old / GMM_FRAMES_HUGE != frame / GMM_FRAMES_HUGE)
		gmm_fr_leave(r, old / GMM_FRAMES_HUGE);
}

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
		gmm_fr_put_list(r, taken, frames);
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
static inline int gmm_fr_put_group(struct gmm_fr r, uint64_t w, uint64_t mask)
{
	uint64_t *word = gmm_fr_words(r) + w;
	uint64_t old = gmm_fr_load(word);

	for (unsigned i = 0; !(mask & ~old) && i < GMM_FR_TRIES; i++)
		if (gmm_fr_cas(word, &old, old & ~mask)) {
			if (gmm_fr_unsettled(gmm_fr_kind(r, w / GMM_FR_WORDS), old & ~mask))
				gmm_fr_emptied(r, w / GMM_FR_WORDS);
			return 0;
		}
	return -GMM_FRAMES_EALREADY;
}

GMM_FR_SLOW int gmm_fr_put_many(struct gmm_fr r, unsigned caller, unsigned n,
				const uint64_t *frames)
{
	uint64_t mask;
	unsigned put = n;
	int err;

	if (n == 0 || n > GMM_FRAMES_HUGE)
		return -GMM_FRAMES_EINVAL;
	if (gmm_fr_gather(frames, n, &mask) == n && frames[0] < r.n_frames &&
	    frames[0] / 64 * 64 + 63 - (unsigned)__builtin_clzll(mask) < r.n_frames) {
		err = gmm_fr_put_group(r, frames[0] / 64, mask);
		if (err)
			return err;
	} else {
		err = gmm_fr_check_put(r, n, frames);
		if (err)
			return err;
		put = gmm_fr_put_list(r, n, frames);
	}
	gmm_fr_count(&gmm_fr_caller(r, caller)->n_put, caller, put);
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
		return gmm_fr_put_many(r, caller, n, frames);
	if (x >= r.n_frames)
		return -GMM_FRAMES_ERANGE;
	word = gmm_fr_words(r) + x / 64;
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

GMM_FR_SLOW int gmm_fr_get_huge(struct gmm_fr r, unsigned caller, uint64_t *first)
{
	uint64_t n_areas = r.n_frames / GMM_FRAMES_HUGE; /* whole ones */
	uint64_t area = gmm_fr_load(&r.f->huge_area);

	/* first where kinds[] says FREE, then everywhere */
	for (uint64_t i = 0; i < 2 * n_areas; i++, area++) {
		if (area >= n_areas)
			area = 0;
		if (i < n_areas && gmm_fr_kind(r, area) != GMM_FR_FREE)
			continue;
		if (!gmm_fr_take_whole(r, area))
			continue;
		__atomic_store_n(&r.f->huge_area, area, __ATOMIC_RELAXED);
		gmm_fr_count(&gmm_fr_caller(r, caller)->n_got, caller, GMM_FRAMES_HUGE);
		*first = area * GMM_FRAMES_HUGE;
		return 0;
	}
	return -GMM_FRAMES_ENOMEM;
}

GMM_FR_SLOW int gmm_fr_put_huge(struct gmm_fr r, unsigned caller, uint64_t first)
{
	uint64_t area = first / GMM_FRAMES_HUGE;
	uint64_t *words = gmm_fr_words(r) + area * GMM_FR_WORDS;
	unsigned put = 0;

	if (first % GMM_FRAMES_HUGE || first >= r.n_frames || r.n_frames - first < GMM_FRAMES_HUGE)
		return -GMM_FRAMES_ERANGE;
	for (unsigned i = 0; i < GMM_FR_WORDS; i++)
		if (gmm_fr_load(&words[i]) != GMM_FR_ALL)
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

	return (to >= 64 ? GMM_FR_ALL : (UINT64_C(1) << to) - 1) & (GMM_FR_ALL << from);
}

GMM_FR_SLOW int gmm_fr_claim(struct gmm_fr r, uint64_t first, uint64_t n)
{
	uint64_t *words = gmm_fr_words(r);
	uint64_t w, begin = first / 64, end;

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
	for (uint64_t area = begin / GMM_FR_WORDS; area * GMM_FR_WORDS < end; area++)
		gmm_fr_settle(r, area);
	gmm_fr_count(&gmm_fr_caller(r, GMM_FRAMES_ANYONE)->n_got, GMM_FRAMES_ANYONE, n);
	return 0;
}

static inline uint64_t gmm_fr_n_free(struct gmm_fr r)
{
	unsigned n_callers = __atomic_load_n(&r.f->n_callers, __ATOMIC_RELAXED);
	uint64_t n = r.n_frames;

	n_callers = n_callers < GMM_FRAMES_CALLERS ? n_callers : GMM_FRAMES_CALLERS;
	for (unsigned i = 0; i <= n_callers; i++) {
		const struct gmm_frames_caller *c =
			&r.f->callers[i < n_callers ? i : GMM_FRAMES_CALLERS];

		n += gmm_fr_load(&c->n_put) - gmm_fr_load(&c->n_got);
	}
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

/* False for frames that do not exist. */
static inline bool gmm_frames_is_free(struct gmm_frames *f, uint64_t frame)
{
	return gmm_fr_is_free(gmm_fr_of(f), frame);
}

#ifdef __cplusplus
}
#endif
#endif
