/* Spans. See spans.h. */
#include "store/spans.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "reserve.h"

#define CLASS_MIN_BYTES	 24u
#define CLASS_STEP	 24u /* classes lie 1/24 apart */
#define PLACE_INDEX_BITS 11u
/* What may lie idle in a class before objects move: a span, and one in so many objects. */
#define IDLE_SHARE 32u
/* A span that is filled to less than one part in so many may be emptied into larger classes... */
#define SPARSE_SHARE 2u
/* ...of which so many, its own included, are near enough. */
#define NEAR_CLASSES 4u
/* With more than one part in IDLE_MUCH of what is held idle, an object without room in its class
 * goes to one up to a NEAR_SHAREth larger before a span is taken for it. */
#define IDLE_MUCH  12u
#define NEAR_SHARE 12u

/* Objects stand 8-byte aligned; their heads have no padding. */
struct head {
	uint64_t sum;	/* the caller's */
	uint32_t name;	/* of a freed object: the next freed one of its span + 1 */
	uint16_t bytes; /* 0: freed */
} __attribute__((packed));

#define OBJECT_MAX (SPAN_CONTENTS_MAX + (unsigned)sizeof(struct head))

_Static_assert(SPAN_BYTES / CLASS_MIN_BYTES < 1u << PLACE_INDEX_BITS, "every object has a place");
_Static_assert(SPANS_MAX - 1 <= UINT32_MAX >> PLACE_INDEX_BITS, "in whichever span");
_Static_assert(sizeof(struct head) == 14, "what an object costs");

/* The largest class of as many objects to a span as one of `bytes` would have. */
static unsigned widened(unsigned bytes)
{
	return SPAN_BYTES / (SPAN_BYTES / bytes) & ~7u;
}

static void make_classes(struct spans *s)
{
	unsigned bytes = CLASS_MIN_BYTES;

	while (s->n_classes < SPAN_CLASSES_MAX) {
		struct span_class *c = &s->classes[s->n_classes++];
		unsigned step = (bytes / CLASS_STEP + 7) & ~7u;

		c->bytes = (uint16_t)bytes;
		c->n_in_span = (uint16_t)(SPAN_BYTES / bytes);
		for (unsigned i = 0; i < SPAN_FILLS; i++)
			c->with_room[i] = SPAN_NONE;
		if (bytes >= OBJECT_MAX)
			break;
		bytes = widened(bytes + (step ? step : 8));
	}
}

static unsigned class_of(const struct spans *s, unsigned bytes)
{
	unsigned low = 0, high = s->n_classes - 1;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (s->classes[middle].bytes < bytes)
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
	*s = (struct spans){.capacity_bytes = capacity_bytes,
			    .n = (uint32_t)(capacity_bytes / SPAN_BYTES),
			    .n_names = (uint32_t)(capacity_bytes / CLASS_MIN_BYTES),
			    .dirty = SPAN_NONE,
			    .clean = SPAN_NONE,
			    .free_name = SPAN_NONE};
	make_classes(s);
	s->spans = reserve_map(s->n * sizeof(*s->spans));
	s->memory = reserve_map(memory_bytes(s));
	s->names = reserve_map(s->n_names * sizeof(*s->names));
	if (!s->spans || !s->memory || !s->names) {
		spans_fini(s);
		return -ENOMEM;
	}
	return 0;
}

void spans_fini(struct spans *s)
{
	reserve_unmap(s->spans, s->n * sizeof(*s->spans));
	reserve_unmap(s->memory, memory_bytes(s));
	reserve_unmap(s->names, s->n_names * sizeof(*s->names));
	*s = (struct spans){0};
}

/* ---- Lists of spans ---- */

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

static struct span_class *class_at(struct spans *s, uint32_t at)
{
	return &s->classes[s->spans[at].class_];
}

/* The list that a span of its class stands in; SPAN_FILLS: none, it is full. */
static unsigned fill_of(const struct span_class *c, unsigned n_used)
{
	return n_used * SPAN_FILLS / c->n_in_span;
}

/* Counts an object more or less in a span. */
static void span_count(struct spans *s, uint32_t at, int change)
{
	struct span_class *c = class_at(s, at);
	struct span *span = &s->spans[at];
	unsigned old = fill_of(c, span->n_used), now;

	span->n_used = (uint16_t)(span->n_used + change);
	c->n_used += (uint64_t)(int64_t)change;
	s->idle_bytes -= (uint64_t)((int64_t)change * c->bytes);
	now = fill_of(c, span->n_used);
	if (old == now)
		return;
	if (old < SPAN_FILLS)
		list_remove(s, &c->with_room[old], at);
	if (now < SPAN_FILLS)
		list_push(s, &c->with_room[now], at);
}

/* ---- Spans ---- */

static uint32_t list_pop(struct spans *s, uint32_t *list)
{
	uint32_t at = *list;

	if (at != SPAN_NONE)
		*list = s->spans[at].next;
	return at;
}

static void list_add(struct spans *s, uint32_t *list, uint32_t at)
{
	s->spans[at].next = *list;
	*list = at;
}

/* With a span more, of so many places: names that its objects may need are counted. */
static bool may_hold(const struct spans *s, uint64_t bytes, uint64_t n_places)
{
	uint64_t n_names = s->n_places + n_places;

	if (n_names < s->n_names_touched)
		n_names = s->n_names_touched;
	return spans_held_bytes(s) + s->n_touched * sizeof(*s->spans) +
		       n_names * sizeof(*s->names) + bytes <=
	       s->capacity_bytes;
}

static bool trim_one(struct spans *s)
{
	char *at = s->memory + (uint64_t)s->dirty * SPAN_BYTES;

	if (madvise(at, SPAN_BYTES, MADV_DONTNEED) < 0)
		return false;
	list_add(s, &s->clean, list_pop(s, &s->dirty));
	s->n_held--;
	return true;
}

/* A free span, with host memory if there is one. */
static uint32_t span_find(struct spans *s, unsigned n_places)
{
	uint32_t at = SPAN_NONE;

	/* Small objects need more names: room for them is had from spans that lie idle. */
	while (s->dirty != SPAN_NONE && !may_hold(s, 0, n_places))
		if (!trim_one(s))
			return SPAN_NONE;
	if (s->dirty != SPAN_NONE)
		return list_pop(s, &s->dirty);
	if (!may_hold(s, SPAN_BYTES + sizeof(*s->spans), n_places))
		return SPAN_NONE;
	if (s->clean != SPAN_NONE)
		at = list_pop(s, &s->clean);
	else if (s->n_touched < s->n)
		at = s->n_touched++;
	if (at != SPAN_NONE)
		s->n_held++;
	return at;
}

/* Makes a free span the class's; SPAN_NONE: there is none. */
static uint32_t span_take(struct spans *s, unsigned class_)
{
	struct span_class *c = &s->classes[class_];
	uint32_t at = span_find(s, c->n_in_span);

	if (at == SPAN_NONE)
		return at;
	s->spans[at] = (struct span){.class_ = (uint8_t)class_};
	s->n_places += c->n_in_span;
	s->idle_bytes += (uint64_t)c->n_in_span * c->bytes;
	c->n_spans++;
	s->n_used++;
	list_push(s, &c->with_room[0], at);
	return at;
}

static void span_put(struct spans *s, uint32_t at)
{
	struct span_class *c = class_at(s, at);

	list_remove(s, &c->with_room[0], at);
	s->n_places -= c->n_in_span;
	s->idle_bytes -= (uint64_t)c->n_in_span * c->bytes;
	c->n_spans--;
	s->n_used--;
	s->spans[at].class_ = SPAN_CLASSES_MAX;
	list_add(s, &s->dirty, at);
}

/* A span of the class with room, the fuller the better, but not `other`. */
static uint32_t span_with_room(const struct spans *s, unsigned class_, uint32_t other)
{
	for (unsigned i = SPAN_FILLS; i-- > 0;) {
		uint32_t at = s->classes[class_].with_room[i];

		if (at == other && at != SPAN_NONE)
			at = s->spans[at].next;
		if (at != SPAN_NONE)
			return at;
	}
	return SPAN_NONE;
}

/* ---- Objects ---- */

static char *object_at(const struct spans *s, uint32_t span, unsigned index)
{
	return s->memory + (uint64_t)span * SPAN_BYTES +
	       (uint64_t)index * s->classes[s->spans[span].class_].bytes;
}

/* A place in the span for an object more. */
static unsigned object_take(struct spans *s, uint32_t at)
{
	struct span *span = &s->spans[at];
	unsigned index;

	if (span->free) {
		index = span->free - 1u;
		span->free = (uint16_t)((struct head *)object_at(s, at, index))->name;
	} else {
		index = span->n_touched++;
	}
	span_count(s, at, 1);
	return index;
}

static void object_put(struct spans *s, uint32_t at, unsigned index)
{
	struct head *head = (struct head *)object_at(s, at, index);
	struct span *span = &s->spans[at];

	head->bytes = 0;
	head->name = span->free;
	span->free = (uint16_t)(index + 1);
	span_count(s, at, -1);
	if (!span->n_used)
		span_put(s, at);
}

static uint32_t place_of(uint32_t span, unsigned index)
{
	return span << PLACE_INDEX_BITS | index;
}

/* ---- Moving ---- */

/* Objects that the class's spans could hold more. */
static uint64_t n_idle(const struct span_class *c)
{
	return (uint64_t)c->n_spans * c->n_in_span - c->n_used;
}

static uint32_t emptiest(const struct span_class *c)
{
	uint32_t at = SPAN_NONE;

	for (unsigned i = 0; at == SPAN_NONE && i < SPAN_FILLS; i++)
		at = c->with_room[i];
	return at;
}

/* Where an object of a span that is emptied goes: to its own class, or to one little larger. */
static uint32_t refuge(const struct spans *s, unsigned class_, uint32_t from)
{
	unsigned end = class_ + NEAR_CLASSES < s->n_classes ? class_ + NEAR_CLASSES : s->n_classes;
	uint32_t at = SPAN_NONE;

	for (; at == SPAN_NONE && class_ < end; class_++)
		at = span_with_room(s, class_, from);
	return at;
}

static uint64_t n_refuges(const struct spans *s, unsigned class_, uint32_t from)
{
	unsigned end = class_ + NEAR_CLASSES < s->n_classes ? class_ + NEAR_CLASSES : s->n_classes;
	uint64_t n = 0;

	for (unsigned i = class_; i < end; i++)
		n += n_idle(&s->classes[i]);
	return n - (s->classes[class_].n_in_span - s->spans[from].n_used);
}

/* Empties a span whose objects have a place elsewhere. At most SPAN_BYTES are copied. */
static void compact(struct spans *s, uint32_t from)
{
	unsigned class_ = s->spans[from].class_;

	for (unsigned index = 0; s->spans[from].n_used; index++) {
		struct head *head = (struct head *)object_at(s, from, index);
		uint32_t to;
		unsigned place;

		if (!head->bytes)
			continue;
		to = refuge(s, class_, from);
		place = object_take(s, to);
		memcpy(object_at(s, to, place), head, sizeof(*head) + head->bytes);
		s->names[head->name] = place_of(to, place);
		object_put(s, from, index);
		s->n_moved++;
	}
}

/* After a removal: a class has more idle room than it may, or a span that is nearly empty. */
static void compact_class(struct spans *s, unsigned class_)
{
	const struct span_class *c = &s->classes[class_];
	uint64_t share = c->n_used / IDLE_SHARE, least = c->n_in_span / 8u;
	uint32_t from = emptiest(c);

	if (from == SPAN_NONE)
		return;
	if (n_idle(c) >= c->n_in_span + (share > least ? share : least) ||
	    (s->spans[from].n_used <= c->n_in_span / SPARSE_SHARE &&
	     n_refuges(s, class_, from) >= s->spans[from].n_used))
		compact(s, from);
}

/* Makes a free span of what lies idle in some class. False: nothing does. */
static bool compact_any(struct spans *s)
{
	for (unsigned i = 0; i < s->n_classes; i++) {
		if (n_idle(&s->classes[i]) < s->classes[i].n_in_span)
			continue;
		compact(s, emptiest(&s->classes[i]));
		return true;
	}
	return false;
}

/* ---- Adding and removing ---- */

/* Room in a class little larger, while much of what is held is idle: few objects need fewer
 * classes. */
static uint32_t find_near(const struct spans *s, unsigned class_)
{
	unsigned max = s->classes[class_].bytes + s->classes[class_].bytes / NEAR_SHARE;
	uint32_t at = SPAN_NONE;

	if (s->idle_bytes < (uint64_t)s->n_used * SPAN_BYTES / IDLE_MUCH)
		return at;
	while (at == SPAN_NONE && ++class_ < s->n_classes && s->classes[class_].bytes <= max)
		at = span_with_room(s, class_, SPAN_NONE);
	return at;
}

/* A span for an object of the class; where no more can be had, one of larger objects. */
static uint32_t find_room(struct spans *s, unsigned class_)
{
	uint32_t at = span_with_room(s, class_, SPAN_NONE);

	if (at == SPAN_NONE)
		at = find_near(s, class_);
	if (at == SPAN_NONE)
		at = span_take(s, class_);
	if (at == SPAN_NONE && compact_any(s))
		at = span_take(s, class_);
	while (at == SPAN_NONE && ++class_ < s->n_classes)
		at = span_with_room(s, class_, SPAN_NONE);
	return at;
}

static uint32_t name_take(struct spans *s)
{
	uint32_t name = s->free_name;

	if (name != SPAN_NONE)
		s->free_name = s->names[name];
	else if (s->n_names_touched < s->n_names)
		name = s->n_names_touched++;
	return name;
}

static void name_put(struct spans *s, uint32_t name)
{
	s->names[name] = s->free_name;
	s->free_name = name;
}

uint64_t spans_add(struct spans *s, const void *contents, unsigned bytes, uint64_t sum)
{
	uint32_t name = name_take(s), at;
	struct head *head;
	unsigned index;

	if (name == SPAN_NONE)
		return SPAN_NO_OBJECT;
	at = find_room(s, class_of(s, bytes + (unsigned)sizeof(*head)));
	if (at == SPAN_NONE) {
		name_put(s, name);
		return SPAN_NO_OBJECT;
	}
	index = object_take(s, at);
	head = (struct head *)object_at(s, at, index);
	*head = (struct head){.sum = sum, .name = name, .bytes = (uint16_t)bytes};
	memcpy(head + 1, contents, bytes);
	s->names[name] = place_of(at, index);
	s->contents_bytes += bytes;
	return name;
}

/* The object of this name, NULL where there is none: a free name's entry leads to no object, or to
 * one of another name. */
static struct head *find(const struct spans *s, uint64_t name)
{
	uint32_t span, index;
	struct head *head;

	if (name >= s->n_names_touched)
		return NULL;
	span = s->names[name] >> PLACE_INDEX_BITS;
	index = s->names[name] & ((1u << PLACE_INDEX_BITS) - 1);
	if (span >= s->n_touched || s->spans[span].class_ == SPAN_CLASSES_MAX ||
	    index >= s->spans[span].n_touched)
		return NULL;
	head = (struct head *)object_at(s, span, index);
	return head->bytes && head->name == name ? head : NULL;
}

bool spans_get(const struct spans *s, uint64_t name, struct span_object *out)
{
	const struct head *head = find(s, name);

	if (!head)
		return false;
	*out = (struct span_object){head + 1, head->bytes, head->sum};
	return true;
}

bool spans_remove(struct spans *s, uint64_t name)
{
	struct head *head = find(s, name);
	uint32_t place;
	unsigned class_;

	if (!head)
		return false;
	place = s->names[name];
	class_ = s->spans[place >> PLACE_INDEX_BITS].class_;
	s->contents_bytes -= head->bytes;
	object_put(s, place >> PLACE_INDEX_BITS, place & ((1u << PLACE_INDEX_BITS) - 1));
	name_put(s, (uint32_t)name);
	compact_class(s, class_);
	return true;
}

bool spans_trim(struct spans *s, uint32_t max)
{
	for (; s->dirty != SPAN_NONE && max; max--)
		if (!trim_one(s))
			return false;
	return s->dirty != SPAN_NONE;
}

uint64_t spans_held_bytes(const struct spans *s)
{
	return (uint64_t)s->n_held * SPAN_BYTES;
}

uint64_t spans_metadata_bytes(const struct spans *s)
{
	return s->n_touched * sizeof(*s->spans) + s->n_names_touched * sizeof(*s->names);
}

uint64_t spans_room_bytes(const struct spans *s)
{
	uint64_t used = (uint64_t)s->n_used * SPAN_BYTES + spans_metadata_bytes(s);

	return used < s->capacity_bytes ? s->capacity_bytes - used : 0;
}
