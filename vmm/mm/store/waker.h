/* One descriptor for a store that stands on others: it polls readable when one of theirs does, or
 * when the store itself has something to hand out. -1 where none of them has a descriptor:
 * all ends inside submit() then. */
#ifndef MM_STORE_WAKER_H
#define MM_STORE_WAKER_H

#include <guestmm/store.h>

struct waker {
	int epoll_fd, event_fd;
	bool set;
};

/* 0, -EMFILE, -ENFILE, -ENOMEM. */
int waker_init(struct waker *w, struct gmm_store *const *stores, unsigned n);
void waker_fini(struct waker *w);
void waker_set(struct waker *w);
void waker_clear(struct waker *w);

/* Waits until a store's descriptor polls readable. */
void waker_wait(struct gmm_store *st);

#endif
