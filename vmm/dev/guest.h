/* What the devices of one guest share. */
#ifndef VMM_DEV_GUEST_H
#define VMM_DEV_GUEST_H

#include <guestmm/guestmm.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "vmm/boot/frames.h"
#include "vmm/boot/layout.h"
#include "vmm/dev/console.h"
#include "vmm/dev/serial.h"
#include "vmm/kvm/vm.h"

struct guest {
	struct vm *vm;
	struct gmm_space *space;
	struct gmm_balloon *balloon;
	struct console *console;
	struct serial *serial;
	struct layout layout;
	bool has_hostcalls; /* the guest is ours; a foreign kernel probes ports and memory freely */
	uint64_t shared_gpa;	   /* struct gmm_shared, 0: there is none */
	struct boot_frames frames; /* what it may take its page frames from */

	_Atomic uint64_t n_minor, n_major, n_invalid; /* as the guest counts its faults */
	_Atomic uint64_t main_ns; /* CLOCK_MONOTONIC when main began; 0: not yet */
	atomic_uint n_complaints; /* a guest cannot flood standard error */
};

/* The bus: struct vm_handlers for a struct guest. */
extern const struct vm_handlers guest_handlers;

/* A hostcall by `vcpu`, its number as the guest gave it. */
void hostcall(struct guest *guest, struct vcpu *vcpu, uint32_t number);

/* Tells the guest of a new balloon target: struct gmm_balloon_config's notify. */
void guest_notify_balloon(void *guest, uint64_t target_pages);

/* Tells it what the VMM misses: the same's missing. */
void guest_notify_missing(void *guest, uint64_t pages);

/* Has the guest touched memory whose content is lost? */
bool guest_is_poisoned(void *guest);

/* say(), but only so often for one guest. */
void guest_complain(struct guest *guest, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
