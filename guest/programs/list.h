/* Every program, each in a file of its name. */
#ifndef GUEST_LIST_H
#define GUEST_LIST_H

#include "program.h"

extern const struct program program_hello;
extern const struct program program_touch;
extern const struct program program_malloc;

#endif
