/* Address types, shared by every public header. Plain C11 and C++.
 *
 * Addresses are distinct structs so that the compiler refuses a mix-up of
 * guest-physical bytes and guest frame numbers.
 */
#ifndef GUESTMM_TYPES_H
#define GUESTMM_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GMM_PAGE_SHIFT 12
#define GMM_PAGE_BYTES (UINT64_C(1) << GMM_PAGE_SHIFT)
#define GMM_HUGE_SHIFT 21
#define GMM_HUGE_BYTES (UINT64_C(1) << GMM_HUGE_SHIFT)
#define GMM_HUGE_PAGES 512u

/* A guest-physical address, in bytes. */
typedef struct {
	uint64_t v;
} gmm_gpa;

/* A guest frame number: guest-physical address / 4 KiB. */
typedef struct {
	uint64_t v;
} gmm_gfn;

static inline gmm_gfn gmm_gfn_of(gmm_gpa gpa)
{
	gmm_gfn gfn = {gpa.v >> GMM_PAGE_SHIFT};

	return gfn;
}

static inline gmm_gpa gmm_gpa_of(gmm_gfn gfn)
{
	gmm_gpa gpa = {gfn.v << GMM_PAGE_SHIFT};

	return gpa;
}

/* Marks what the shared library exports; everything else is hidden. */
#if defined(__GNUC__)
#define GMM_API __attribute__((visibility("default")))
#else
#define GMM_API
#endif

#ifdef __cplusplus
}
#endif
#endif
