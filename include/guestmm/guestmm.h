/* libguestmm: the memory of KVM guests, managed in user space.
 *
 * Includes every public header. In short:
 *   gmm_pool_new()        the hard limit
 *   gmm_store_file_new()  where evicted pages go
 *   gmm_space_new()       a guest's memory; gmm_space_add_ram() gives the address for KVM
 *   gmm_worker_new()      serves faults
 */
#ifndef GUESTMM_GUESTMM_H
#define GUESTMM_GUESTMM_H

#include <guestmm/balloon.h>
#include <guestmm/policy.h>
#include <guestmm/pool.h>
#include <guestmm/space.h>
#include <guestmm/store.h>
#include <guestmm/trace.h>
#include <guestmm/types.h>
#include <guestmm/worker.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library's version, "0.1.0". */
GMM_API const char *gmm_version(void);

#ifdef __cplusplus
}
#endif
#endif
