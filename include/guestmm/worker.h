/* Workers: a thread that dispatches a space, for people who want one made for them. */
#ifndef GUESTMM_WORKER_H
#define GUESTMM_WORKER_H

#include <guestmm/space.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gmm_worker;

struct gmm_worker_config {
	uint32_t size; /* sizeof(struct gmm_worker_config) */
	struct gmm_space *space; /* not owned; outlives the worker */
	int cpu;		 /* run on this CPU; -1: wherever the scheduler likes */
	uint32_t spin_us;	 /* look for work this long before sleeping */
};

/* Starts the thread. Errors: -EINVAL, -EAGAIN, -ENOMEM. */
GMM_API int gmm_worker_new(const struct gmm_worker_config *config, struct gmm_worker **out);

/* Moves the thread to this CPU; -1: wherever it may run. Errors: -EINVAL (no such CPU). */
GMM_API int gmm_worker_set_cpu(struct gmm_worker *worker, int cpu);

/* Stops and joins the thread. Takes NULL, returns NULL. */
GMM_API struct gmm_worker *gmm_worker_free(struct gmm_worker *worker);

#ifdef __cplusplus
}
#endif
#endif
