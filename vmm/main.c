/* guestmm: finds the subcommand and runs it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <guestmm/guestmm.h>

#include "vmm/cmd/cmd.h"
#include "vmm/say.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
	{"run", cmd_run, "run a program in a virtual machine, within a memory limit"},
	{"programs", cmd_programs, "list the bundled guest programs"},
	{"top", cmd_top, "watch a running guest"},
	{"map", cmd_map, "draw the states of a running guest's memory"},
	{"ctl", cmd_ctl, "steer a running guest"},
	{"replay", cmd_replay, "replay a trace against every policy, and the optimum"},
	{"check-host", cmd_check_host, "say what this host offers, and what is missing"},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_usage(FILE *to)
{
	fputs("Usage: guestmm COMMAND [OPTION...] [ARG...]\n\n", to);
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(to, "  %-12s %s\n", commands[i].name, commands[i].what);
	fputs("\n`guestmm COMMAND --help' says more.\n", to);
}

/* A descriptor below 3 that is closed would be given to the next file that is opened, and then
 * taken for standard input or output. */
static int open_standard_streams(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd)
			return -1;
	return 0;
}

int main(int argc, char **argv)
{
	if (open_standard_streams())
		return CMD_EXIT_FAILED;
	if (argc < 2) {
		print_usage(stderr);
		return CMD_EXIT_USAGE;
	}
	for (size_t i = 0; i < N_COMMANDS; i++) {
		char name[64];

		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		snprintf(name, sizeof(name), "guestmm %s", commands[i].name);
		argv[1] = name; /* argp says it in its messages */
		return commands[i].run(argc - 1, argv + 1);
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		printf("guestmm %s\n", gmm_version());
		return 0;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		print_usage(stdout);
		return 0;
	}
	say("there is no command '%s'; `guestmm --help' lists them.", argv[1]);
	return CMD_EXIT_USAGE;
}
