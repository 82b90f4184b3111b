/* The JSON of a run. The schema's keys stand first in each object, in its order; what was added
 * to them follows. All numbers are integers. */
#include "stats.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "verdict.h"

/* JSON integers are signed here; no count of ours comes near. */
static json_int_t num(uint64_t v)
{
	return v > INT64_MAX ? INT64_MAX : (json_int_t)v;
}

static json_t *faults_json(const struct run_stats *st)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "demand_zero", num(st->mm.faults.demand_zero), "swap_in",
			 num(st->mm.faults.swap_in), "rescue", num(st->mm.faults.rescue),
			 "prefetched", num(st->mm.faults.prefetched), "invalid",
			 num(st->guest_faults.invalid), "p50_ns", num(st->mm.faults.p50_ns),
			 "p99_ns", num(st->mm.faults.p99_ns), "max_ns", num(st->mm.faults.max_ns),
			 "prefetch_used", num(st->mm.faults.prefetch_used), "prefetch_wasted",
			 num(st->mm.faults.prefetch_wasted), "read_ahead",
			 num(st->mm.faults.read_ahead), "poison", num(st->mm.faults.poison));
}

static json_t *reclaim_json(const struct gmm_stats *mm)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "evicted",
			 num(mm->reclaim.evicted), "zero", num(mm->reclaim.zero), "clean",
			 num(mm->reclaim.clean), "written", num(mm->reclaim.written), "dropped",
			 num(mm->reclaim.dropped), "busy", num(mm->reclaim.busy), "failed",
			 num(mm->reclaim.failed), "free_taken", num(mm->free_taken));
}

static json_t *store_json(const struct gmm_stats *mm)
{
	int encrypted = (mm->io.flags & GMM_STORE_ENCRYPTED) != 0;

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:s?, s:I, s:I, s:I, s:I, s:b}", "reads",
			 num(mm->io.reads), "writes", num(mm->io.writes), "read_bytes",
			 num(mm->io.read_bytes), "written_bytes", num(mm->io.written_bytes),
			 "errors", num(mm->io.errors), "kind", mm->store, "slots_used",
			 num(mm->io.n_slots_used), "slots", num(mm->io.n_slots), "metadata_bytes",
			 num(mm->io.metadata_bytes), "held_bytes", num(mm->io.held_bytes),
			 "encrypted", encrypted);
}

static json_int_t permille(double percent)
{
	return percent > 0 ? (json_int_t)(percent * 10 + 0.5) : 0;
}

/* Shares of the last 10, 60 and 300 s, in thousandths. */
static json_t *stall_json(const struct gmm_stats *mm)
{
	const double *some = mm->stall_some_avg, *full = mm->stall_full_avg;

	return json_pack("{s:[I,I,I], s:[I,I,I]}", "some", permille(some[0]), permille(some[1]),
			 permille(some[2]), "full", permille(full[0]), permille(full[1]),
			 permille(full[2]));
}

static json_t *thrash_json(const struct gmm_stats *mm)
{
	char text[VERDICT_BYTES];

	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "thrashing", mm->thrash.on,
			 "stalled_permille", num(mm->thrash.stalled_permille), "window_ns",
			 num(mm->thrash.window_ns), "refaults", num(mm->thrash.refaults),
			 "more_bytes", num(mm->thrash.more_bytes), "most_more_bytes",
			 num(mm->thrash.most_more_bytes), "total_ns", num(mm->thrash.total_ns),
			 "verdict", verdict_text(mm, text));
}

static json_t *vcpus_json(const struct run_stats *st)
{
	json_t *vcpus = json_array();

	for (unsigned i = 0; vcpus && i < st->n_vcpus; i++) {
		json_t *vcpu = json_pack("{s:I, s:I}", "exits", num(st->vcpus[i].exits), "run_ns",
					 num(st->vcpus[i].run_ns));

		if (json_array_append_new(vcpus, vcpu)) {
			json_decref(vcpus);
			return NULL;
		}
	}
	return vcpus;
}

static json_t *process_json(const struct run_stats *st)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "rss_peak_bytes", num(st->rss_peak_bytes),
			 "metadata_bytes", num(st->mm.metadata_bytes), "rss_bytes",
			 num(st->rss_bytes), "fixed_bytes", num(st->mm.fixed_bytes));
}

/* The object's flat keys up to "poisoned_pages", in the schema's order. */
static json_t *head_json(const struct run_stats *st)
{
	json_t *status = st->running ? json_null() : json_integer(st->exit_status);

	return json_pack("{s:s, s:s, s:s?, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "schema",
			 "guestmm-stats-1", "version", gmm_version(), "engine", st->mm.engine,
			 "exit_status", status, "memory_bytes", num(st->mm.memory_bytes),
			 "limit_bytes", num(st->mm.limit_bytes), "resident_bytes",
			 num(st->mm.resident_bytes), "resident_peak_bytes",
			 num(st->mm.resident_peak_bytes), "swapped_bytes",
			 num(st->mm.swapped_bytes), "ballooned_bytes", num(st->mm.ballooned_bytes),
			 "poisoned_pages", num(st->mm.poisoned_pages));
}

static json_t *extra_json(const struct run_stats *st)
{
	return json_pack("{s:b, s:b, s:b, s:s?, s:I, s:s?, s:I, s:I, s:I, s:o, s:{s:I, s:I, s:I}}",
			 "running", st->running, "paused", st->paused, "async_faults",
			 st->async_faults, "policy", st->mm.policy, "balloon_target_bytes",
			 num(st->balloon_target_bytes), "balloon_by", st->balloon_by,
			 "guest_free_bytes", num(st->guest_free_bytes), "evicting_bytes",
			 num(st->mm.evicting_bytes), "prezeroed_bytes", num(st->mm.prezeroed_bytes),
			 "stall_permille", stall_json(&st->mm), "guest_faults", "minor",
			 num(st->guest_faults.minor), "major", num(st->guest_faults.major),
			 "invalid", num(st->guest_faults.invalid));
}

/* Frames of 2 MiB: mapped now, and what became of blocks so far. */
static json_t *huge_json(const struct gmm_stats *mm)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "bytes", num(mm->huge_bytes), "filled",
			 num(mm->huge.filled), "taken", num(mm->huge.taken), "split",
			 num(mm->huge.split), "gathered", num(mm->huge.gathered));
}

static json_t *curve_json(const struct gmm_stats *mm)
{
	json_t *curve = json_array();

	for (uint32_t i = 0; curve && i < mm->working_set.n_points; i++) {
		const struct gmm_curve_point *at = &mm->working_set.curve[i];
		json_t *point = json_pack("{s:I, s:I}", "limit_bytes", num(at->limit_bytes),
					  "refaults_per_s", num(at->refaults_per_s));

		if (json_array_append_new(curve, point)) {
			json_decref(curve);
			return NULL;
		}
	}
	return curve;
}

static json_t *fault_cpu_json(const struct run_stats *st)
{
	return json_pack("{s:s?, s:i, s:I, s:I, s:I}", "choice", st->fault_cpu.choice, "cpu",
			 st->fault_cpu.cpu, "same_ns", num(st->fault_cpu.same_ns), "other_ns",
			 num(st->fault_cpu.other_ns), "spin_ns", num(st->fault_cpu.spin_ns));
}

static json_t *working_set_json(const struct gmm_stats *mm)
{
	char text[VERDICT_BYTES];

	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:o, s:s}", "on", mm->working_set.on,
			 "bytes", num(mm->working_set.bytes), "pages_a_sample",
			 num(mm->working_set.pages_a_sample), "sampled",
			 num(mm->working_set.sampled), "touches", num(mm->working_set.touches),
			 "spent_ns", num(mm->working_set.spent_ns), "curve", curve_json(mm),
			 "in_words", verdict_working_set(mm, text));
}

json_t *stats_json(const struct run_stats *st)
{
	json_t *all = head_json(st), *extra = extra_json(st);
	json_t *middle =
		json_pack("{s:o, s:o, s:o, s:{s:I, s:I}, s:o, s:o, s:I, s:I}", "faults",
			  faults_json(st), "reclaim", reclaim_json(&st->mm), "store",
			  store_json(&st->mm), "stall_ns", "some", num(st->mm.stall_some_ns),
			  "full", num(st->mm.stall_full_ns), "process", process_json(st), "vcpus",
			  vcpus_json(st), "boot_ns", num(st->boot_ns), "wall_ns", num(st->wall_ns));

	if (!all || !middle || !extra || json_object_update(all, middle) ||
	    json_object_update(all, extra) ||
	    json_object_set_new(all, "huge", huge_json(&st->mm)) ||
	    json_object_set_new(all, "fault_cpu", fault_cpu_json(st)) ||
	    json_object_set_new(all, "working_set", working_set_json(&st->mm)) ||
	    json_object_set_new(all, "thrash", thrash_json(&st->mm))) {
		json_decref(all);
		all = NULL;
	}
	json_decref(middle);
	json_decref(extra);
	return all;
}

int stats_write(FILE *to, const struct run_stats *stats)
{
	json_t *json = stats_json(stats);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	int err = 0;

	json_decref(json);
	if (!text)
		return -ENOMEM;
	errno = 0;
	if (fprintf(to, "%s\n", text) < 0 || fflush(to))
		err = errno ? -errno : -EIO;
	free(text);
	return err;
}

int stats_rss(uint64_t *now_bytes, uint64_t *peak_bytes)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[256];
	uint64_t kib;

	*now_bytes = *peak_bytes = 0;
	if (!status)
		return -errno;
	while (fgets(line, sizeof(line), status)) {
		if (sscanf(line, "VmHWM: %" SCNu64 " kB", &kib) == 1)
			*peak_bytes = kib << 10;
		else if (sscanf(line, "VmRSS: %" SCNu64 " kB", &kib) == 1)
			*now_bytes = kib << 10;
	}
	fclose(status);
	return *peak_bytes ? 0 : -ENODATA;
}
