/* Every program, each in a file of its name. */
#ifndef GUEST_LIST_H
#define GUEST_LIST_H

#include "program.h"

extern const struct program program_hello;
extern const struct program program_touch;
extern const struct program program_zipf;
extern const struct program program_malloc;
extern const struct program program_larson;
extern const struct program program_words;
extern const struct program program_faults;
extern const struct program program_crash;
extern const struct program program_balloon;
extern const struct program program_all;

#endif
