/* Spans. See spans.h. */
#include "store/spans.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "reserve.h"

_Static_assert(SPAN_BYTES / 8 <= 1u << SPAN_INDEX_BITS, "every object has a name");

/* Classes: 8 bytes apart up to 256, then 16 a doubling. */
static void make_classes(struct spans *s)
{
	unsigned bytes = 0, step = 8;

	for (unsigned i = 0; i < SPAN_N_CLASSES; i++) {
		bytes += step;
		s->class_bytes[i] = (uint16_t)bytes;
		if (bytes >= 256 && (bytes & (bytes - 1)) == 0)
			step = bytes / 16;
	}
}

static unsigned class_of(const struct spans *s, unsigned bytes)
{
	unsigned low = 0, high = SPAN_N_CLASSES - 1;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (s->class_bytes[middle] < bytes)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint64_t memory_bytes(const struct spans *s)
{
	return (uint64_t)s->n * SPAN_BYTES;
}

int spans_init(struct spans *s, uint64_t capacity_bytes)
{
	*s = (struct spans){.n = (uint32_t)(capacity_bytes / SPAN_BYTES), .free = SPAN_NONE};
	make_classes(s);
	for (unsigned i = 0; i < SPAN_N_CLASSES; i++)
		s->with_room[i] = SPAN_NONE;
	s->spans = reserve_map(s->n * sizeof(*s->spans));
	s->memory = reserve_map(memory_bytes(s));
	if (!s->spans || !s->memory) {
		spans_fini(s);
		return -ENOMEM;
	}
	return 0;
}

void spans_fini(struct spans *s)
{
	reserve_unmap(s->spans, s->n * sizeof(*s->spans));
	reserve_unmap(s->memory, memory_bytes(s));
	*s = (struct spans){0};
}

static void list_push(struct spans *s, uint32_t *list, uint32_t at)
{
	s->spans[at].next = *list;
	s->spans[at].prev = SPAN_NONE;
	if (*list != SPAN_NONE)
		s->spans[*list].prev = at;
	*list = at;
}

static void list_remove(struct spans *s, uint32_t *list, uint32_t at)
{
	struct span *span = &s->spans[at];

	if (span->prev != SPAN_NONE)
		s->spans[span->prev].next = span->next;
	else
		*list = span->next;
	if (span->next != SPAN_NONE)
		s->spans[span->next].prev = span->prev;
}

static unsigned n_objects(const struct spans *s, const struct span *span)
{
	return SPAN_BYTES / s->class_bytes[span->class_];
}

static char *object_at(const struct spans *s, uint32_t span, unsigned index)
{
	return s->memory + (uint64_t)span * SPAN_BYTES +
	       (uint64_t)index * s->class_bytes[s->spans[span].class_];
}

/* Makes a free span the class's; SPAN_NONE: there is none. */
static uint32_t span_take(struct spans *s, unsigned class_)
{
	uint32_t at = s->free;

	if (at != SPAN_NONE)
		list_remove(s, &s->free, at);
	else if (s->n_touched < s->n)
		at = s->n_touched++;
	else
		return SPAN_NONE;
	if (s->spans[at].dirty)
		s->n_dirty--;
	else
		s->n_held++;
	s->spans[at] = (struct span){.class_ = (uint8_t)class_};
	list_push(s, &s->with_room[class_], at);
	return at;
}

static void span_put(struct spans *s, uint32_t at)
{
	list_remove(s, &s->with_room[s->spans[at].class_], at);
	s->spans[at].class_ = SPAN_N_CLASSES;
	s->spans[at].dirty = 1;
	s->n_dirty++;
	list_push(s, &s->free, at);
}

uint64_t spans_add(struct spans *s, const void *contents, unsigned bytes)
{
	unsigned class_ = class_of(s, bytes + SPAN_HEAD_BYTES), index;
	uint16_t length = (uint16_t)bytes;
	uint32_t at = s->with_room[class_];
	struct span *span;
	char *object;

	if (at == SPAN_NONE)
		at = span_take(s, class_);
	if (at == SPAN_NONE)
		return SPAN_NO_OBJECT;
	span = &s->spans[at];
	if (span->free) {
		index = span->free - 1u;
		memcpy(&span->free, object_at(s, at, index) + SPAN_HEAD_BYTES, sizeof(span->free));
	} else {
		index = span->n_touched++;
	}
	if (++span->n_used == n_objects(s, span))
		list_remove(s, &s->with_room[class_], at);
	object = object_at(s, at, index);
	memcpy(object, &length, sizeof(length));
	memcpy(object + SPAN_HEAD_BYTES, contents, bytes);
	return (uint64_t)at << SPAN_INDEX_BITS | index;
}

const void *spans_get(const struct spans *s, uint64_t name, unsigned *bytes)
{
	uint64_t at = name >> SPAN_INDEX_BITS;
	unsigned index = (unsigned)(name & ((1u << SPAN_INDEX_BITS) - 1));
	uint16_t length;
	char *object;

	if (at >= s->n_touched || s->spans[at].class_ == SPAN_N_CLASSES ||
	    index >= s->spans[at].n_touched)
		return NULL;
	object = object_at(s, (uint32_t)at, index);
	memcpy(&length, object, sizeof(length));
	*bytes = length;
	return length ? object + SPAN_HEAD_BYTES : NULL;
}

bool spans_remove(struct spans *s, uint64_t name)
{
	uint32_t at = (uint32_t)(name >> SPAN_INDEX_BITS);
	uint16_t index = (uint16_t)(name & ((1u << SPAN_INDEX_BITS) - 1));
	const uint16_t none = 0;
	unsigned bytes;
	struct span *span;
	char *object;

	if (!spans_get(s, name, &bytes))
		return false;
	span = &s->spans[at];
	object = object_at(s, at, index);
	memcpy(object, &none, sizeof(none));
	memcpy(object + SPAN_HEAD_BYTES, &span->free, sizeof(span->free));
	span->free = (uint16_t)(index + 1);
	if (span->n_used-- == n_objects(s, span))
		list_push(s, &s->with_room[span->class_], at);
	if (!span->n_used)
		span_put(s, at);
	return true;
}

bool spans_trim(struct spans *s, uint32_t max)
{
	for (uint32_t at = s->free; at != SPAN_NONE && s->n_dirty && max; at = s->spans[at].next) {
		if (!s->spans[at].dirty)
			continue;
		if (madvise(s->memory + (uint64_t)at * SPAN_BYTES, SPAN_BYTES, MADV_DONTNEED) < 0)
			return false;
		s->spans[at].dirty = 0;
		s->n_dirty--;
		s->n_held--;
		max--;
	}
	return s->n_dirty;
}

uint64_t spans_held_bytes(const struct spans *s)
{
	return (uint64_t)s->n_held * SPAN_BYTES;
}

uint64_t spans_metadata_bytes(const struct spans *s)
{
	return sizeof(*s) + s->n_touched * sizeof(*s->spans);
}
