/* A machine: one guest's memory, vCPUs and devices, put together as the options say. */
#ifndef VMM_CMD_MACHINE_H
#define VMM_CMD_MACHINE_H

#include "vmm/cmd/image.h"
#include "vmm/cmd/options.h"
#include "vmm/cmd/placement.h"
#include "vmm/cmd/trace_file.h"
#include "vmm/ctl/map.h"
#include "vmm/ctl/stats.h"
#include "vmm/dev/guest.h"

#define MACHINE_MAX_REGIONS (LAYOUT_MAX_RANGES + GMM_MAX_FILES)

struct machine {
	const struct run_options *options;
	struct gmm_pool *pool;
	struct gmm_worker *worker;
	struct placement placement;
	struct trace_file *trace; /* NULL: none */
	struct guest guest; /* its space and balloon too */
	struct image kernel, program, initrd;
	bool is_foreign; /* a kernel that knows nothing of guestmm: Linux */
	unsigned n_regions;
	struct map_region regions[MACHINE_MAX_REGIONS];
	unsigned n_files;
	struct gmm_boot_file files[GMM_MAX_FILES];
	uint64_t start_ns;     /* of this process, CLOCK_MONOTONIC */
	uint64_t full_said_ns; /* the worker's: when it was last said that swap is full */
	unsigned n_lost_said;  /* the worker's: of so many lost pages it was told */
	atomic_bool is_full;   /* the store takes no more pages */
	atomic_bool is_paused;
};

/* Puts it together, up to the first instruction, which vm_start() begins with. Returns 0, or an
 * exit status having said why; machine_free() is due in either case. */
int machine_init(struct machine *m, const struct run_options *options);

/* Frees a machine whose vCPUs have ended. */
void machine_free(struct machine *m);

/* What it did until now. The vCPUs' part is malloc()ed: free(out->vcpus). 0 or -ENOMEM. */
int machine_stats(struct machine *m, struct run_stats *out);

/* Monotonic time. */
uint64_t machine_now_ns(void);

#endif
