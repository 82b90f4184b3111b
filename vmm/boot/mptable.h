/* The MultiProcessor table: how a kernel without ACPI finds its processors and interrupts. */
#ifndef VMM_BOOT_MPTABLE_H
#define VMM_BOOT_MPTABLE_H

#include <stddef.h>
#include <stdint.h>

#define MPTABLE_MAX_BYTES 1024 /* what fits in the last KiB of low memory */
#define MPTABLE_MAX_CPUS  32

/* Fills in the table as it will lie at gpa; returns its length. More processors than the table
 * holds are left out. */
size_t mptable_make(uint64_t gpa, unsigned n_cpus, uint8_t to[MPTABLE_MAX_BYTES]);

#endif
