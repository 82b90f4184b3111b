/* What the control socket's requests do to a machine. All run in the server's thread. */
#include "vmm/cmd/control.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_TIMEOUT_MS 1000
#define STATUS_QUIT	 143 /* as by SIGTERM */

static json_t *do_stats(void *user)
{
	struct run_stats stats;
	json_t *json;

	if (machine_stats(user, &stats))
		return NULL;
	json = stats_json(&stats);
	free((void *)(uintptr_t)stats.vcpus);
	return json;
}

static int read_states(void *user, gmm_gfn gfn, uint64_t n_pages, uint8_t *states)
{
	return gmm_space_states(user, gfn, n_pages, states);
}

static json_t *do_map(void *user, unsigned max_chunks)
{
	const struct machine *m = user;

	return map_json(m->regions, m->n_regions, max_chunks, read_states, m->guest.space);
}

static int do_balloon(void *user, uint64_t bytes, char *error, size_t error_bytes)
{
	struct machine *m = user;
	int rc;

	gmm_balloon_set_auto(m->guest.balloon, false);
	rc = gmm_balloon_set_target(m->guest.balloon, bytes);
	if (rc)
		snprintf(error, error_bytes,
			 "the guest has %" PRIu64 " MiB and cannot give up %" PRIu64 " MiB",
			 m->options->memory_bytes >> 20, bytes >> 20);
	return rc;
}

static int do_limit(void *user, uint64_t bytes, char *error, size_t error_bytes)
{
	struct machine *m = user;
	int rc = -EINVAL;

	if (bytes > m->options->memory_bytes)
		snprintf(error, error_bytes,
			 "the limit cannot be above the guest's memory, %" PRIu64 " MiB",
			 m->options->memory_bytes >> 20);
	else if (bytes < GMM_POOL_MIN_BYTES)
		snprintf(error, error_bytes, "the limit cannot be below %" PRIu64 " KiB",
			 (uint64_t)GMM_POOL_MIN_BYTES >> 10);
	else if (bytes % GMM_PAGE_BYTES)
		snprintf(error, error_bytes, "the limit must be a multiple of 4 KiB");
	else
		rc = gmm_pool_set_limit(m->pool, bytes);
	if (rc && !*error)
		snprintf(error, error_bytes, "the limit cannot be changed: %s", strerror(-rc));
	return rc;
}

static int do_pause(void *user, char *error, size_t error_bytes)
{
	struct machine *m = user;
	int rc;

	atomic_store(&m->is_paused, true);
	rc = vm_pause(m->guest.vm, PAUSE_TIMEOUT_MS);
	if (rc)
		snprintf(error, error_bytes,
			 "a vCPU is waiting for memory; it pauses as soon as it has it");
	return rc;
}

static int do_resume(void *user, char *error, size_t error_bytes)
{
	struct machine *m = user;

	(void)error;
	(void)error_bytes;
	vm_resume(m->guest.vm);
	atomic_store(&m->is_paused, false);
	return 0;
}

static int do_quit(void *user, char *error, size_t error_bytes)
{
	struct machine *m = user;

	(void)error;
	(void)error_bytes;
	vm_end(m->guest.vm, STATUS_QUIT);
	return 0;
}

const struct ctl_ops control_ops = {
	.stats = do_stats,
	.map = do_map,
	.balloon = do_balloon,
	.limit = do_limit,
	.pause = do_pause,
	.resume = do_resume,
	.quit = do_quit,
};
