/* `guestmm top`: a live view of a running guest; one plain snapshot where standard output
 * is no terminal. */
#include <argp.h>
#include <curses.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "top_view.h"
#include "vmm/ctl/client.h"
#include "vmm/ctl/ctl.h"

struct top_args {
	const char *socket;
	double seconds; /* between two samples */
};

struct top_state {
	struct ctl_client *client;
	json_t *now, *before; /* statistics; before may be NULL */
	char error[CTL_ERROR_BYTES];
	char message[CTL_ERROR_BYTES]; /* what a key did, shown on the last line */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct top_args *args = state->input;
	char *end;

	switch (key) {
	case 'd':
		args->seconds = strtod(arg, &end);
		if (end == arg || *end || !(args->seconds >= 0.1 && args->seconds <= 3600))
			argp_error(state, "--delay '%s' is not from 0.1 to 3600 seconds", arg);
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

/* Takes a sample: what was now is before. 0, or a negative errno with a message. */
static int sample(struct top_state *top)
{
	json_t *reply, *stats;
	int err = ctl_client_call(top->client, json_pack("{s:s}", "cmd", "stats"), &reply,
				  top->error, sizeof(top->error));

	if (err)
		return err;
	stats = json_incref(json_object_get(reply, "stats"));
	json_decref(reply);
	json_decref(top->before);
	top->before = top->now;
	top->now = stats;
	return 0;
}

static int snapshot(struct top_state *top)
{
	struct top_screen screen;
	int err = sample(top);

	if (err)
		return err;
	top_render(top->now, NULL, &screen);
	for (unsigned i = 0; i < screen.n_lines; i++)
		printf("%s\n", screen.lines[i]);
	return 0;
}

static void draw(const struct top_state *top)
{
	struct top_screen screen;

	top_render(top->now, top->before, &screen);
	erase();
	for (int i = 0; i < (int)screen.n_lines && i < LINES; i++) {
		if (i == 0 || strncmp(screen.lines[i], "FAULTS", 6) == 0)
			attron(A_BOLD);
		mvaddnstr(i, 0, screen.lines[i], COLS);
		attroff(A_BOLD);
	}
	attron(A_REVERSE);
	mvaddnstr(LINES - 1, 0,
		  top->message[0] ? top->message : " q quit   p pause or resume   space now ",
		  COLS);
	attroff(A_REVERSE);
	refresh();
}

static void pause_or_resume(struct top_state *top)
{
	bool paused = json_is_true(json_object_get(top->now, "paused"));
	const char *cmd = paused ? "resume" : "pause";
	json_t *reply;

	if (ctl_client_call(top->client, json_pack("{s:s}", "cmd", cmd), &reply, top->message,
			    sizeof(top->message)))
		return;
	top->message[0] = '\0';
	json_decref(reply);
}

/* Until q, or until the guest ends. */
static int watch(struct top_state *top, double seconds)
{
	for (;;) {
		int err = sample(top), key;

		if (err)
			return err;
		draw(top);
		timeout((int)(seconds * 1000));
		key = getch();
		if (key == 'q' || key == 'Q')
			return 0;
		if (key == 'p')
			pause_or_resume(top);
	}
}

static int watch_on_terminal(struct top_state *top, double seconds)
{
	int err;

	if (!initscr()) {
		snprintf(top->error, sizeof(top->error),
			 "cannot use this terminal: set TERM, or redirect the output to a file");
		return -ENOTTY;
	}
	cbreak();
	noecho();
	curs_set(0);
	err = watch(top, seconds);
	endwin();
	return err;
}

int cmd_top(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"delay", 'd', "SECONDS", 0, "Between two samples; 1 if not given", 0},
		{0},
	};
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "SOCKET",
		.doc = "Watches a guest that was started with --control SOCKET. Where standard "
		       "output is no terminal, prints what it is now, once; rates are then "
		       "means since its start.",
	};
	static char name[] = "guestmm top";
	struct top_args args = {.seconds = 1};
	struct top_state top = {.client = NULL};
	bool live = isatty(STDOUT_FILENO) && isatty(STDIN_FILENO);
	int err;

	argv[0] = name;
	argp_err_exit_status = CMD_EXIT_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &args);
	err = ctl_client_new(args.socket, &top.client, top.error, sizeof(top.error));
	if (!err)
		err = live ? watch_on_terminal(&top, args.seconds) : snapshot(&top);
	ctl_client_free(top.client);
	json_decref(top.now);
	json_decref(top.before);
	if (!err)
		return fflush(stdout) ? CMD_EXIT_FAILED : 0;
	fprintf(stderr, "guestmm top: %s\n", top.error);
	/* A guest that ends while it is watched is how watching ends. */
	return live && err == -EPIPE ? 0 : CMD_EXIT_FAILED;
}
