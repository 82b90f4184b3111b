/* crash: an access that no program may make. The kernel ends it as by SIGSEGV. */
#include <stdio.h>

#include "list.h"

static int crash_main(int argc, char **argv)
{
	uint64_t address = 0;
	bool write = false;
	const struct option options[] = {{"address", OPTION_ADDRESS, &address},
					 {"write", OPTION_FLAG, &write},
					 {NULL, OPTION_FLAG, NULL}};
	volatile unsigned char *target;

	options_read(&program_crash, argc, argv, options);
	printf("crash: %s address 0x%lx\n", write ? "writing" : "reading", address);
	target = (volatile unsigned char *)(uintptr_t)address;
	__asm__("" : "+r"(target)); /* the compiler must not know that this is NULL */
	if (write)
		*target = 1;
	else
		(void)*target;
	printf("crash: the access went through %s\n", verdict(false));
	return EXIT_FAILED;
}

const struct program program_crash = {"crash", "[--address A] [--write]", crash_main};
