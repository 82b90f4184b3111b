/* Handles: names of pages that may move from one store to another.
 *
 * A handle is one 64-bit word:
 *   FREE              the rest is the next free handle
 *   LIVE              a page is in store `level` at `slot`
 *   LIVE -> MOVING    its write-back to a lower store is under way; still at `slot`
 *   MOVING -> LIVE    it ended: the new place, or the old one where nobody took it
 *   MOVING -> DEAD    released meanwhile: freed when the write-back ends
 * Words lie in address space reserved at once, committed as handles are first used.
 */
#ifndef MM_STORE_HANDLES_H
#define MM_STORE_HANDLES_H

#include <guestmm/store.h>

/* 256 GiB of pages that are in a store from which pages are written back. */
#define HANDLES_MAX (UINT64_C(1) << 26)

enum handle_state { HANDLE_FREE, HANDLE_LIVE, HANDLE_MOVING, HANDLE_DEAD };

struct handle {
	uint64_t slot : GMM_SLOT_BITS;
	uint64_t level : 2;
	uint64_t state : 2;
};

_Static_assert(sizeof(struct handle) == 8, "eight bytes a page");

struct handles {
	struct handle *all;
	uint64_t n_touched, n_used;
	uint64_t free; /* list, GMM_SLOT_NONE at its end */
};

/* 0 or -ENOMEM. */
int handles_init(struct handles *h);
void handles_fini(struct handles *h);

/* Makes a live handle. False: there are no more. */
bool handles_get(struct handles *h, unsigned level, uint64_t slot, uint64_t *out);
void handles_put(struct handles *h, uint64_t handle);

/* A live or moving handle's word, NULL where the number is none's. */
struct handle *handles_find(const struct handles *h, uint64_t handle);

#endif
