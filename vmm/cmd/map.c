/* `guestmm map`: the states of a running guest's pages, as text or as a picture. */
#include "map.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "vmm/ctl/client.h"
#include "vmm/ctl/ctl.h"

#define TEXT_CHUNKS 1024 /* 16 rows of 64 */
#define SVG_CHUNKS  4096

struct map_args {
	const char *socket, *svg;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct map_args *args = state->input;

	switch (key) {
	case 's':
		args->svg = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (args->socket)
			argp_error(state, "too many arguments: '%s'", arg);
		args->socket = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "no socket");
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "guestmm map: %s%s%s\n", what, why ? ": " : "", why ? why : "");
	return CMD_EXIT_FAILED;
}

/* Asks for the map. Returns the reply, NULL after it has said why not. */
static json_t *fetch(const char *socket, int chunks)
{
	struct ctl_client *client;
	char error[CTL_ERROR_BYTES];
	json_t *reply = NULL;

	if (ctl_client_new(socket, &client, error, sizeof(error))) {
		fail(error, NULL);
		return NULL;
	}
	if (ctl_client_call(client, json_pack("{s:s, s:i}", "cmd", "map", "chunks", chunks), &reply,
			    error, sizeof(error)))
		fail(error, NULL);
	ctl_client_free(client);
	return reply;
}

static int write_svg(const struct map_view *view, const char *path)
{
	bool is_stdout = !strcmp(path, "-");
	FILE *to = is_stdout ? stdout : fopen(path, "we");
	bool bad;

	if (!to)
		return fail(path, strerror(errno));
	map_view_svg(view, to);
	bad = fflush(to) || ferror(to);
	if (!is_stdout)
		bad = fclose(to) || bad;
	return bad ? fail(path, "cannot write all of it: is the disk full?") : 0;
}

static int write_text(const struct map_view *view)
{
	bool colours = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");

	map_view_text(view, stdout, colours);
	return fflush(stdout) ? fail("standard output", strerror(errno)) : 0;
}

int cmd_map(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"svg", 's', "FILE", 0, "Draw a picture into FILE ('-': standard output)", 0},
		{0},
	};
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "SOCKET",
		.doc = "Shows in which state the pages of a guest are that was started with "
		       "--control SOCKET.",
	};
	static char name[] = "guestmm map";
	struct map_args args = {NULL, NULL};
	struct map_view *view;
	json_t *reply;
	int status;

	argv[0] = name;
	argp_err_exit_status = CMD_EXIT_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &args);
	reply = fetch(args.socket, args.svg ? SVG_CHUNKS : TEXT_CHUNKS);
	if (!reply)
		return CMD_EXIT_FAILED;
	status = map_view_new(json_object_get(reply, "map"), &view);
	if (status) {
		json_decref(reply);
		return fail("the reply is no map of this version's", strerror(-status));
	}
	status = args.svg ? write_svg(view, args.svg) : write_text(view);
	map_view_free(view);
	json_decref(reply);
	return status;
}
