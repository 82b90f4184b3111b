/* `guestmm ctl`: one request to a running guestmm. */
#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "size.h"
#include "vmm/ctl/client.h"
#include "vmm/ctl/ctl.h"

#define MAX_ARGS 3

struct ctl_args {
	const char *args[MAX_ARGS]; /* SOCKET COMMAND [SIZE] */
	unsigned n;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct ctl_args *args = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (args->n == 0) /* what follows SOCKET is no option, -1 for one */
			state->quoted = state->next;
		if (args->n == MAX_ARGS)
			argp_error(state, "too many arguments: '%s'", arg);
		args->args[args->n++] = arg;
		return 0;
	case ARGP_KEY_END:
		if (args->n < 2)
			argp_error(state,
				   args->n ? "no command: stats, balloon, limit, pause, resume "
					     "or quit"
					   : "no socket");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int usage(const char *text)
{
	fprintf(stderr, "guestmm ctl: %s\nTry `guestmm ctl --help'.\n", text);
	return CMD_EXIT_USAGE;
}

static int fail(const char *text)
{
	fprintf(stderr, "guestmm ctl: %s\n", text);
	return CMD_EXIT_FAILED;
}

/* Makes the request that the arguments ask for. NULL after it has said why not. */
static json_t *make_request(const struct ctl_args *args)
{
	static const char *const plain[] = {"stats", "pause", "resume", "quit"};
	const char *command = args->args[1], *size = args->args[2];
	char error[SIZE_ERROR_BYTES], text[SIZE_ERROR_BYTES + 32];
	int is_balloon = !strcmp(command, "balloon"), err;
	uint64_t bytes;

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		if (strcmp(command, plain[i]))
			continue;
		if (!size)
			return json_pack("{s:s}", "cmd", command);
		usage("this command takes no argument");
		return NULL;
	}
	if (!is_balloon && strcmp(command, "limit")) {
		usage("unknown command: stats, balloon SIZE, limit SIZE, pause, resume and quit "
		      "are "
		      "known");
		return NULL;
	}
	if (!size) {
		usage("balloon and limit need a SIZE, 128M for one");
		return NULL;
	}
	err = is_balloon ? size_parse_or_zero(size, &bytes, error, sizeof(error))
			 : size_parse(size, &bytes, error, sizeof(error));
	if (err || bytes > INT64_MAX) {
		snprintf(text, sizeof(text), "size %s", err ? error : "is too large");
		usage(text);
		return NULL;
	}
	return json_pack("{s:s, s:I}", "cmd", command, "bytes", (json_int_t)bytes);
}

/* Statistics are the one reply with something to show: pretty for people, a line for programs. */
static int show(const json_t *reply)
{
	const json_t *stats = json_object_get(reply, "stats");
	size_t flags = isatty(STDOUT_FILENO) ? JSON_INDENT(2) : JSON_COMPACT;

	if (stats && (json_dumpf(stats, stdout, flags) || putchar('\n') == EOF || fflush(stdout)))
		return fail("cannot write to standard output");
	return 0;
}

int cmd_ctl(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = parse,
		.args_doc = "SOCKET stats\nSOCKET balloon SIZE\nSOCKET limit SIZE\n"
			    "SOCKET pause|resume|quit",
		.doc = "Asks a guestmm that was started with --control SOCKET, or steers it."
		       "\vSIZE is a number with an optional K, M, G or T.",
	};
	static char name[] = "guestmm ctl";
	struct ctl_args args = {.n = 0};
	struct ctl_client *client;
	json_t *request, *reply;
	char error[CTL_ERROR_BYTES];
	int status;

	argv[0] = name;
	argp_err_exit_status = CMD_EXIT_USAGE;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &args);
	request = make_request(&args);
	if (!request)
		return CMD_EXIT_USAGE;
	if (ctl_client_new(args.args[0], &client, error, sizeof(error))) {
		json_decref(request);
		return fail(error);
	}
	if (ctl_client_call(client, request, &reply, error, sizeof(error))) {
		status = fail(error);
	} else {
		status = show(reply);
		json_decref(reply);
	}
	ctl_client_free(client);
	return status;
}
