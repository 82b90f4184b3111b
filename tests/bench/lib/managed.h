/* Guest data in the library's hands: what a VMM that embeds it does, and no more. */
#ifndef BENCH_MANAGED_H
#define BENCH_MANAGED_H

#include <guestmm/guestmm.h>

#include "bare_vm.h"
#include "harness.h"
#include "placement.h"

struct managed {
	struct gmm_pool *pool;
	struct gmm_space *space;
	struct gmm_worker *worker;
	void *data;
	struct gmm_stats before; /* at managed_mark() */
};

/* Memory of `bytes` of which `limit_bytes` may be resident. store: owned by the space, or NULL. */
void managed_new(struct managed *m, uint64_t bytes, uint64_t limit_bytes, struct gmm_store *store,
		 const struct placement *where);

/* After the last vCPU's last run, before the virtual machine is freed. */
void managed_detach(struct managed *m);
void managed_free(struct managed *m);

/* Events from managed_mark() to managed_count() are counted into the sample. */
void managed_mark(struct managed *m);
void managed_count(struct managed *m, struct bench_sample *out);

/* A store by its description, as `guestmm run --swap` takes it. */
struct gmm_store *managed_store(const char *spec, uint64_t bytes);

/* Writes pages [0, bytes) of the guest, each with n_noise words that do not compress. */
void managed_fill(struct bare_vm *vm, uint64_t bytes, uint64_t n_noise);

/* Evicts all of it and waits until it is in the store. */
void managed_swap_out(struct managed *m, uint64_t bytes);

/* Naps until the function says that it is so. */
void managed_wait(struct managed *m, bool (*is_so)(struct managed *, uint64_t), uint64_t arg);
bool managed_is_swapped(struct managed *m, uint64_t bytes);

#endif
