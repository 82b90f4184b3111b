/* Queues of pages, for policies and for tiers of stores.
 *
 * A set of two FIFOs over the pages 0 to n_pages - 1; a page is in one of them
 * at most. A queue is a ring of 32-bit page numbers, so that it costs about four bytes a
 * page that is in it; half a byte for every page says in which queue it is. Taking a page out of
 * the middle only changes that: its entry stays behind, is told from a newer one by a tag,
 * and is skipped when it comes up or swept out when the ring is full.
 *
 * Invariant: a page's mark names queue q if and only if q holds an entry with the page's
 * number and its present tag. With four and more dead entries of a page in a queue the oldest
 * may look alive: the page then comes up too early, never twice and never not at all.
 *
 * Rings lie in address space that is reserved for the worst case and committed as they
 * grow: pushing never fails. The caller's lock guards all.
 */
#ifndef MM_QUEUE_H
#define MM_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#define QUEUE_N	   2u
#define QUEUE_NONE 0u /* queues are numbered from 1 */

struct queue_ring {
	uint32_t *entries;
	uint64_t capacity; /* entries in use of those reserved */
	uint64_t head;	   /* the oldest */
	uint64_t n;	   /* entries, dead ones included */
	uint64_t n_pages;  /* pages in the queue */
};

struct queue_set {
	uint64_t n_pages;
	uint32_t tag_shift, tag_mask; /* an entry is page | tag << tag_shift */
	uint8_t *marks;		      /* two pages a byte: queue | tag << 2 */
	struct queue_ring rings[QUEUE_N];
};

/* 0, -EINVAL (no pages, or more than 2^32), -ENOMEM. */
int queue_init(struct queue_set *set, uint64_t n_pages);
void queue_fini(struct queue_set *set);

/* The queue a page is in, or QUEUE_NONE. */
unsigned queue_of(const struct queue_set *set, uint64_t page);

/* Puts a page at the end of queue q, from wherever it is now. */
void queue_push(struct queue_set *set, unsigned q, uint64_t page);

/* Takes a page out of the queue it is in, if any. */
void queue_drop(struct queue_set *set, uint64_t page);

/* The same for n pages from `first` on. */
void queue_drop_run(struct queue_set *set, uint64_t first, uint64_t n);

/* Takes the oldest page out of queue q. False: it is empty. */
bool queue_pop(struct queue_set *set, unsigned q, uint64_t *page);

/* Takes the page at a random entry out of queue q. False: it is empty. */
bool queue_pop_at(struct queue_set *set, unsigned q, uint64_t random, uint64_t *page);

uint64_t queue_pages(const struct queue_set *set, unsigned q);

/* Gives memory back that rings grew into and do not need any more. */
void queue_trim(struct queue_set *set);

/* Of the rings alone; of these and the marks of all pages. */
uint64_t queue_ring_bytes(const struct queue_set *set);
uint64_t queue_metadata_bytes(const struct queue_set *set);

#endif
