/* Signals: a handler for an invalid access is all that the programs need. */
#ifndef GUEST_SIGNAL_H
#define GUEST_SIGNAL_H

#include <stdint.h>

#define SIGABRT	    6
#define SIGBUS	    7
#define SIGSEGV	    11
#define SA_SIGINFO  4
#define SEGV_MAPERR 1
#define SEGV_ACCERR 2

typedef struct {
	int si_signo;
	int si_errno;
	int si_code;
	int pad;
	void *si_addr; /* of SIGSEGV and SIGBUS */
	uint64_t rest[13];
} siginfo_t;

_Static_assert(sizeof(siginfo_t) == 128, "layout of the kernel");

/* Installs a handler with SA_SIGINFO; 0 as the handler: the default again.
 * 0, or -1 and errno. */
int signal_handle(int number, void (*handler)(int, siginfo_t *, void *));

#endif
