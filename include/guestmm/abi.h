/* What a guest and the VMM agree on. Freestanding: the guest kernel compiles it
 * too. Every layout has a _Static_assert; every number from the guest is checked
 * by the VMM.
 *
 * How a guest kernel is entered under guestmm (every vCPU, at the ELF entry):
 *   64-bit mode, CPL 0, interrupts off, paging on (CR3 = the VMM's page tables),
 *   CR4.OSFXSR, OSXMMEXCPT set, EFER.NXE and EFER.SCE set,
 *   RDI = direct-map address of struct gmm_boot_info, RSI = this vCPU's index,
 *   RSP = top of this vCPU's stack, DF clear.
 * The VMM's page tables map
 *   the kernel's ELF segments at their p_vaddr, 4 KiB pages, W^X,
 *   all RAM at GMM_DIRECT_MAP + GPA, no-execute, read-write (1 GiB and 2 MiB pages;
 *     4 KiB where the kernel's image lies: its read-only pages are read-only here too),
 *   file windows at GMM_DIRECT_MAP + GPA, read-only, no-execute,
 *   the block of gmm_boot_info.frames_gpa, if there is one, at GMM_DIRECT_MAP + GPA, no-execute,
 *   the stack of vCPU i at [GMM_STACKS + i * GMM_STACK_STRIDE + 4 KiB,
 *     GMM_STACKS + (i + 1) * GMM_STACK_STRIDE), the page below it is a guard.
 * All RAM that the VMM did not write reads as zero.
 *
 * The same ELF file carries a PVH note (XEN_ELFNOTE_PHYS32_ENTRY): a loader that
 * knows nothing of guestmm, QEMU for one, enters it there in 32-bit mode with EBX =
 * struct hvm_start_info; the kernel then builds the same tables itself and there
 * are no hostcalls (gmm_boot_info.flags lacks GMM_BOOT_HOSTCALLS).
 */
#ifndef GUESTMM_ABI_H
#define GUESTMM_ABI_H

#include <stdint.h>

#define GMM_BOOT_MAGIC UINT64_C(0x31746f6f626d6d67) /* "gmmboot1" */
#define GMM_DIRECT_MAP UINT64_C(0xffff800000000000)
#define GMM_STACKS UINT64_C(0xfffff00000000000)
#define GMM_STACK_STRIDE UINT64_C(0x10000)

/* RAM leaves this hole free for devices, as on a PC. */
#define GMM_MMIO_HOLE_START UINT64_C(0xc0000000)  /* 3 GiB */
#define GMM_MMIO_HOLE_END UINT64_C(0x100000000) /* 4 GiB */

#define GMM_MAX_CPUS 64
#define GMM_MAX_RANGES 8
#define GMM_MAX_FILES 8
#define GMM_FILE_NAME_BYTES 64

/* Where the bundled kernel lets programs be: [START, END), position-independent ones from BASE on.
 * The VMM refuses files that want to be elsewhere before the guest starts. */
#define GMM_PROGRAM_START UINT64_C(0x10000)
#define GMM_PROGRAM_END UINT64_C(0x7ffffffff000)
#define GMM_PROGRAM_BASE UINT64_C(0x555555554000)

#define GMM_BOOT_HOSTCALLS (1u << 0) /* the hostcall port is there */
/* The VMM has laid a gmm_frames block (<guestmm/frames.h>) at frames_gpa, outside RAM, in which frame i
 * is guest frame i; what is no RAM, the first page and `used` are claimed in it, all else is free. A
 * kernel that takes its frames from it says so by GMM_HC_SHARE and does without GMM_VECTOR_DOORBELL
 * from then on: the VMM takes what is free by itself. A frame that the kernel puts back must have no
 * content that it still needs. One that does not use it may ignore it. */
#define GMM_BOOT_FRAMES (1u << 1)

/* A vCPU that executes `hlt` keeps its processor: a kernel that has nothing to do says so by
 * GMM_HC_IDLE instead. Only kernels whose file says GMM_KERNEL_IDLES see it. */
#define GMM_BOOT_IDLE (1u << 2)

/* What a kernel's file says of the kernel, in an ELF note of a PT_NOTE segment: this name (8 bytes
 * with its NUL) and type, and a uint32_t of flags; those that the VMM does not know are ignored. */
#define GMM_NOTE_NAME "guestmm"
#define GMM_NOTE_KERNEL 1u
#define GMM_KERNEL_IDLES (1u << 0) /* it heeds GMM_BOOT_IDLE */

struct gmm_boot_range {
	uint64_t start, end; /* guest-physical, [start, end), 4 KiB aligned */
};

/* A host file the guest may read: a window of guest-physical addresses above RAM,
 * filled in lazily by the VMM; bytes past file_bytes in its last page are zero. */
struct gmm_boot_file {
	uint64_t gpa;
	uint64_t bytes;
	char name[GMM_FILE_NAME_BYTES]; /* begins with '/', NUL-terminated */
};

struct gmm_boot_info {
	uint64_t magic;
	uint32_t bytes; /* sizeof(struct gmm_boot_info); it grows at its end only */
	uint32_t flags;
	uint32_t n_cpus;
	uint32_t n_ranges;
	uint32_t n_files;
	uint32_t argc;
	uint64_t args_gpa;   /* argc NUL-terminated strings, one after the other */
	uint64_t args_bytes;
	uint64_t program_gpa; /* 4 KiB-aligned image of a static ELF program; */
	uint64_t program_bytes; /* 0: a bundled program, named by args[0] */
	uint64_t tsc_khz;
	uint64_t shared_gpa;  /* struct gmm_shared, one page */
	uint64_t page_tables; /* CR3 at entry */
	struct gmm_boot_range kernel; /* the kernel's image as loaded */
	struct gmm_boot_range used;   /* all that the VMM laid down: image, tables, stacks, args, program */
	struct gmm_boot_range ranges[GMM_MAX_RANGES]; /* RAM, ascending */
	struct gmm_boot_file files[GMM_MAX_FILES];
	uint64_t random_seed[2];
	uint64_t frames_gpa; /* GMM_BOOT_FRAMES */
	uint64_t frames_bytes;
};

/* A page that the VMM writes and the guest reads at any time. */
struct gmm_shared {
	/* Pages that the guest is asked to give up in all. When it changes, the
	 * VMM raises vector GMM_VECTOR_DOORBELL on vCPU 0.
	 * After GMM_HC_SHARE: pages that the VMM would take, if they were free; no vector is raised.
	 * A kernel that has frames to free and waits for more of them frees those it has. */
	uint64_t balloon_target_pages;
	/* What the guest has given up, as the VMM counts it. */
	uint64_t balloon_pages;
	uint64_t reserved[510];
};

/* Interrupt vectors (LAPIC in x2APIC mode; APIC id = vCPU index). */
#define GMM_VECTOR_DOORBELL 0x40 /* VMM -> guest: look at struct gmm_shared */

/* Hostcalls: `out dx=GMM_HOSTCALL_PORT, eax=number`, arguments in RDI, RSI, RCX;
 * the result, a count or a negative Linux errno, comes back in RAX. The VMM
 * trusts no argument. Addresses are guest-physical and must lie in RAM. */
#define GMM_HOSTCALL_PORT 0x0600

enum gmm_hostcall {
	/* End: RDI = exit status 0..255, RSI = 0 or the signal that ended the
	 * program. Does not return. */
	GMM_HC_EXIT = 0,
	/* Console: RDI = 1 (output) or 2 (error), RSI = address, RCX = bytes (at most
	 * 64 KiB). Returns bytes. */
	GMM_HC_WRITE = 1,
	/* The program's first instruction of main is next. */
	GMM_HC_MAIN = 2,
	/* An exception ended the program: RDI = address, RSI = error code in bits 0-31, the
	 * vector in bits 32-39 (0x0e, or 0 for it where there is an error code, is a page fault),
	 * RCX = RIP. Told to the user; a page fault counts as an invalid one. */
	GMM_HC_INVALID = 3,
	/* Balloon, page list: RSI = address of RCX 64-bit GFNs (at most 512) in one
	 * page. GIVE: the guest gives them up: their content is gone. Returns
	 * how many were taken. TAKE: the guest uses them again from now on. */
	GMM_HC_BALLOON_GIVE = 4,
	GMM_HC_BALLOON_TAKE = 5,
	/* Free page reporting: RSI = address of RCX struct gmm_page_run (at most 256)
	 * in one page: free now, their content is gone, they read as zero when touched,
	 * and may be used at once. */
	GMM_HC_REPORT_FREE = 6,
	/* The guest is out of memory: lower the balloon target if you can. RDI = pages
	 * wanted. Returns pages by which the target was lowered (see gmm_shared); after
	 * GMM_HC_SHARE, how many are free in the block again. */
	GMM_HC_OOM = 7,
	/* Fault counts for the VMM's statistics: RDI minor, RSI major, RCX invalid. */
	GMM_HC_FAULT_COUNTS = 8,
	/* All frames come from the block at frames_gpa: the VMM may take free ones from now on. Once.
	 * Returns 0; -ENOSYS: there is no block; -EEXIST: said before; -ENOMEM: the block is the
	 * guest's alone, the balloon works by page list. */
	GMM_HC_SHARE = 9,
	/* Sleep as by `hlt`: returns behind an interrupt, at once where one is pending. Interrupts are to
	 * be on, from the instruction before (`sti`) so that none is missed. Returns 0; -ENOSYS:
	 * GMM_BOOT_IDLE is not set, `hlt` does it. */
	GMM_HC_IDLE = 10,
	GMM_HC_N
};

struct gmm_page_run {
	uint64_t gfn;
	uint64_t n_pages;
};

/* System calls of the guest kernel beside Linux's numbers (a Linux host answers -ENOSYS).
 * Registers as for any Linux x86-64 system call. */
enum gmm_guest_syscall {
	/* The first instruction of main is next: told on to the VMM. Returns 0. */
	GMM_SYS_MAIN = 0x1000,
	/* RDI = struct gmm_fault_counts to fill in. Returns 0 or -EFAULT. */
	GMM_SYS_FAULTS = 0x1001,
	/* RDI = pages to give up in all, as if the VMM had asked for them; 0 takes all
	 * back. Holds until the VMM changes its own target. Returns the bytes that are
	 * given up now (fewer where memory is in use), or -ENODEV without a VMM. */
	GMM_SYS_BALLOON = 0x1002,
};

/* Page faults of the guest's programs since boot: minor ones were served from
 * memory, major ones had to bring in a page of a file or of the program's image,
 * invalid ones hit nothing and were told to the program. */
struct gmm_fault_counts {
	uint64_t minor;
	uint64_t major;
	uint64_t invalid;
};

/* Port that ends a guest under QEMU (`-device isa-debug-exit,iobase=0x501`): writing v
 * makes QEMU exit with status (v << 1) | 1. */
#define GMM_QEMU_EXIT_PORT 0x0501
#define GMM_SERIAL_PORT 0x03f8

#if defined(__cplusplus)
#define GMM_ABI_ASSERT(e, why) static_assert(e, why)
#else
#define GMM_ABI_ASSERT(e, why) _Static_assert(e, why)
#endif
GMM_ABI_ASSERT(sizeof(struct gmm_boot_range) == 16, "layout shared with guests");
GMM_ABI_ASSERT(sizeof(struct gmm_boot_file) == 80, "layout shared with guests");
GMM_ABI_ASSERT(sizeof(struct gmm_boot_info) == 920, "layout shared with guests");
GMM_ABI_ASSERT(sizeof(struct gmm_shared) == 4096, "layout shared with guests");
GMM_ABI_ASSERT(sizeof(struct gmm_page_run) == 16, "layout shared with guests");
GMM_ABI_ASSERT(sizeof(struct gmm_fault_counts) == 24, "layout shared with programs");

#endif
