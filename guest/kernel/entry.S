/* The ways into the kernel and out of it: 64-bit entry, PVH entry, traps, system calls.
 *
 * An instruction here may cost a microsecond, so the two hot ways in, page faults and
 * system calls, save only what C code may overwrite (the upper half of struct regs,
 * cpu.h); whoever needs the rest gets it pushed below (slow path). No swapgs: the
 * kernel finds its CPU by its stack, and each CPU has a system call entry of its own.
 * Programs come back by iretq only. Interrupts are off in the kernel but for cpu_wait().
 */
#include "layout.h"

	.macro PUSH_UPPER
	push %rax
	push %rcx
	push %rdx
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	.endm

	.macro POP_UPPER
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rdx
	pop %rcx
	pop %rax
	.endm

	.macro PUSH_LOWER
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	.endm

	.macro POP_LOWER
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	.endm

/* ---- PVH: 32-bit, paging off, EBX = struct hvm_start_info ---------------------- */
	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 8, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad pvh_start - KERNEL_OFFSET

	/* This kernel sleeps by GMM_HC_IDLE where the VMM wants it (abi.h). */
	.balign 4
	.long 8, 4, 1			/* GMM_NOTE_KERNEL */
	.asciz "guestmm"		/* GMM_NOTE_NAME */
	.long 1				/* GMM_KERNEL_IDLES */

	.section .text.boot, "ax", @progbits
	.code32
	.globl pvh_start
pvh_start:
	cli
	cld
	/* Four GiB one to one, and the first of them at KERNEL_OFFSET too. */
	mov $(boot_pd - KERNEL_OFFSET), %edi
	mov $0x83, %eax
	mov $2048, %ecx
1:	mov %eax, (%edi)
	movl $0, 4(%edi)
	add $0x200000, %eax
	add $8, %edi
	dec %ecx
	jnz 1b
	mov $(boot_pd - KERNEL_OFFSET + 3), %eax
	mov $(boot_pdpt_low - KERNEL_OFFSET), %edi
	mov $4, %ecx
2:	mov %eax, (%edi)
	add $4096, %eax
	add $8, %edi
	dec %ecx
	jnz 2b
	movl $(boot_pd - KERNEL_OFFSET + 3), boot_pdpt_high - KERNEL_OFFSET + 510 * 8
	movl $(boot_pdpt_low - KERNEL_OFFSET + 3), boot_pml4 - KERNEL_OFFSET
	movl $(boot_pdpt_high - KERNEL_OFFSET + 3), boot_pml4 - KERNEL_OFFSET + 511 * 8
	mov $0x620, %eax		/* PAE, OSFXSR, OSXMMEXCPT */
	mov %eax, %cr4
	mov $(boot_pml4 - KERNEL_OFFSET), %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx		/* EFER: SCE, LME, NXE */
	xor %edx, %edx
	mov $0x901, %eax
	wrmsr
	mov $0x80010033, %eax		/* PG, WP, NE, ET, MP, PE */
	mov %eax, %cr0
	lgdt boot_gdtr - KERNEL_OFFSET
	ljmp $KERNEL_CS, $(pvh_long - KERNEL_OFFSET)
	.code64
pvh_long:
	movabs $pvh_high, %rax
	jmp *%rax
pvh_high:
	xor %eax, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %fs
	mov %eax, %gs
	mov %eax, %ss
	mov $boot_stack_end, %rsp
	mov %ebx, %edi
	call pvh_main			/* builds tables and boot_info; does not return */

/* void pvh_enter(cr3, info): onto the real tables and stack, then as under guestmm. */
	.globl pvh_enter
pvh_enter:
	mov %rdi, %cr3
	mov %rsi, %rdi
	xor %esi, %esi
	movabs $(STACKS + STACK_STRIDE), %rsp
/* ---- guestmm: RDI = struct gmm_boot_info, RSI = index of this vCPU --------------- */
	.globl entry64
entry64:
	sub $STACK_TOP_ROOM, %rsp
	xor %ebp, %ebp
	call kernel_main
	ud2

	.section .data
	.balign 16
	.globl gdt
gdt:	.quad 0, 0
	.quad 0x00af9b000000ffff	/* 10 kernel code */
	.quad 0x00cf93000000ffff	/* 18 kernel stack */
	.quad 0
	.quad 0x00cff3000000ffff	/* 28 user data */
	.quad 0x00affb000000ffff	/* 30 user code */
	.quad 0
	.skip 16 * N_CPUS		/* 40 task state segments */
gdt_end:
boot_gdtr:
	.word gdt_end - gdt - 1
	.quad gdt - KERNEL_OFFSET

	.section .bss
	.balign 4096
boot_pml4: .skip 4096
boot_pdpt_low: .skip 4096
boot_pdpt_high: .skip 4096
boot_pd: .skip 4 * 4096
boot_stack: .skip 16384
boot_stack_end:

/* ---- traps ----------------------------------------------------------------------- */
	.text
	.balign 16
	.globl page_fault_entry
page_fault_entry:
	cmpl $0x15, (%rsp)		/* a program executed what is there, but not its own */
	je syscall_by_fault
not_a_syscall:
	PUSH_UPPER
	lea -7 * 8(%rsp), %rdi		/* a struct regs without its lower part */
	call fault_fast			/* 0: served */
	test %eax, %eax
	jnz 1f
	POP_UPPER
	add $8, %rsp
	iretq
1:	PUSH_LOWER
	push $VECTOR_PAGE_FAULT
trap_slow:
	mov %rsp, %rdi
	call trap
	add $8, %rsp
	POP_LOWER
	POP_UPPER
	add $8, %rsp
	iretq

	.macro TRAP vector has_error
	.balign 8
trap_\vector:
	.if \has_error == 0
	push $0
	.endif
	PUSH_UPPER
	PUSH_LOWER
	push $\vector
	jmp trap_slow
	.endm

	.irp v, 0,1,2,3,4,5,6,7,9,15,16,18,19,20,64,65,255
	TRAP \v 0
	.endr
	.irp v, 8,10,11,12,13,17,21
	TRAP \v 1
	.endr

/* ---- system calls ------------------------------------------------------------------ */
/* KVM without hardware paging (kvm_pvm, Linux 6.18) does the half of a system call: RIP, RCX
 * and R11 are set, but the CPU stays at CPL 3. So the program faults on the entry's first
 * instruction, and that fault is the call. A program that jumps there makes a call, too: where
 * it goes on and with which flags is checked, for iretq would not. */
syscall_by_fault:
	cmpq $syscall_entries, 8(%rsp)
	jb not_a_syscall
	cmpq $syscall_entries_end, 8(%rsp)
	jae not_a_syscall
	mov %rax, (%rsp)
	mov %rcx, 8(%rsp)
	and $USER_FLAGS, %r11d
	or user_rflags(%rip), %r11
	mov %r11, 24(%rsp)
	shr $47, %rcx
	jz syscall_saved
	movq $0, 8(%rsp)		/* not an address of programs: it will fault there */
	jmp syscall_saved

	.balign 16
syscall_common:
	push %r11
	push $USER_CS
	push %rcx
	push %rax
syscall_saved:
	PUSH_UPPER
	mov %r10, %rcx
	cmp $N_SYS_LINUX, %rax
	jae 2f
	call *sys_table(, %rax, 8)
1:	cmp $SYS_WANTS_ALL_REGS, %rax
	je 3f
	add $8, %rsp
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rdx
	add $24, %rsp
	iretq
2:	sub $SYS_OWN_FIRST, %rax
	cmp $N_SYS_OWN, %rax
	jae 4f
	call *sys_own_table(, %rax, 8)
	jmp 1b
4:	mov $-38, %rax			/* ENOSYS */
	jmp 1b
3:	PUSH_LOWER
	push $0
	mov %rsp, %rdi
	call syscall_all_regs		/* sets regs->rax */
	.globl user_return
user_return:				/* RSP = struct regs */
	add $8, %rsp
	POP_LOWER
	POP_UPPER
	add $8, %rsp
	iretq

/* void regs_enter(struct regs *): leaves the kernel's stack as it is. */
	.globl regs_enter
regs_enter:
	mov %rdi, %rsp
	jmp user_return

	.set i, 0
	.rept N_CPUS
	.balign 64
	.if i == 0
	.globl syscall_entries
syscall_entries:
	.endif
	mov %rsp, user_rsp + 8 * i(%rip)
	movabs $(STACKS + (i + 1) * STACK_STRIDE - STACK_TOP_ROOM), %rsp
	push $USER_SS
	push user_rsp + 8 * i(%rip)
	jmp syscall_common
	.set i, i + 1
	.endr
syscall_entries_end:

	.section .bss
	.balign 64
user_rsp: .skip 8 * N_CPUS

/* ---- memory ------------------------------------------------------------------------- */
	.text
/* long user_copy(void *to, const void *from, size_t bytes): one of the two is a program's
 * address, checked to be in its half. 0, or -EFAULT where nothing is mapped: the page
 * fault's slow path then resumes at user_copy_failed. */
	.globl user_copy, user_copy_long, user_copy_rest, user_copy_failed
user_copy:
	mov %rdx, %rcx
	shr $3, %rcx
user_copy_long:
	rep movsq
	mov %edx, %ecx
	and $7, %ecx
user_copy_rest:
	rep movsb
	xor %eax, %eax
	ret
user_copy_failed:
	mov $-14, %rax
	ret

	.globl memcpy, memset
memcpy:
	mov %rdi, %rax
	mov %rdx, %rcx
	shr $3, %rcx
	rep movsq
	mov %edx, %ecx
	and $7, %ecx
	rep movsb
	ret
memset:
	mov %rdi, %r8
	movzbl %sil, %eax
	movabs $0x0101010101010101, %rcx
	imul %rcx, %rax
	mov %rdx, %rcx
	shr $3, %rcx
	rep stosq
	mov %edx, %ecx
	and $7, %ecx
	rep stosb
	mov %r8, %rax
	ret

/* void cpu_halt(void): sleeps until an interrupt has been served. */
	.globl cpu_halt
cpu_halt:
	sti
	hlt
	cli
	ret

	.section .rodata
	.balign 8
	.globl trap_entries			/* { vector, address } */
trap_entries:
	.irp v, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,15,16,17,18,19,20,21,64,65,255
	.quad \v, trap_\v
	.endr
	.quad VECTOR_PAGE_FAULT, page_fault_entry
	.globl trap_entries_end
trap_entries_end:

	.section .note.GNU-stack, "", @progbits
