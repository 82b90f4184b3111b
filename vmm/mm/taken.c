/* Taken: see taken.h. One reservation of address space has all three bitmaps. */
#include "taken.h"

#include "reserve.h"

static uint64_t n_areas(const struct taken *t)
{
	return (t->n_frames + TAKEN_AREA - 1) / TAKEN_AREA;
}

/* Words of a bitmap with a bit an area. */
static uint64_t area_words(const struct taken *t)
{
	return (n_areas(t) + 63) / 64;
}

uint64_t taken_bytes(const struct taken *t)
{
	return (2 * area_words(t) + n_areas(t) * (TAKEN_AREA / 64)) * sizeof(uint64_t);
}

int taken_init(struct taken *t, uint64_t n_frames)
{
	struct taken made = {.n_frames = n_frames};

	made.whole = reserve_map(taken_bytes(&made));
	if (!made.whole)
		return -ENOMEM;
	made.some = made.whole + area_words(&made);
	made.words = made.some + area_words(&made);
	*t = made;
	return 0;
}

void taken_fini(struct taken *t)
{
	reserve_unmap(t->whole, taken_bytes(t));
	*t = (struct taken){0};
}

static void set_bits(uint64_t *word, uint64_t mask)
{
	__atomic_store_n(word, *word | mask, __ATOMIC_RELAXED);
}

static void clear_bits(uint64_t *word, uint64_t mask)
{
	__atomic_store_n(word, *word & ~mask, __ATOMIC_RELAXED);
}

static uint64_t bit_of(uint64_t i)
{
	return UINT64_C(1) << (i % 64);
}

static void count(struct taken *t, uint64_t n)
{
	__atomic_store_n(&t->n, t->n + n, __ATOMIC_RELEASE);
}

bool taken_add_area(struct taken *t, uint64_t area)
{
	if (taken_bit(t->whole, area) || taken_bit(t->some, area))
		return false;
	set_bits(&t->whole[area / 64], bit_of(area));
	count(t, TAKEN_AREA);
	return true;
}

bool taken_add(struct taken *t, uint64_t frame)
{
	uint64_t area = frame / TAKEN_AREA;

	if (taken_bit(t->whole, area) || taken_bit(t->words, frame))
		return false;
	set_bits(&t->words[frame / 64], bit_of(frame));
	set_bits(&t->some[area / 64], bit_of(area));
	count(t, 1);
	return true;
}

/* The first bit that is set, from `from` on; false: none. */
static bool find_bit(const uint64_t *bits, uint64_t n_words, uint64_t from, uint64_t *at)
{
	uint64_t w = from / 64, word;

	if (w >= n_words)
		return false;
	word = bits[w] & ~(bit_of(from) - 1);
	while (!word) {
		if (++w == n_words)
			return false;
		word = bits[w];
	}
	*at = w * 64 + (uint64_t)__builtin_ctzll(word);
	return true;
}

bool taken_pop_area(struct taken *t, uint64_t from, uint64_t *area)
{
	if (!find_bit(t->whole, area_words(t), from, area))
		return false;
	clear_bits(&t->whole[*area / 64], bit_of(*area));
	count(t, -(uint64_t)TAKEN_AREA);
	return true;
}

/* An area that was taken as a whole is from now on taken frame by frame. */
static void split(struct taken *t, uint64_t area)
{
	for (unsigned i = 0; i < TAKEN_AREA / 64; i++)
		set_bits(&t->words[area * (TAKEN_AREA / 64) + i], UINT64_MAX);
	set_bits(&t->some[area / 64], bit_of(area));
	clear_bits(&t->whole[area / 64], bit_of(area));
}

unsigned taken_pop(struct taken *t, unsigned n, uint64_t *frames)
{
	uint64_t area, frame, end;
	unsigned got = 0;

	if (!find_bit(t->some, area_words(t), 0, &area)) {
		if (!find_bit(t->whole, area_words(t), 0, &area))
			return 0;
		split(t, area);
	}
	end = (area + 1) * (TAKEN_AREA / 64);
	if (find_bit(t->words, end, area * TAKEN_AREA, &frame)) {
		uint64_t *word = &t->words[frame / 64];

		for (; got < n && *word; got++) {
			frames[got] = frame / 64 * 64 + (uint64_t)__builtin_ctzll(*word);
			clear_bits(word, *word & -*word);
		}
	}
	if (!find_bit(t->words, end, area * TAKEN_AREA, &frame))
		clear_bits(&t->some[area / 64], bit_of(area));
	count(t, -(uint64_t)got);
	return got;
}
