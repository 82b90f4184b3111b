/* The list of operations that have ended, in the order in which they did. */
#ifndef MM_STORE_ENDED_H
#define MM_STORE_ENDED_H

#include <guestmm/store.h>

struct ended {
	struct gmm_store_io *head, **tail;
};

static inline void ended_init(struct ended *list)
{
	list->head = NULL;
	list->tail = &list->head;
}

static inline void ended_add(struct ended *list, struct gmm_store_io *io)
{
	io->next = NULL;
	*list->tail = io;
	list->tail = &io->next;
}

static inline struct gmm_store_io *ended_take(struct ended *list)
{
	struct gmm_store_io *head = list->head;

	ended_init(list);
	return head;
}

#endif
