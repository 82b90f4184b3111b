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

#endif
