/* Hostcalls: what guestmm's own guest kernel asks for through a port.
 *
 * The guest is not trusted: every number is checked, every address goes through
 * layout_is_ram() or the space's own check, nothing is allocated on its behalf, and the
 * longest call touches as much as the guest has memory. Wrong arguments: -EINVAL; wrong
 * addresses: -EFAULT; unknown calls: -ENOSYS.
 */
#include <errno.h>
#include <guestmm/abi.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/dev/guest.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/say.h"

#define MAX_WRITE_BYTES	     65536
#define MAX_LIST_GFNS	     512
#define MAX_RUNS	     256
#define MAX_COMPLAINTS	     16
#define MAX_SIGNAL	     64
#define SHARED_OFFSET(field) offsetof(struct gmm_shared, field)

struct arguments {
	uint64_t rdi, rsi, rcx;
};

void guest_complain(struct guest *g, const char *format, ...)
{
	const unsigned n = atomic_fetch_add(&g->n_complaints, 1);
	va_list args;

	if (n < MAX_COMPLAINTS) {
		va_start(args, format);
		say_v(format, args);
		va_end(args);
	} else if (n == MAX_COMPLAINTS) {
		say("the guest misbehaves so often that nothing more is said about it.");
	} else {
		atomic_fetch_sub(&g->n_complaints, 1); /* no wrap-around */
	}
}

static int64_t do_exit(struct guest *g, const struct arguments *a)
{
	if (a->rdi > 255 || a->rsi > MAX_SIGNAL)
		return -EINVAL;
	if (a->rsi && guest_is_poisoned(g)) { /* the worker is about to say so */
		vm_end(g->vm, VM_STATUS_BUS);
	} else if (a->rsi) {
		say("the guest's program was ended by signal %d (%s).", (int)a->rsi,
		    strsignal((int)a->rsi));
		vm_end(g->vm, 128 + (int)a->rsi);
	} else {
		vm_end(g->vm, (int)a->rdi);
	}
	return 0;
}

/* Nobody reads the guest's output any more: it ends like a process would. */
static int64_t output_failed(struct guest *g, int rc)
{
	if (rc == -EPIPE) {
		vm_end(g->vm, 128 + 13);
	} else if (rc != -EINTR) {
		say("cannot write the guest's output: %s.", strerror(-rc));
		vm_end(g->vm, VM_STATUS_FAILED);
	}
	return rc;
}

static int64_t do_write(struct guest *g, const struct arguments *a)
{
	char chunk[4096];
	uint64_t done = 0;

	if ((a->rdi != STDOUT_FILENO && a->rdi != STDERR_FILENO) || a->rcx > MAX_WRITE_BYTES)
		return -EINVAL;
	if (!layout_is_ram(&g->layout, a->rsi, a->rcx))
		return -EFAULT;
	while (done < a->rcx) {
		size_t n = a->rcx - done < sizeof(chunk) ? a->rcx - done : sizeof(chunk);
		int rc = gmm_space_read(g->space, (gmm_gpa){a->rsi + done}, chunk, n);

		if (rc)
			return rc;
		rc = console_write(g->console, (int)a->rdi, chunk, n);
		if (rc)
			return output_failed(g, rc);
		done += n;
	}
	return (int64_t)done;
}

static int64_t do_main(struct guest *g)
{
	struct timespec t;
	uint64_t none = 0;

	clock_gettime(CLOCK_MONOTONIC, &t);
	atomic_compare_exchange_strong(&g->main_ns, &none,
				       (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec);
	return 0;
}

#define VECTOR_PAGE_FAULT 14

/* Intel SDM volume 3, table 6-1: the exceptions that a program can cause. */
static const char *const exceptions[] = {
	[1] = "ran into a debug trap",
	[3] = "ran into a breakpoint",
	[4] = "ran into an overflow trap",
	[5] = "broke the bounds of BOUND",
	[6] = "executed an instruction that does not exist here",
	[7] = "used a device that is not there",
	[11] = "used a segment that is not present",
	[12] = "used an address that is not canonical, by its stack",
	[13] = "executed a privileged instruction, or used an address that is not canonical",
	[16] = "caused an x87 floating-point exception",
	[17] = "made an unaligned access where they are forbidden",
	[18] = "met a machine check",
	[19] = "caused an SSE floating-point exception",
};

static int64_t complain_fault(struct guest *g, const struct arguments *a, uint32_t error)
{
	const char *what = error & 0x10 ? "executed" : error & 2 ? "wrote to" : "read from";
	const char *why = error & 1 ? "which forbids that" : "where nothing is mapped";

	atomic_fetch_add(&g->n_invalid, 1);
	guest_complain(g,
		       "invalid access: the guest's program %s address %#" PRIx64
		       ", %s (at rip %#" PRIx64 ", error code %#" PRIx32 ").",
		       what, a->rdi, why, a->rcx, error);
	return 0;
}

static int64_t do_invalid(struct guest *g, const struct arguments *a)
{
	const uint32_t error = (uint32_t)a->rsi, vector = (uint32_t)(a->rsi >> 32);
	const char *what = NULL;

	if (vector == VECTOR_PAGE_FAULT || (vector == 0 && error))
		return complain_fault(g, a, error);
	if (vector == 0)
		what = "divided by zero, or by so little that the quotient does not fit";
	else if (vector < sizeof(exceptions) / sizeof(exceptions[0]))
		what = exceptions[vector];
	if (!what)
		return -EINVAL;
	guest_complain(g, "the guest's program %s (exception %" PRIu32 " at rip %#" PRIx64 ").",
		       what, vector, a->rcx);
	return 0;
}

/* Reads a list of n items that must lie within one page. */
static int read_list(struct guest *g, uint64_t gpa, uint64_t n, uint64_t max, size_t item, void *to)
{
	if (n > max || gpa % 8 || gpa % GMM_PAGE_BYTES + n * item > GMM_PAGE_BYTES)
		return -EINVAL;
	if (!layout_is_ram(&g->layout, gpa, n * item))
		return -EFAULT;
	return gmm_space_read(g->space, (gmm_gpa){gpa}, to, n * item);
}

static void tell_balloon_size(struct guest *g)
{
	const uint64_t pages = gmm_balloon_bytes(g->balloon) / GMM_PAGE_BYTES;

	if (g->shared_gpa)
		gmm_space_write(g->space, (gmm_gpa){g->shared_gpa + SHARED_OFFSET(balloon_pages)},
				&pages, sizeof(pages));
}

static int64_t do_balloon(struct guest *g, const struct arguments *a, bool give)
{
	gmm_gfn gfns[MAX_LIST_GFNS];
	unsigned n;
	int rc = read_list(g, a->rsi, a->rcx, MAX_LIST_GFNS, sizeof(gfns[0]), gfns);

	if (rc)
		return rc;
	n = give ? gmm_balloon_give(g->balloon, gfns, (unsigned)a->rcx)
		 : gmm_balloon_take(g->balloon, gfns, (unsigned)a->rcx);
	tell_balloon_size(g);
	return n;
}

static bool run_is_ram(const struct guest *g, const struct gmm_page_run *run)
{
	const uint64_t max = UINT64_MAX >> GMM_PAGE_SHIFT;

	return run->gfn <= max && run->n_pages <= max &&
	       layout_is_ram(&g->layout, run->gfn << GMM_PAGE_SHIFT,
			     run->n_pages << GMM_PAGE_SHIFT);
}

static int64_t do_report_free(struct guest *g, const struct arguments *a)
{
	struct gmm_page_run runs[MAX_RUNS];
	int rc = read_list(g, a->rsi, a->rcx, MAX_RUNS, sizeof(runs[0]), runs);

	if (rc)
		return rc;
	for (uint64_t i = 0; i < a->rcx; i++)
		if (!run_is_ram(g, &runs[i]))
			return -EFAULT;
	for (uint64_t i = 0; i < a->rcx && !vm_has_ended(g->vm); i++) {
		if (runs[i].n_pages == 0)
			continue;
		rc = gmm_space_discard(g->space, (gmm_gfn){runs[i].gfn}, runs[i].n_pages);
		if (rc)
			return rc;
	}
	return (int64_t)a->rcx;
}

/* From here on nothing asks the guest: a target that was set before is taken now, and the word that
 * had it says what is missing. */
static int64_t do_share(struct guest *g)
{
	const struct gmm_balloon_share share = {
		.size = sizeof(share),
		.block = g->frames.block,
		.block_bytes = g->frames.bytes,
		.n_frames = g->frames.n_frames,
	};

	return share.block ? gmm_balloon_share(g->balloon, &share) : -ENOSYS;
}

static int64_t do_fault_counts(struct guest *g, const struct arguments *a)
{
	atomic_store(&g->n_minor, a->rdi);
	atomic_store(&g->n_major, a->rsi);
	atomic_store(&g->n_invalid, a->rcx);
	return 0;
}

static int64_t dispatch(struct guest *g, struct vcpu *vcpu, uint32_t number,
			const struct arguments *a)
{
	if (number >= GMM_HC_N)
		return -ENOSYS;
	switch ((enum gmm_hostcall)number) {
	case GMM_HC_EXIT:
		return do_exit(g, a);
	case GMM_HC_WRITE:
		return do_write(g, a);
	case GMM_HC_MAIN:
		return do_main(g);
	case GMM_HC_INVALID:
		return do_invalid(g, a);
	case GMM_HC_BALLOON_GIVE:
		return do_balloon(g, a, true);
	case GMM_HC_BALLOON_TAKE:
		return do_balloon(g, a, false);
	case GMM_HC_REPORT_FREE:
		return do_report_free(g, a);
	case GMM_HC_OOM:
		return (int64_t)gmm_balloon_deflate_on_oom(g->balloon, a->rdi);
	case GMM_HC_FAULT_COUNTS:
		return do_fault_counts(g, a);
	case GMM_HC_SHARE:
		return do_share(g);
	case GMM_HC_IDLE:
		return vcpu_idle(vcpu);
	case GMM_HC_N:
		break;
	}
	return -ENOSYS;
}

void hostcall(struct guest *g, struct vcpu *vcpu, uint32_t number)
{
	struct kvm_regs regs;
	struct arguments a;
	int rc = vcpu_get_regs(vcpu, &regs);

	if (!rc) {
		a = (struct arguments){.rdi = regs.rdi, .rsi = regs.rsi, .rcx = regs.rcx};
		regs.rax = (uint64_t)dispatch(g, vcpu, number, &a);
		rc = vcpu_set_regs(vcpu, &regs);
	}
	if (rc) {
		say("cannot read or set a vCPU's registers: %s.", strerror(-rc));
		vm_end(g->vm, VM_STATUS_FAILED);
	}
}

static bool tell_target(struct guest *g, uint64_t pages)
{
	const gmm_gpa at = {g->shared_gpa + SHARED_OFFSET(balloon_target_pages)};

	return g->shared_gpa && gmm_space_write(g->space, at, &pages, sizeof(pages)) == 0;
}

void guest_notify_balloon(void *user, uint64_t target_pages)
{
	struct guest *g = user;

	if (tell_target(g, target_pages))
		vm_raise_vector(g->vm, 0, GMM_VECTOR_DOORBELL);
}

void guest_notify_missing(void *user, uint64_t pages)
{
	tell_target(user, pages);
}
