/* The bundled guest programs: their names are contract, their code is the guest's. */
#include "vmm/cmd/programs.h"

#include <argp.h>
#include <stdio.h>
#include <string.h>

#include "vmm/cmd/cmd.h"

static const struct {
	const char *name, *what, *options;
} programs[] = {
	{"hello", "says hello and what machine it sees", ""},
	{"touch", "touches memory page by page, and checks what it wrote",
	 "--bytes N --passes P --order seq|rand|stride=N --write 0|1"},
	{"zipf", "touches pages of which few are hot",
	 "--bytes N --ops N --theta T --writes PERCENT "
	 "--seed S"},
	{"malloc", "allocates, reallocates and frees at random, and verifies every byte",
	 "--bytes N --ops N --seed S"},
	{"larson", "allocates in one thread and frees in another, as servers do", "--seconds S"},
	{"words", "counts the words of a text that --file hands in", "--file /NAME"},
	{"faults", "takes page faults of each kind and counts them", "--file /NAME"},
	{"crash", "makes an invalid access, on purpose", ""},
	{"balloon", "gives memory up and takes it back", "--bytes N"},
	{"all", "what the demo runs: malloc and a balloon, every byte verified", "--bytes N"},
};

#define N_PROGRAMS (sizeof(programs) / sizeof(programs[0]))

bool programs_has(const char *name)
{
	for (size_t i = 0; i < N_PROGRAMS; i++)
		if (strcmp(programs[i].name, name) == 0)
			return true;
	return false;
}

int cmd_programs(int argc, char **argv)
{
	static const char doc[] = "Lists the bundled guest programs and their options.\v"
				  "Run one by `guestmm run PROGRAM'. N takes the suffixes K, M, G.";
	const struct argp argp = {NULL, NULL, "", doc, NULL, NULL, NULL};

	argp_err_exit_status = CMD_EXIT_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, NULL))
		return CMD_EXIT_USAGE;
	for (size_t i = 0; i < N_PROGRAMS; i++) {
		printf("%-8s  %s\n", programs[i].name, programs[i].what);
		if (*programs[i].options)
			printf("%-8s      %s\n", "", programs[i].options);
	}
	return 0;
}
