/* The list of programs. */
#include "list.h"

const struct program *const programs[] = {
	&program_hello, &program_touch,	 &program_zipf,	 &program_malloc,  &program_larson,
	&program_words, &program_faults, &program_crash, &program_balloon, &program_all,
	NULL,
};
