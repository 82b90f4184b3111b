/* All programs in one file: argv[0]'s last part names the one to run, else argv[1]. */
#include <stdio.h>
#include <string.h>

#include "program.h"

static const struct program *find(const char *name)
{
	const char *slash = strrchr(name, '/');

	for (size_t i = 0; programs[i]; i++)
		if (strcmp(programs[i]->name, slash ? slash + 1 : name) == 0)
			return programs[i];
	return NULL;
}

int main(int argc, char **argv)
{
	const struct program *program = argc > 0 ? find(argv[0]) : NULL;

	if (!program && argc > 1) {
		argc--;
		argv++;
		program = find(argv[0]);
	}
	if (program)
		return program->main(argc, argv);
	if (argc > 0)
		eprintf("%s: no such program. These there are:\n", argv[0]);
	for (size_t i = 0; programs[i]; i++)
		eprintf("  %s%s%s\n", programs[i]->name, *programs[i]->usage ? " " : "",
			programs[i]->usage);
	return EXIT_USAGE;
}
