/* What built-in stores know of each other. */
#ifndef MM_STORE_STORE_H
#define MM_STORE_STORE_H

#include <guestmm/store.h>

extern const struct gmm_store_ops store_same_ops;

#endif
