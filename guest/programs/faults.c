/* faults: causes one page fault of each kind, checks what the program sees of it, and
 * prints what the kernel counted meanwhile.
 *
 * Pages that are to fault alone lie between pages without access, so that no kernel maps
 * them along with a neighbour. A Linux kernel counts no invalid accesses: there the
 * handler's calls are printed; and what is in its page cache is no major fault to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <guestmm/abi.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <system.h>
#include <unistd.h>

#include "list.h"

#define SPACING (4 * PAGE_BYTES)
#define VALUE	0x5eedul

enum place { PLACE_READ, PLACE_WRITE, PLACE_COW, PLACE_INVALID, N_PLACES };

/* Pages of the program's file that nothing else touches. */
static const volatile uint64_t image[3 * 512] __attribute__((aligned(4096))) = {[512] = VALUE};

static volatile struct {
	uint64_t n;
	void *address;
	int code;
} seen;

struct counts {
	struct gmm_fault_counts kernel;
	bool by_guest_kernel;
};

static void on_segv(int number, siginfo_t *info, void *context)
{
	uintptr_t page = (uintptr_t)info->si_addr & ~(PAGE_BYTES - 1);

	(void)number;
	(void)context;
	seen.n++;
	seen.address = info->si_addr;
	seen.code = info->si_code;
	/* Where this fails, the access would fault for ever. */
	if (seen.n > 1 || mprotect((void *)page, PAGE_BYTES, PROT_READ | PROT_WRITE) != 0)
		_exit(EXIT_FAILED);
}

static void count(struct counts *counts)
{
	long result = syscall3(GMM_SYS_FAULTS, (long)&counts->kernel, 0, 0);

	counts->by_guest_kernel = result == 0;
	if (result == 0)
		return;
	counts->kernel.invalid = seen.n;
	system_faults(&counts->kernel.minor, &counts->kernel.major);
}

static bool check(bool ok, const char *what)
{
	if (!ok)
		eprintf("faults: %s\n", what);
	return ok;
}

static bool cause_minor(char *area)
{
	volatile uint64_t *read = (void *)(area + PLACE_READ * SPACING);
	volatile uint64_t *write = (void *)(area + PLACE_WRITE * SPACING);
	volatile uint64_t *cow = (void *)(area + PLACE_COW * SPACING);
	bool ok = check(*read == 0, "a fresh page does not read as zero");

	*write = VALUE;
	ok &= check(*write == VALUE && write[511] == 0, "a first write went astray");
	ok &= check(cow[1] == 0, "a fresh page does not read as zero");
	cow[1] = VALUE;
	ok &= check(cow[1] == VALUE && cow[0] == 0, "a copy on write went astray");
	ok &= check(*read == 0, "a write reached the page that all zeros share");
	return ok;
}

static bool cause_invalid(char *area)
{
	volatile uint64_t *word = (void *)(area + PLACE_INVALID * SPACING + 64);

	bool ok;

	*word = VALUE;
	ok = check(seen.n == 1, "the handler did not run once");
	ok &= check(seen.address == (void *)(uintptr_t)word, "the handler got another address");
	ok &= check(seen.code == SEGV_ACCERR, "the handler got another cause");
	ok &= check(*word == VALUE, "the write did not happen after the handler");
	return ok;
}

/* A page of a file where one is given, else one of the program's own. */
static bool cause_major(const char *file)
{
	const volatile unsigned char *page;
	unsigned char byte = 0;
	int fd;
	bool ok;

	if (!file)
		return check(image[512] == VALUE, "a page of the program has other content");
	fd = open(file, O_RDONLY);
	page = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
	ok = fd >= 0 && page != MAP_FAILED && read(fd, &byte, 1) == 1 && page[0] == byte;
	if (fd >= 0)
		close(fd);
	return check(ok, "the file cannot be mapped, or reads otherwise than mapped");
}

/* Lays out single pages with room between them; NULL where it cannot. */
static char *area_new(void)
{
	char *area = mmap(NULL, N_PLACES * SPACING, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		return NULL;
	for (unsigned i = 0; i < PLACE_INVALID; i++)
		if (mprotect(area + i * SPACING, PAGE_BYTES, PROT_READ | PROT_WRITE) != 0)
			return NULL;
	return area;
}

static int faults_main(int argc, char **argv)
{
	const char *file = NULL;
	const struct option options[] = {{"file", OPTION_TEXT, &file}, {NULL, OPTION_FLAG, NULL}};
	struct counts before, after;
	char *area;
	bool ok;

	options_read(&program_faults, argc, argv, options);
	area = area_new();
	ok = check(area && signal_handle(SIGSEGV, on_segv) == 0,
		   "the kernel lacks what this needs");
	count(&before);
	count(&before); /* the first one may have faulted itself */
	ok = ok && cause_minor(area) && cause_major(file) && cause_invalid(area);
	count(&after);
	after.kernel.minor -= before.kernel.minor;
	after.kernel.major -= before.kernel.major;
	after.kernel.invalid -= before.kernel.invalid;
	ok &= check(after.kernel.minor >= 4, "fewer minor faults were counted than caused");
	ok &= check(after.kernel.invalid == 1, "not one invalid fault was counted");
	if (after.by_guest_kernel)
		ok &= check(after.kernel.major >= 1, "no major fault was counted");
	printf("faults: minor=%lu major=%lu invalid=%lu %s\n", after.kernel.minor,
	       after.kernel.major, after.kernel.invalid, verdict(ok));
	return ok ? 0 : EXIT_FAILED;
}

const struct program program_faults = {"faults", "[--file /NAME]", faults_main};
