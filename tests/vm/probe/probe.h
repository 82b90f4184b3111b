/* What the probe kernel's files offer each other. */
#ifndef TESTS_VM_PROBE_H
#define TESTS_VM_PROBE_H

#include <guestmm/abi.h>
#include <stdbool.h>
#include <stddef.h>

#define EEXIST 17
#define EINVAL 22
#define EFAULT 14
#define ENOSYS 38

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			fail(__LINE__);                                                            \
	} while (0)

extern const struct gmm_boot_info *info;

long hostcall(uint32_t number, uint64_t rdi, uint64_t rsi, uint64_t rcx);
_Noreturn void end(unsigned status);
_Noreturn void fail(unsigned line);

static inline void *direct(uint64_t gpa)
{
	return (void *)(GMM_DIRECT_MAP + gpa);
}

const char *argument(unsigned n);
uint64_t number(const char *text);
void do_hello(void);

/* share.c */
void do_share(void);
void do_share_stay(void);
void do_share_verify(void);
void do_share_free(void);
void do_share_scribble(void);

#endif
