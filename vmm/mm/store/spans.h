/* Spans: memory for objects of 8 to 3072 bytes, packed by size.
 *
 * The memory is cut into spans of 32 KiB, each of them holds objects of one size class. Classes
 * lie at most 1/16 apart from 128 bytes on (8 bytes apart below), so a class wastes
 * at most that, and the end of a span is less than one object. A span without objects goes back to
 * the free ones, and spans_trim() gives its memory back to the host.
 *
 * An object's first two bytes are its length, 0 where there is none; a freed object's next two
 * lead to the next freed one. An object is named by span << 12 | index.
 * The caller's lock guards all.
 */
#ifndef MM_STORE_SPANS_H
#define MM_STORE_SPANS_H

#include <stdbool.h>
#include <stdint.h>

#define SPAN_BYTES	32768u
#define SPAN_OBJECT_MAX 3072u /* length and contents */
#define SPAN_HEAD_BYTES 2u
#define SPAN_N_CLASSES	88u
#define SPAN_INDEX_BITS 12u
#define SPAN_NONE	UINT32_MAX
#define SPAN_NO_OBJECT	UINT64_MAX

struct span {
	uint32_t next, prev;	    /* among the spans of its class with room, or the free ones */
	uint16_t n_used, n_touched; /* objects; those at or above n_touched were never used */
	uint16_t free;		    /* the first freed object + 1, 0: none */
	uint8_t class_;		    /* SPAN_N_CLASSES: a free span */
	uint8_t dirty;		    /* a free span that still has host memory */
};

struct spans {
	uint32_t n, n_touched; /* spans at or above n_touched were never used */
	uint32_t n_held;       /* with host memory */
	uint32_t n_dirty;      /* of these, free */
	struct span *spans;
	char *memory;
	uint32_t free;			    /* list */
	uint32_t with_room[SPAN_N_CLASSES]; /* lists */
	uint16_t class_bytes[SPAN_N_CLASSES];
};

/* 0 or -ENOMEM. */
int spans_init(struct spans *s, uint64_t capacity_bytes);
void spans_fini(struct spans *s);

/* Makes an object with these contents; SPAN_NO_OBJECT: there is no room. */
uint64_t spans_add(struct spans *s, const void *contents, unsigned bytes);

/* The contents, NULL where the name is no object's. */
const void *spans_get(const struct spans *s, uint64_t name, unsigned *bytes);

/* Frees an object. False: there is none of this name. */
bool spans_remove(struct spans *s, uint64_t name);

/* Gives up to `max` free spans' memory back to the host. True: there are more. */
bool spans_trim(struct spans *s, uint32_t max);

/* Host memory in use, the free spans' that was not given back included. */
uint64_t spans_held_bytes(const struct spans *s);
uint64_t spans_metadata_bytes(const struct spans *s);

#endif
