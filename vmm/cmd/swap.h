/* --swap SPEC: from its text to a store. */
#ifndef VMM_CMD_SWAP_H
#define VMM_CMD_SWAP_H

#include <guestmm/store.h>

/* Makes the store that spec asks for: file:PATH[,size=SIZE], file, off (*out is
 * then NULL); NULL: the default. Sizes not given follow
 * memory_bytes. Returns 0, -EINVAL (wrong spec: usage) or another negative errno; has said
 * why. */
int swap_open(const char *spec, uint64_t memory_bytes, struct gmm_store **out);

#endif
