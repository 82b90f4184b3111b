/* What the bundled programs share. Each ends with one line, "NAME: key=value ... ok" or
 * "... FAILED", and exits with 0 or 1; wrong usage is told on standard error, exit 64. */
#ifndef GUEST_PROGRAM_H
#define GUEST_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES  4096ul
#define EXIT_FAILED 1
#define EXIT_USAGE  64
#define WORKERS_MAX 64u

struct program {
	const char *name;
	const char *usage; /* its options */
	int (*main)(int argc, char **argv);
};

extern const struct program *const programs[]; /* ends with NULL */

enum option_kind {
	OPTION_SIZE,	/* uint64_t: bytes, with K, M, G, T */
	OPTION_NUMBER,	/* uint64_t, decimal */
	OPTION_ADDRESS, /* uint64_t, any base that C knows */
	OPTION_SCALED,	/* uint64_t: a decimal fraction in millionths */
	OPTION_TEXT,	/* const char * */
	OPTION_FLAG,	/* bool, no value */
};

struct option {
	const char *name; /* without the dashes; NULL ends the list */
	enum option_kind kind;
	void *value;
};

/* Reads "--name value", "--name=value" and flags; argv[0] is the program's name. What it
 * does not understand ends the program: usage, exit 64. */
void options_read(const struct program *program, int argc, char **argv,
		  const struct option *options);
_Noreturn void usage_die(const struct program *program, const char *what, const char *word);

/* The last word of a program's line. */
static inline const char *verdict(bool ok)
{
	return ok ? "ok" : "FAILED";
}

/* Runs run(args + i * stride) for i < n, each on a thread where the system gives one. Returns
 * when all are done. */
void workers_run(unsigned n, void (*run)(void *), void *args, size_t stride);

/* One per CPU, WORKERS_MAX at most. */
unsigned workers_count(void);

/* Zeroed memory outside malloc; NULL, and a message, where there is none. */
void *pages_map(const char *who, uint64_t bytes);

#endif
