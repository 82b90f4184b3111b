/* The staging queue: see staging.h. Links are those of the bay's entries. */
#include "staging.h"

/* Between the neighbours prev and next, either of which may be BAY_NONE. */
static void staging_link(struct gmm_space *s, page_no p, bay_slot slot, bay_slot prev,
			 bay_slot next)
{
	struct bay_entry *entries = s->bay.entries;

	entries[slot].page = p;
	entries[slot].stage = BAY_STAGED;
	entries[slot].prev = prev;
	entries[slot].next = next;
	*(prev != BAY_NONE ? &entries[prev].next : &s->staged_head) = slot;
	*(next != BAY_NONE ? &entries[next].prev : &s->staged_tail) = slot;
	s->n_staged++;
}

void staging_push(struct gmm_space *s, page_no p, bay_slot slot)
{
	staging_link(s, p, slot, s->staged_tail, BAY_NONE);
}

void staging_push_first(struct gmm_space *s, page_no p, bay_slot slot)
{
	staging_link(s, p, slot, BAY_NONE, s->staged_head);
}

void staging_remove(struct gmm_space *s, bay_slot slot)
{
	struct bay_entry *entries = s->bay.entries;
	bay_slot prev = entries[slot].prev, next = entries[slot].next;

	*(prev != BAY_NONE ? &entries[prev].next : &s->staged_head) = next;
	*(next != BAY_NONE ? &entries[next].prev : &s->staged_tail) = prev;
	s->n_staged--;
}

bay_slot staging_pop(struct gmm_space *s)
{
	bay_slot slot = s->staged_head;

	if (slot != BAY_NONE)
		staging_remove(s, slot);
	return slot;
}
