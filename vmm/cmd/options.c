/* `guestmm run`'s options, by argp. Wrong usage is said in one line, with what would be right. */
#include "vmm/cmd/options.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cmd/cmd.h"
#include "vmm/cmd/placement.h"
#include "vmm/cmd/size.h"
#include "vmm/say.h"

enum {
	OPT_ENGINE = 0x100,
	OPT_POLICY,
	OPT_FILE,
	OPT_STATS,
	OPT_CONTROL,
	OPT_INITRD,
	OPT_CMDLINE,
	OPT_KERNEL,
	OPT_SUMMARY,
	OPT_PIN,
	OPT_TRACE,
	OPT_SWAP_ENCRYPT,
	OPT_HUGE,
	OPT_BALLOON_BY,
	OPT_WORKING_SET,
	OPT_FAULT_CPU,
};

#define MAX_MEMORY_BYTES (UINT64_C(8) << 40) /* what a space keeps state words for */

static const struct argp_option options[] = {
	{"memory", 'm', "SIZE", 0, "Guest-physical memory (default 512M)", 0},
	{"limit", 'l', "SIZE", 0, "Host frames that may back it (default: as much as memory)", 0},
	{"cpus", 'c', "N", 0, "Virtual CPUs (default 1)", 0},
	{"swap", 's', "SPEC", 0,
	 "Where evicted pages go: file:PATH[,size=SIZE], ram[:SIZE][,codec=zstd], "
	 "tier:A+B, or off "
	 "(default: a private unlinked file in $TMPDIR)",
	 0},
	{"swap-encrypt", OPT_SWAP_ENCRYPT, NULL, 0,
	 "Encrypt what reaches swap files and devices, with a key that goes with the process", 0},
	{"balloon", 'b', "SPEC", 0, "off, auto, or how much the guest is to give up (default off)",
	 0},
	{"balloon-by", OPT_BALLOON_BY, "WAY", 0,
	 "share (free memory is taken out of the guest's allocator) or list (the guest is asked) "
	 "(default: share, with a guest that can)",
	 0},
	{"engine", OPT_ENGINE, "NAME", 0, "move or copy (default: the best that the kernel has)",
	 0},
	{"policy", OPT_POLICY, "NAME", 0, "Which page is evicted next", 0},
	{"huge", OPT_HUGE, "WHEN", 0,
	 "Frames of 2 MiB: auto (where memory is filled in order), always, or never (default auto)",
	 0},
	{"working-set", OPT_WORKING_SET, "on|off", 0,
	 "Watch a sample of pages for what the guest uses, and what it would refault with another "
	 "limit; less than 1 % of a CPU (default on)",
	 0},
	{"file", OPT_FILE, "HOSTPATH[:/NAME]", 0,
	 "A file that the guest may read, mapped lazily; may be given several times", 0},
	{"stats", OPT_STATS, "FILE", 0, "Write statistics as JSON at exit ('-': standard output)",
	 0},
	{"trace", OPT_TRACE, "FILE", 0,
	 "Write faults and evictions, page by page, for `guestmm replay'", 0},
	{"control", OPT_CONTROL, "SOCKET", 0, "Listen for requests on this Unix socket", 0},
	{"quiet", 'q', NULL, 0, "No progress line, no summary", 0},
	{"summary", OPT_SUMMARY, NULL, 0, "Print a summary at the end, terminal or not", 0},
	{"kernel", OPT_KERNEL, "FILE", 0,
	 "Boot this guest kernel (ELF) instead of the built-in one", 0},
	{"pin", OPT_PIN, "WHERE", 0,
	 "The CPU that a vCPU shares with the worker that serves its faults: auto, off, or a CPU's "
	 "number (default auto: a lone vCPU shares, the CPU may change)",
	 0},
	{"fault-cpu", OPT_FAULT_CPU, "WHERE", 0,
	 "Where faults are served: auto (what is measured to be faster: same, or any CPU), same "
	 "(on "
	 "the first vCPU's CPU), spin (polling instead of sleeping), or a CPU's number (default "
	 "auto, or as --pin says)",
	 0},
	{"initrd", OPT_INITRD, "FILE", 0, "Linux: the initial RAM disk", 1},
	{"cmdline", OPT_CMDLINE, "TEXT", 0, "Linux: the kernel's command line", 1},
	{NULL, 0, NULL, 0, NULL, 0},
};

static const char doc[] =
	"Runs PROGRAM in a virtual machine whose memory is kept within a limit.\v"
	"PROGRAM is a bundled guest program (`guestmm programs' lists them), a static ELF file, "
	"or a Linux kernel (bzImage or vmlinux). SIZE takes the suffixes K, M, G, T (powers of "
	"1024).\n\nExit status: the guest's own (128 + signal for a fault), 125 where guestmm "
	"itself failed, 64 for wrong usage, 77 where the host has no usable KVM.";

struct parse {
	struct run_options *o;
	bool has_limit;
};

__attribute__((format(printf, 1, 2))) static error_t wrong(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_v(format, args);
	va_end(args);
	return EINVAL;
}

/* Sizes of guest memory: whole pages. */
static error_t read_size(const char *option, const char *text, uint64_t *bytes)
{
	char error[SIZE_ERROR_BYTES];

	if (size_parse(text, bytes, error, sizeof(error)))
		return wrong("%s: %s.", option, error);
	if (*bytes % GMM_PAGE_BYTES)
		return wrong("%s: %s is not a multiple of 4K.", option, text);
	return 0;
}

static error_t read_cpus(const char *text, unsigned *n)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || v < 1 || v > GMM_MAX_CPUS)
		return wrong("--cpus: '%s' is no number from 1 to %d.", text, GMM_MAX_CPUS);
	*n = (unsigned)v;
	return 0;
}

static error_t read_pin(const char *text, int *placement)
{
	char *end;
	long v = strtol(text, &end, 10);

	if (strcmp(text, "auto") == 0)
		*placement = PLACEMENT_AUTO;
	else if (strcmp(text, "off") == 0)
		*placement = PLACEMENT_OFF;
	else if (*text < '0' || *text > '9' || *end || v >= CPU_SETSIZE)
		return wrong("--pin: '%s' is neither auto, off nor a CPU's number.", text);
	else
		*placement = (int)v;
	return 0;
}

static error_t read_fault_cpu(const char *text, int *where)
{
	char *end;
	long v = strtol(text, &end, 10);

	if (strcmp(text, "auto") == 0)
		*where = PLACEMENT_FAULTS_AUTO;
	else if (strcmp(text, "same") == 0)
		*where = PLACEMENT_FAULTS_SAME;
	else if (strcmp(text, "spin") == 0)
		*where = PLACEMENT_FAULTS_SPIN;
	else if (*text < '0' || *text > '9' || *end || v >= CPU_SETSIZE)
		return wrong("--fault-cpu: '%s' is neither auto, same, spin nor a CPU's number.",
			     text);
	else
		*where = (int)v;
	return 0;
}

static error_t read_balloon(const char *text, struct run_options *o)
{
	if (strcmp(text, "off") == 0)
		o->balloon = BALLOON_OFF;
	else if (strcmp(text, "auto") == 0)
		o->balloon = BALLOON_AUTO;
	else
		o->balloon = BALLOON_SIZE;
	return o->balloon == BALLOON_SIZE
		       ? read_size("--balloon (off, auto or a size)", text, &o->balloon_bytes)
		       : 0;
}

static error_t read_balloon_by(const char *text, enum balloon_by *by)
{
	if (strcmp(text, "share") == 0)
		*by = BALLOON_BY_SHARE;
	else if (strcmp(text, "list") == 0)
		*by = BALLOON_BY_LIST;
	else
		return wrong("--balloon-by: '%s' is neither share nor list.", text);
	return 0;
}

static error_t read_engine(const char *text, enum gmm_engine *engine)
{
	if (strcmp(text, "move") == 0)
		*engine = GMM_ENGINE_MOVE;
	else if (strcmp(text, "copy") == 0)
		*engine = GMM_ENGINE_COPY;
	else
		return wrong("--engine: '%s' is neither move nor copy.", text);
	return 0;
}

static error_t read_huge(const char *text, enum gmm_huge *huge)
{
	if (strcmp(text, "auto") == 0)
		*huge = GMM_HUGE_AUTO;
	else if (strcmp(text, "always") == 0)
		*huge = GMM_HUGE_ALWAYS;
	else if (strcmp(text, "never") == 0)
		*huge = GMM_HUGE_NEVER;
	else
		return wrong("--huge: '%s' is neither auto, always nor never.", text);
	return 0;
}

static error_t read_working_set(const char *text, enum gmm_working_set *working_set)
{
	if (strcmp(text, "on") == 0)
		*working_set = GMM_WORKING_SET_ON;
	else if (strcmp(text, "off") == 0)
		*working_set = GMM_WORKING_SET_OFF;
	else
		return wrong("--working-set: '%s' is neither on nor off.", text);
	return 0;
}

static error_t read_policy(const char *text, const struct gmm_policy_ops **policy)
{
	char names[128] = "";

	*policy = gmm_policy_find(text);
	if (*policy)
		return 0;
	for (unsigned i = 0; gmm_policy_at(i); i++) {
		strncat(names, i ? ", " : "", sizeof(names) - strlen(names) - 1);
		strncat(names, gmm_policy_at(i)->name, sizeof(names) - strlen(names) - 1);
	}
	return wrong("--policy: there is no policy '%s'; there are %s.", text, names);
}

/* HOSTPATH[:/NAME]: the last ":/" divides; without one the name is the path's last part. */
static error_t read_file(char *text, struct run_options *o)
{
	struct file_option *f = &o->files[o->n_files];
	char *name = NULL;
	const char *base;

	if (o->n_files == GMM_MAX_FILES)
		return wrong("--file: at most %d files can be given.", GMM_MAX_FILES);
	for (char *p = strstr(text, ":/"); p; p = strstr(p + 1, ":/"))
		name = p;
	if (name)
		*name++ = '\0';
	base = strrchr(text, '/');
	base = name ? name + 1 : base ? base + 1 : text;
	if (!*text || !*base)
		return wrong("--file: '%s' lacks a name; it is HOSTPATH[:/NAME].", text);
	if (strlen(base) + 2 > sizeof(f->name))
		return wrong("--file: the name '/%s' is longer than %zu bytes.", base,
			     sizeof(f->name) - 2);
	f->host_path = text;
	f->name[0] = '/';
	memcpy(f->name + 1, base, strlen(base) + 1);
	for (unsigned i = 0; i < o->n_files; i++)
		if (strcmp(o->files[i].name, f->name) == 0)
			return wrong("--file: two files would be called %s.", f->name);
	o->n_files++;
	return 0;
}

/* The plain options: a string each. */
static const struct string_option {
	const char *name;
	size_t at; /* in struct run_options */
	int key;
	bool may_be_empty;
} string_options[] = {
	{"swap", offsetof(struct run_options, swap), 's', false},
	{"stats", offsetof(struct run_options, stats), OPT_STATS, false},
	{"control", offsetof(struct run_options, control), OPT_CONTROL, false},
	{"trace", offsetof(struct run_options, trace), OPT_TRACE, false},
	{"kernel", offsetof(struct run_options, kernel), OPT_KERNEL, false},
	{"initrd", offsetof(struct run_options, initrd), OPT_INITRD, false},
	{"cmdline", offsetof(struct run_options, cmdline), OPT_CMDLINE, true},
};

static const struct string_option *find_string_option(int key)
{
	for (size_t i = 0; i < sizeof(string_options) / sizeof(string_options[0]); i++)
		if (string_options[i].key == key)
			return &string_options[i];
	return NULL;
}

static error_t read_string(const struct string_option *option, const char *text,
			   struct run_options *o)
{
	if (!*text && !option->may_be_empty)
		return wrong("--%s: the name is empty: give one, or leave the option out.",
			     option->name);
	memcpy((char *)o + option->at, &text, sizeof(text));
	return 0;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct parse *p = state->input;
	struct run_options *o = p->o;
	const struct string_option *string = find_string_option(key);

	if (string)
		return read_string(string, arg, o);
	switch (key) {
	case 'm':
		return read_size("--memory", arg, &o->memory_bytes);
	case 'l':
		p->has_limit = true;
		return read_size("--limit", arg, &o->limit_bytes);
	case 'c':
		return read_cpus(arg, &o->n_cpus);
	case 'b':
		return read_balloon(arg, o);
	case OPT_SWAP_ENCRYPT:
		o->swap_encrypt = true;
		return 0;
	case OPT_BALLOON_BY:
		return read_balloon_by(arg, &o->balloon_by);
	case OPT_PIN:
		return read_pin(arg, &o->placement);
	case OPT_FAULT_CPU:
		return read_fault_cpu(arg, &o->fault_cpu);
	case 'q':
		o->quiet = true;
		return 0;
	case OPT_SUMMARY:
		o->summary = true;
		return 0;
	case OPT_ENGINE:
		return read_engine(arg, &o->engine);
	case OPT_HUGE:
		return read_huge(arg, &o->huge);
	case OPT_WORKING_SET:
		return read_working_set(arg, &o->working_set);
	case OPT_POLICY:
		return read_policy(arg, &o->policy);
	case OPT_FILE:
		return read_file(arg, o);
	case ARGP_KEY_ARGS:
		o->args = state->argv + state->next;
		o->n_args = (unsigned)(state->argc - state->next);
		return 0;
	case ARGP_KEY_NO_ARGS:
		return wrong("run: which PROGRAM? `guestmm programs' lists the bundled ones; "
			     "`guestmm run --help' says more.");
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int check(const struct parse *p)
{
	const struct run_options *o = p->o;

	if (o->memory_bytes > MAX_MEMORY_BYTES)
		return wrong("--memory: %" PRIu64 " MiB are more than there are addresses for: a "
			     "guest has at most 8T.",
			     o->memory_bytes >> 20);
	if (o->limit_bytes > o->memory_bytes)
		return wrong("--limit: %" PRIu64 " KiB are more than the guest's memory (%" PRIu64
			     " KiB): lower it, or raise --memory.",
			     o->limit_bytes >> 10, o->memory_bytes >> 10);
	if (o->limit_bytes < GMM_POOL_MIN_BYTES)
		return wrong("--%s: %" PRIu64 " KiB are below the floor of %" PRIu64
			     " KiB that a guest needs to get on at all: raise it.",
			     p->has_limit ? "limit" : "memory", o->limit_bytes >> 10,
			     (uint64_t)GMM_POOL_MIN_BYTES >> 10);
	if (o->balloon == BALLOON_SIZE && o->balloon_bytes >= o->memory_bytes)
		return wrong("--balloon: the guest cannot give up all its memory (%" PRIu64
			     " KiB): ask for less.",
			     o->memory_bytes >> 10);
	return 0;
}

int options_parse(int argc, char **argv, struct run_options *out)
{
	const struct argp argp = {options, parse_option, "PROGRAM [ARG...]", doc, NULL, NULL, NULL};
	struct parse p = {.o = out};

	*out = (struct run_options){
		.memory_bytes = UINT64_C(512) << 20,
		.n_cpus = 1,
		.engine = GMM_ENGINE_BEST,
		.working_set = GMM_WORKING_SET_ON,
		.placement = PLACEMENT_AUTO,
		.fault_cpu = PLACEMENT_FAULTS_AS_PIN,
	};
	argp_err_exit_status = CMD_EXIT_USAGE;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &p))
		return CMD_EXIT_USAGE;
	if (!p.has_limit)
		out->limit_bytes = out->memory_bytes;
	return check(&p) ? CMD_EXIT_USAGE : 0;
}
