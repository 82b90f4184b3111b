/* The guest kernel with the bundled programs, as a part of guestmm. GUEST_ELF is its path. */
	.section .rodata
	.balign 4096
	.globl guest_elf_start, guest_elf_end
	.hidden guest_elf_start, guest_elf_end
guest_elf_start:
	.incbin GUEST_ELF
guest_elf_end:
	.section .note.GNU-stack, "", @progbits
