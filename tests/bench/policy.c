/* Which page to evict: row 9.
 *
 * All references of `zipf`, theta 0.99, over twice its frames are replayed by `guestmm replay`
 * against the default policy and two floors: Belady's optimum, which knows the future, and clock.
 * What is compared are pages that had to be brought back. Each round has a trace of its own;
 * nothing is timed, and no KVM is needed.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "lib/harness.h"

#define OPS	  1000000u
#define OPS_QUICK 200000u

/* The result of a policy on the trace of this seed. */
static double replay(const char *policy, unsigned seed, bool quick, struct bench_sample *out)
{
	const json_t *row;
	char command[1024];
	json_t *all;
	size_t i;
	FILE *f;

	snprintf(command, sizeof(command),
		 "'%s' zipf --bytes 64M --ops %u --theta 0.99 --writes 50 --seed %u --references | "
		 "'%s' replay -l 32M --json -",
		 PROGRAMS_PATH, quick ? OPS_QUICK : OPS, seed, GUESTMM_PATH);
	f = popen(command, "re");
	all = f ? json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
	if (!f || pclose(f) || !all)
		bench_die("%s: no result", command);
	json_array_foreach(json_object_get(all, "rows"), i, row)
	{
		double n = json_number_value(json_object_get(row, "refaults"));
		const char *name = json_string_value(json_object_get(row, "name"));

		if (!name || strcmp(name, policy) != 0)
			continue;
		bench_count(out, "refaults", (uint64_t)n);
		bench_count(out, "rescues",
			    (uint64_t)json_integer_value(json_object_get(row, "rescues")));
		bench_count(out, "written",
			    (uint64_t)json_integer_value(json_object_get(row, "written")));
		json_decref(all);
		return n;
	}
	bench_die("%s: no policy %s in the result", command, policy);
}

/* Both sides count their runs, so that those of one round have one trace. */
static void replay_ours(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	static unsigned n_runs;

	(void)row;
	out->value[0] = replay("heat", ++n_runs, quick, out);
}

static void replay_floor(const struct bench_row *row, bool quick, struct bench_sample *out)
{
	static unsigned n_runs;

	out->value[0] = replay(row->arg, ++n_runs, quick, out);
}

#define POLICY_ROW(policy, who, most)                                                              \
	{                                                                                          \
		.number = 9, .title = "refaults of zipf in half its memory", .variant = policy,    \
		.against = who, .metrics = {{"refaults", "pages", most, '<'}},                     \
		.ours = replay_ours, .floor = replay_floor, .arg = policy                          \
	}

static const struct bench_row rows[] = {
	POLICY_ROW("optimum", "Belady's optimum on the same trace", 1.6),
	POLICY_ROW("clock", "clock on the same trace", 0.8),
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
