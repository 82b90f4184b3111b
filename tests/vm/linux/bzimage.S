/* A bzImage that is no Linux: enough of the boot protocol to say, by the serial port, whether the
 * loader keeps it. It prints its command line, the number of memory ranges, the initrd's first
 * byte, echoes one byte of input that an interrupt announced, and resets by the keyboard controller. */
	.code16
	.org 0x1f1
	.byte 1				/* setup_sects */
	.org 0x1f4
	.long (payload_end - payload + 15) / 16 /* syssize */
	.org 0x1fe
	.word 0xaa55
	.org 0x200
	jmp 1f
1:	.org 0x202
	.ascii "HdrS"
	.word 0x020f			/* protocol version */
	.org 0x211
	.byte 1				/* loaded high */
	.org 0x22c
	.long 0x7fffffff		/* initrd_addr_max */
	.long 0x200000			/* kernel_alignment */
	.byte 1, 21			/* relocatable_kernel, min_alignment */
	.word 1				/* xloadflags: 64-bit entry */
	.long 255			/* cmdline_size */
	.org 0x258
	.quad 0x1000000			/* pref_address */
	.long 0x10000			/* init_size */
	.org 0x400			/* the payload */
payload:
	.org 0x600			/* its 64-bit entry */
	.code64
	lea stack_end(%rip), %rsp
	mov %rsi, %rbp			/* the zero page */
	mov 0x228(%rbp), %esi		/* cmd_line_ptr */
	call print
	mov 0x1e8(%rbp), %al		/* e820_entries */
	add $'0', %al
	call print_byte
	mov 0x218(%rbp), %esi		/* ramdisk_image */
	mov (%rsi), %al
	call print_byte
	mov $'\n', %al
	call print_byte
	/* The first page-table entries map memory to itself; RAM reads as zero; the stack works. */
	cmpq $0, 0x1400000
	jne bad
	mov $0x3f8 + 5, %dx		/* wait for input */
2:	in %dx, %al
	test $1, %al
	jz 2b
	mov $0x3f8, %dx
	in %dx, %al
	call print_byte
	mov $0xfe, %al
	out %al, $0x64
bad:	hlt
	jmp bad

print_byte:
	mov $0x3f8, %dx
	out %al, %dx
	ret
print:	lodsb
	test %al, %al
	jz 3f
	call print_byte
	jmp print
3:	ret
	.balign 16
	.skip 256
stack_end:
payload_end:
