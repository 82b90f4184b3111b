/* What a run did, as JSON: the schema guestmm-stats-1, of --stats and of the control socket.
 * Keys are only ever added. */
#ifndef VMM_CTL_STATS_H
#define VMM_CTL_STATS_H

#include <guestmm/guestmm.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct run_vcpu_stats {
	uint64_t exits;	 /* from KVM_RUN, signals included */
	uint64_t run_ns; /* inside KVM_RUN */
};

struct run_stats {
	bool running;	 /* then exit_status means nothing yet and is null in the JSON */
	int exit_status; /* 0..255 */
	bool paused;
	bool async_faults; /* KVM may have workers of the kernel's wait for absent pages */
	struct gmm_stats mm;
	struct {		    /* where faults are served, and what was measured for it */
		const char *choice; /* "same", "any", "spin", "cpu" */
		int cpu;	    /* shared, or the worker's own; -1: none */
		uint64_t same_ns, other_ns, spin_ns; /* a fault's round trip; 0: not measured */
	} fault_cpu;
	struct { /* as the guest's kernel counts them */
		uint64_t minor, major, invalid;
	} guest_faults;
	const char *balloon_by;	   /* "share" or "list" */
	uint64_t guest_free_bytes; /* as a shared allocator says; 0 by list */
	uint64_t balloon_target_bytes;
	uint64_t rss_peak_bytes, rss_bytes; /* see stats_rss() */
	unsigned n_vcpus;
	const struct run_vcpu_stats *vcpus; /* n_vcpus of them */
	uint64_t boot_ns; /* process start to the guest's first instruction of main; 0: not there
			     yet */
	uint64_t wall_ns; /* since process start */
};

/* Returns a new object, NULL without memory. */
json_t *stats_json(const struct run_stats *stats);

/* Writes it as one line. Returns 0, -ENOMEM, or what writing to the stream failed with. */
int stats_write(FILE *to, const struct run_stats *stats);

/* Reads this process's resident memory and its highest value so far (VmRSS, VmHWM).
 * Returns 0, or a negative errno where /proc cannot be read; both are then 0. */
int stats_rss(uint64_t *now_bytes, uint64_t *peak_bytes);

#endif
