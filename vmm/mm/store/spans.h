/* Spans: memory for objects of 1 to 3072 bytes, packed by size.
 *
 * The memory is cut into spans of 32 KiB, each of which holds objects of one size class. A class is
 * as large as so many objects to a span allow, so that nothing is left at a span's end; classes lie
 * about 1/24 apart where a span holds 24 objects or more, and as near as they can below.
 * A span without objects goes back to the free ones, and spans_trim() gives its memory back to
 * the host.
 *
 * An object is known by a name, its index in a table that says where it is, so that it can move.
 * When objects were removed and a class has a span and a little more than it needs, or a span that
 * is less than half full while there is room in the next larger classes, its emptiest span is
 * emptied. So what is held stays within a tenth of what is stored however objects come and go,
 * unless they are few.
 *
 * What is held, heads, spans and table, is never more than the capacity. The caller's lock guards
 * all.
 */
#ifndef MM_STORE_SPANS_H
#define MM_STORE_SPANS_H

#include <stdbool.h>
#include <stdint.h>

#define SPAN_BYTES	  32768u
#define SPAN_CONTENTS_MAX 3072u
#define SPAN_CLASSES_MAX  96u
#define SPAN_FILLS	  4u /* lists of a class's spans with room, by quarters of how full they are */
#define SPAN_NONE	  UINT32_MAX
#define SPAN_NO_OBJECT	  UINT64_MAX
#define SPANS_MAX	  (UINT32_C(1) << 21) /* 64 GiB: a place is span << 11 | index */

struct span {
	uint32_t next, prev;	    /* in a list of its class; next: of the free ones */
	uint16_t n_used, n_touched; /* objects; those at or above n_touched were never used */
	uint16_t free;		    /* the first freed object + 1, 0: none */
	uint8_t class_;		    /* SPAN_CLASSES_MAX: a free span */
};

struct span_class {
	uint16_t bytes, n_in_span;
	uint32_t n_spans;
	uint64_t n_used;		/* objects */
	uint32_t with_room[SPAN_FILLS]; /* lists */
};

struct spans {
	uint64_t capacity_bytes;
	uint32_t n, n_touched; /* spans at or above n_touched were never used */
	uint32_t n_held;       /* with host memory */
	uint32_t n_used;       /* with a class */
	uint64_t n_places;     /* for objects, in the spans that have a class */
	uint64_t idle_bytes;   /* of these places, those that are free */
	struct span *spans;
	char *memory;
	uint32_t dirty, clean; /* lists of free spans: with host memory, without */
	uint32_t *names;       /* name -> place; a free name: the next free one */
	uint32_t n_names, n_names_touched, free_name;
	unsigned n_classes;
	struct span_class classes[SPAN_CLASSES_MAX];
	uint64_t contents_bytes; /* of all objects, without heads */
	uint64_t n_moved;	 /* objects, to empty spans */
};

struct span_object {
	const void *contents;
	unsigned bytes;
	uint64_t sum;
};

/* 0 or -ENOMEM. */
int spans_init(struct spans *s, uint64_t capacity_bytes);
void spans_fini(struct spans *s);

/* Makes an object with these contents, 1 to SPAN_CONTENTS_MAX bytes; SPAN_NO_OBJECT: there is no
 * room. */
uint64_t spans_add(struct spans *s, const void *contents, unsigned bytes, uint64_t sum);

/* False where the name is no object's. The contents stay where they are until the next spans_add()
 * or spans_remove(). */
bool spans_get(const struct spans *s, uint64_t name, struct span_object *out);

/* Frees an object. False: there is none of this name. */
bool spans_remove(struct spans *s, uint64_t name);

/* Gives up to `max` free spans' memory back to the host. True: there are more. */
bool spans_trim(struct spans *s, uint32_t max);

/* Host memory in use, the free spans' that was not given back included. */
uint64_t spans_held_bytes(const struct spans *s);
uint64_t spans_metadata_bytes(const struct spans *s);

/* What spans yet to be used could take. */
uint64_t spans_room_bytes(const struct spans *s);

#endif
