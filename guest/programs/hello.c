/* hello: that a program starts, prints and ends. */
#include <stdio.h>
#include <system.h>

#include "list.h"

static int hello_main(int argc, char **argv)
{
	const struct option options[] = {{NULL, OPTION_FLAG, NULL}};
	uint64_t total = 0, free = 0;

	options_read(&program_hello, argc, argv, options);
	system_memory(&total, &free);
	printf("hello: cpus=%u memory_bytes=%lu ok\n", system_n_cpus(), total);
	return 0;
}

const struct program program_hello = {"hello", "", hello_main};
