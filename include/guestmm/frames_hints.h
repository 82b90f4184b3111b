/* Inside gmm_frames: where to look.
 *
 * Where things are in the block, and the hints: kinds[], what is said of each area and how it is
 * kept true (gmm_fr_settle), and how a caller chooses the area to go on in. The head comment of
 * frames.h has the idea and the invariants.
 *
 * Include <guestmm/frames.h>, not this.
 */
#ifndef GUESTMM_FRAMES_HINTS_H
#define GUESTMM_FRAMES_HINTS_H

#include <guestmm/frames_block.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A block and the size that this side knows it to have. Nothing that keeps accesses inside
 * the block is read from the block. */
struct gmm_fr {
	struct gmm_frames *f;
	uint64_t n_frames;
};

#define GMM_FR_WORDS  8u    /* bitmap words an area */
#define GMM_FR_PLANES 3u    /* class (two bits), tied: frames_class.h */
#define GMM_FR_NEAR   256u  /* areas among which the fullest is chosen */
#define GMM_FR_FAR    1024u /* areas to look through before a free one is broken */
#define GMM_FR_FEW    32u   /* see gmm_fr_is_worth_leaving() */
#define GMM_FR_GOOD   224u  /* kind of an area full enough to look no further */
#define GMM_FR_TRIES  1024u
#define GMM_FR_ALL    (~UINT64_C(0))

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

/* What is known of the frames of word w beside that they are in use: a word of bits for each of
 * the GMM_FR_PLANES, side by side. See frames_class.h. */
static inline uint64_t *gmm_fr_planes(struct gmm_fr r, uint64_t w)
{
	return gmm_fr_words(r) + gmm_fr_n_areas(r.n_frames) * GMM_FR_WORDS + GMM_FR_PLANES * w;
}

static inline uint8_t *gmm_fr_kinds(struct gmm_fr r)
{
	uint64_t n_words = gmm_fr_n_areas(r.n_frames) * GMM_FR_WORDS;

	return (uint8_t *)(gmm_fr_words(r) + n_words * (1 + GMM_FR_PLANES));
}

/* Bytes that kinds[] takes: it is read eight at a time, and bundles begin on a cache line. */
static inline uint64_t gmm_fr_kinds_bytes(uint64_t n_frames)
{
	return (gmm_fr_n_areas(n_frames) + 63) & ~UINT64_C(63);
}

/* Bundles are for the first so many callers: few where there is little memory. */
static inline unsigned gmm_fr_n_bundles(uint64_t n_frames)
{
	uint64_t n = gmm_fr_n_areas(n_frames) / 32;

	return n < GMM_FRAMES_CALLERS ? (unsigned)n : GMM_FRAMES_CALLERS;
}

static inline struct gmm_frames_bundle *gmm_fr_bundles(struct gmm_fr r)
{
	return (struct gmm_frames_bundle *)(void *)(gmm_fr_kinds(r) +
						    gmm_fr_kinds_bytes(r.n_frames));
}

static inline struct gmm_fr gmm_fr_of(struct gmm_frames *f)
{
	struct gmm_fr r;

	r.f = f;
	r.n_frames = f->n_frames;
	return r;
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

/* ---- Where to take ---- */

struct gmm_fr_found {
	uint64_t part, free; /* areas; GMM_FR_ALL where there is none */
	unsigned kind;	     /* of part */
};

/* The kinds of the eight areas around `at`; FREE for those that do not exist. */
static inline uint64_t gmm_fr_eight(struct gmm_fr r, uint64_t at)
{
	const uint8_t *first = gmm_fr_kinds(r) + (at & ~UINT64_C(7));

	return gmm_fr_load((const uint64_t *)(const void *)first);
}

/* Looks at those of the eight areas around `at` that are not before it and exist. */
static inline void gmm_fr_look(struct gmm_fr r, uint64_t at, struct gmm_fr_found *found)
{
	const uint8_t *kinds = gmm_fr_kinds(r);
	uint64_t end = gmm_fr_n_areas(r.n_frames), first = at & ~UINT64_C(7);
	uint64_t eight = gmm_fr_eight(r, at);

	if (!eight && found->free == GMM_FR_ALL)
		found->free = at;
	if (!eight || eight == GMM_FR_ALL ||
	    (found->kind >= 128 && !(eight & UINT64_C(0x8080808080808080))))
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

/* The part of the areas where a caller looks first: as many parts as callers, so that they write
 * neither to each other's words nor to each other's lines of kinds[]. All of it for one, and for
 * anyone. */
struct gmm_fr_home {
	uint64_t begin, end;
};

static inline struct gmm_fr_home gmm_fr_home_of(struct gmm_fr r, unsigned caller)
{
	uint64_t n_areas = gmm_fr_n_areas(r.n_frames);
	unsigned n_callers = __atomic_load_n(&r.f->n_callers, __ATOMIC_RELAXED);
	struct gmm_fr_home home = {0, n_areas};
	uint64_t n_parts = 1, i = 0;

	for (unsigned bits = caller; n_parts < n_callers && n_parts < GMM_FRAMES_CALLERS;
	     bits /= 2) {
		n_parts *= 2;
		i = i * 2 + bits % 2;
	}
	if (caller >= GMM_FRAMES_CALLERS || n_areas / n_parts < 8)
		return home;
	home.begin = n_areas * i / n_parts & ~UINT64_C(7);
	if (i + 1 < n_parts)
		home.end = n_areas * (i + 1) / n_parts & ~UINT64_C(7);
	return home;
}

/* Looks around in a home, from `from` on, until it is good enough. */
static inline void gmm_fr_look_around(struct gmm_fr r, struct gmm_fr_home home, uint64_t from,
				      struct gmm_fr_found *found)
{
	uint64_t at = from >= home.begin && from < home.end ? from : home.begin;
	uint64_t n_areas = home.end - home.begin;

	for (uint64_t seen = 8; seen < n_areas + 16; seen += 8) {
		gmm_fr_look(r, at, found);
		if (found->kind >= GMM_FR_GOOD || (found->kind && seen >= GMM_FR_NEAR) ||
		    (found->free != GMM_FR_ALL && seen >= GMM_FR_FAR))
			return;
		at = (at & ~UINT64_C(7)) + 8;
		at = at < home.end ? at : home.begin;
	}
}

/* Are more than a few areas outside the home partly used? Those few are where others come and go
 * just now: to take there as well costs both of them more than a free area is worth. To look costs
 * them something, too: it is done again when frames for a 32nd of the home have been got. */
static inline bool gmm_fr_is_worth_leaving(struct gmm_fr r, unsigned caller,
					   struct gmm_fr_home home)
{
	uint64_t n_areas = gmm_fr_n_areas(r.n_frames), at = home.end, n_part = 0;
	uint64_t n_home = home.end - home.begin, n = n_areas - n_home;
	uint64_t n_got = gmm_fr_load(&gmm_fr_caller(r, caller)->n_got) / GMM_FRAMES_HUGE;

	if (n_got % (1 + n_home / GMM_FR_FEW))
		return false;
	n = n < GMM_FR_FAR ? n : GMM_FR_FAR;
	for (uint64_t i = 0; i < n; i += 8, at += 8) {
		uint64_t eight;

		at = at < n_areas ? at : 0;
		for (eight = gmm_fr_eight(r, at); eight && ~eight; eight >>= 8)
			n_part += (eight & 255) - 1 < GMM_FR_PART_MAX;
	}
	return n_part > n / GMM_FR_FEW;
}

/* Finds a partly used area, else a free one, from `from` on and around: in the caller's home, then
 * elsewhere. */
static inline uint64_t gmm_fr_find(struct gmm_fr r, unsigned caller, uint64_t from, unsigned *kind)
{
	struct gmm_fr_home home = gmm_fr_home_of(r, caller);
	struct gmm_fr_home all = {0, gmm_fr_n_areas(r.n_frames)};
	struct gmm_fr_found found;

	found.part = found.free = GMM_FR_ALL;
	found.kind = 0;
	gmm_fr_look_around(r, home, from, &found);
	if (!found.kind && home.end - home.begin < all.end &&
	    (found.free == GMM_FR_ALL || gmm_fr_is_worth_leaving(r, caller, home)))
		gmm_fr_look_around(r, all, home.end, &found);
	*kind = found.kind;
	return found.kind ? found.part : found.free;
}

/* Chooses the area to go on in and reserves it for a caller that may. GMM_FR_ALL: the hints name
 * none. */
GMM_FR_SLOW uint64_t gmm_fr_choose(struct gmm_fr r, unsigned caller, uint64_t from)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned kind, real;
		uint64_t area = gmm_fr_find(r, caller, from, &kind);

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
		if (caller >= GMM_FRAMES_CALLERS || gmm_fr_kind_cas(r, area, kind, GMM_FR_RESERVED))
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

#ifdef __cplusplus
}
#endif
#endif
