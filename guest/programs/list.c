/* The list of programs. */
#include "list.h"

const struct program *const programs[] = {
	&program_hello,
	&program_touch,
	&program_malloc,
	NULL,
};
