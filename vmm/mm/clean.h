/* Clean copies: a resident page may keep its slot in the store, so that evicting it again unwritten
 * costs no write. The copies cost slots, and slots cost checksums: they are kept as long as the
 * bookkeeping stays within METADATA_BYTES_MAX a page and the store has room. Under the
 * space's lock.
 */
#ifndef MM_CLEAN_H
#define MM_CLEAN_H

#include "space.h"

#define METADATA_BYTES_MAX 16u

/* May a page that is swapped in keep its slot? */
bool clean_may_keep(const struct gmm_space *s);

/* Once a dispatch: looks how much room there is and, where there is none, gives up some copies. */
void clean_balance(struct gmm_space *s);

/* What the bookkeeping takes that grows with the guest's memory. */
uint64_t clean_metadata_bytes(const struct gmm_space *s, const struct gmm_store_stats *io);

#endif
