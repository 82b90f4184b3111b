/* `guestmm replay`: a trace against every policy, and against the optimum. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include <guestmm/guestmm.h>

#include "cmd.h"
#include "replay.h"
#include "size.h"

#define MAX_ROWS    16
#define OPT_JSON    0x100
#define OPT_POLICY  0x101
#define ERROR_BYTES 200

struct row {
	const char *name;
	struct replay_result result;
};

struct replay {
	const char *path;
	uint64_t limit_bytes;
	bool json;
	unsigned n_policies;
	const struct gmm_policy_ops *policies[MAX_ROWS - 1];
	struct replay_trace trace;
	unsigned n_rows;
	struct row rows[MAX_ROWS]; /* the optimum first */
};

__attribute__((format(printf, 1, 2))) static int fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("guestmm replay: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	return CMD_EXIT_FAILED;
}

static error_t parse_limit(struct argp_state *state, const char *text, uint64_t *bytes)
{
	char error[SIZE_ERROR_BYTES];

	if (size_parse(text, bytes, error, sizeof(error)))
		argp_error(state, "--limit: %s", error);
	if (*bytes < GMM_POOL_MIN_BYTES)
		argp_error(state, "--limit: %s is below the floor of %d KiB", text,
			   (int)(GMM_POOL_MIN_BYTES >> 10));
	return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct replay *r = state->input;
	const struct gmm_policy_ops *policy;

	switch (key) {
	case 'l':
		return parse_limit(state, arg, &r->limit_bytes);
	case OPT_JSON:
		r->json = true;
		return 0;
	case OPT_POLICY:
		policy = gmm_policy_find(arg);
		if (!policy)
			argp_error(state, "--policy: there is no policy '%s'", arg);
		if (r->n_policies == MAX_ROWS - 1)
			argp_error(state, "--policy: given too often");
		r->policies[r->n_policies++] = policy;
		return 0;
	case ARGP_KEY_ARG:
		if (r->path)
			argp_error(state, "too many arguments: '%s'", arg);
		r->path = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "no trace");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int load(struct replay *r)
{
	const bool is_stdin = strcmp(r->path, "-") == 0;
	char error[ERROR_BYTES] = "";
	FILE *f = is_stdin ? stdin : fopen(r->path, "re");
	int rc;

	if (!f)
		return fail("%s: %s", r->path, strerror(errno));
	rc = replay_load(f, &r->trace, error, sizeof(error));
	if (!is_stdin)
		fclose(f);
	return rc ? fail("%s: %s", r->path, error) : 0;
}

/* Without --limit: the one that the run had, else half of what was touched. */
static int choose_limit(struct replay *r)
{
	if (!r->limit_bytes)
		r->limit_bytes = r->trace.limit_bytes;
	if (!r->limit_bytes)
		r->limit_bytes = (r->trace.n_pages << GMM_PAGE_SHIFT) / 2;
	if (r->limit_bytes < GMM_POOL_MIN_BYTES)
		return fail("%s: half of what was touched is below the floor of %d KiB: give a "
			    "--limit",
			    r->path, (int)(GMM_POOL_MIN_BYTES >> 10));
	return 0;
}

static int run_all(struct replay *r)
{
	const uint64_t pages = r->limit_bytes >> GMM_PAGE_SHIFT;
	int rc = replay_optimum(&r->trace, pages, &r->rows[0].result);

	r->rows[0].name = "optimum";
	r->n_rows = 1;
	for (unsigned i = 0; !rc && i < r->n_policies; i++) {
		struct row *row = &r->rows[r->n_rows++];

		row->name = r->policies[i]->name;
		rc = replay_policy(&r->trace, r->policies[i], pages, &row->result);
	}
	return rc ? fail("%s: %s", r->path, strerror(-rc)) : 0;
}

static json_t *row_json(const struct row *row)
{
	const struct replay_result *x = &row->result;

	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name", row->name, "refaults",
			 (json_int_t)x->refaults, "rescues", (json_int_t)x->rescues,
			 "first_touches", (json_int_t)x->first_touches, "evictions",
			 (json_int_t)x->evictions, "zero", (json_int_t)x->zero, "clean",
			 (json_int_t)x->clean, "written", (json_int_t)x->written);
}

static int print_json(const struct replay *r)
{
	const struct replay_trace *t = &r->trace;
	json_t *rows = json_array(), *all;
	int rc;

	for (unsigned i = 0; i < r->n_rows; i++)
		json_array_append_new(rows, row_json(&r->rows[i]));
	all = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "schema", "guestmm-replay-1",
			"sort", t->sort == GMM_TRACE_FAULTS ? "faults" : "references", "touches",
			(json_int_t)t->n_touches, "pages", (json_int_t)t->n_pages, "lost",
			(json_int_t)t->n_lost, "limit_bytes", (json_int_t)r->limit_bytes,
			"duration_ns", (json_int_t)t->duration_ns, "rows", rows);
	rc = all ? json_dumpf(all, stdout, JSON_COMPACT) : -1;
	putchar('\n');
	json_decref(all);
	return rc ? fail("cannot print it") : 0;
}

static void print_row(const struct row *row, uint64_t best)
{
	const struct replay_result *x = &row->result;
	char ratio[24] = "-";

	if (best)
		snprintf(ratio, sizeof(ratio), "%.2f", (double)x->refaults / (double)best);
	printf("%-10s %12" PRIu64 " %10s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 "\n", row->name,
	       x->refaults, ratio, x->rescues, x->evictions, x->written);
}

static void print_table(const struct replay *r)
{
	const struct replay_trace *t = &r->trace;
	char touched[SIZE_TEXT_BYTES], limit[SIZE_TEXT_BYTES];

	printf("%s: %" PRIu64 " %s, %" PRIu64 " pages (%s), limit %s\n", r->path, t->n_touches,
	       t->sort == GMM_TRACE_FAULTS ? "touches of absent pages" : "touches", t->n_pages,
	       size_format(t->n_pages << GMM_PAGE_SHIFT, touched),
	       size_format(r->limit_bytes, limit));
	if (t->n_lost)
		printf("%" PRIu64 " records are missing: what follows is about the others.\n",
		       t->n_lost);
	if (t->sort == GMM_TRACE_FAULTS)
		printf("Touches of resident pages are not in such a trace: it favours the policy "
		       "under which it was made.\n");
	printf("\n%-10s %12s %10s %12s %12s %12s\n", "policy", "refaults", "/ optimum", "rescues",
	       "evictions", "written");
	for (unsigned i = 0; i < r->n_rows; i++)
		print_row(&r->rows[i], r->rows[0].result.refaults);
}

int cmd_replay(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"limit", 'l', "SIZE", 0,
		 "Frames that there are (default: the traced run's limit, else half of what was "
		 "touched)",
		 0},
		{"policy", OPT_POLICY, "NAME", 0, "This policy; may be given several times", 0},
		{"json", OPT_JSON, NULL, 0, "One JSON object instead of a table", 0},
		{NULL, 0, NULL, 0, NULL, 0},
	};
	static const char doc[] =
		"Tells how many pages each policy would have brought back, and the optimum.\v"
		"FILE is a trace, of a run (`guestmm run --trace FILE') or of all that a program "
		"touches (`guestmm run zipf --references'); - is standard input.";
	const struct argp argp = {options, parse, "FILE", doc, NULL, NULL, NULL};
	struct replay r = {0};
	int status;

	argp_err_exit_status = CMD_EXIT_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &r);
	if (!r.n_policies)
		while (r.n_policies < MAX_ROWS - 1 && gmm_policy_at(r.n_policies)) {
			r.policies[r.n_policies] = gmm_policy_at(r.n_policies);
			r.n_policies++;
		}
	status = load(&r);
	if (!status)
		status = choose_limit(&r);
	if (!status)
		status = run_all(&r);
	if (!status && r.json)
		status = print_json(&r);
	else if (!status)
		print_table(&r);
	replay_unload(&r.trace);
	return status;
}
