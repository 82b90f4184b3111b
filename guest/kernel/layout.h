/* Numbers that C and assembler share. */
#ifndef GUEST_KERNEL_LAYOUT_H
#define GUEST_KERNEL_LAYOUT_H

#define KERNEL_OFFSET 0xffffffff80000000

/* Selectors; the user's are Linux's. */
#define KERNEL_CS 0x10
#define KERNEL_SS 0x18
#define USER_SS	  0x2b
#define USER_CS	  0x33
#define TSS_FIRST 0x40
#define GDT_FIXED 8

#define USER_FLAGS 0x240cd5 /* what a program may set: arithmetic, DF, AC, ID */

#define N_CPUS	     64			/* GMM_MAX_CPUS */
#define STACKS	     0xfffff00000000000 /* GMM_STACKS */
#define STACK_STRIDE 0x10000		/* GMM_STACK_STRIDE */
/* Kept free at the top of each stack: the last 8 bytes point to the struct cpu. */
#define STACK_TOP_ROOM 16

#define VECTOR_PAGE_FAULT 14
#define VECTOR_DOORBELL	  0x40 /* GMM_VECTOR_DOORBELL */
#define VECTOR_WAKE	  0x41 /* look around: flush the TLB, leave the idle loop */
#define VECTOR_SPURIOUS	  0xff

/* A system call that needs all registers returns this to be called again with them. */
#define SYS_WANTS_ALL_REGS -4096

#define N_SYS_LINUX   335
#define SYS_OWN_FIRST 0x1000
#define N_SYS_OWN     3

#endif
