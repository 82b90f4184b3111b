/* Guest-physical memory: where RAM is and where the VMM lays down what it loads. */
#ifndef VMM_BOOT_LAYOUT_H
#define VMM_BOOT_LAYOUT_H

#include <guestmm/abi.h>
#include <stdbool.h>
#include <stdint.h>

#define LAYOUT_MAX_RANGES 2

struct layout {
	uint64_t memory_bytes;
	unsigned n_ranges;
	struct gmm_boot_range ranges[LAYOUT_MAX_RANGES]; /* RAM, ascending */
	uint64_t next_window;				 /* where the next file window goes */
	uint64_t end; /* no guest-physical address from here on */
};

/* Lays RAM around the hole below 4 GiB. Errors: -EINVAL (not a multiple of 4 KiB, or 0),
 * -ERANGE (more than phys_bits address bits can name). */
int layout_init(struct layout *l, uint64_t memory_bytes, unsigned phys_bits);

/* Takes the next window for a file of `bytes`. -ERANGE. */
int layout_add_window(struct layout *l, uint64_t bytes, uint64_t *gpa);

/* Is [gpa, gpa + bytes) RAM throughout? Any arguments. */
bool layout_is_ram(const struct layout *l, uint64_t gpa, uint64_t bytes);

#endif
