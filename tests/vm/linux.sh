#!/bin/bash
# Kernels that know nothing of guestmm: the Linux boot protocol and PVH.
# Environment: BZIMAGE (keeps the protocol, is no Linux), GUEST_ELF (has a PVH note).
. "$(dirname "$0")/lib.sh"
need_kvm

# boot STATUS INPUT OPTION... KERNEL
boot()
{
	local want=$1 input=$2 got
	shift 2
	printf '%s' "$input" | timeout -k 5 60 "$GUESTMM" run "$@" >"$WORK/out" 2>"$WORK/err"
	got=${PIPESTATUS[1]}
	[ "$got" = "$want" ] || fail "$* ended with status $got, expected $want"
}

test_bzimage()
{
	printf 'Initrd' >"$WORK/initrd"
	boot 0 k -m 64M --cmdline 'root=/dev/ram0 ' --initrd "$WORK/initrd" "$BZIMAGE"
	output_is 'root=/dev/ram0 2I\nk'
	boot 0 k -m 5G -l 32M --cmdline x --initrd "$WORK/initrd" "$BZIMAGE"
	output_is 'x3I\nk'
}

test_default_command_line()
{
	boot 0 k -m 64M "$BZIMAGE"
	grep -q 'console=ttyS0' "$WORK/out" || fail "no default command line"
}

test_bad_bzimage()
{
	head -c 1600 "$BZIMAGE" >"$WORK/kernel"
	boot 125 k "$WORK/kernel"
	said 'truncated'
	cp "$BZIMAGE" "$WORK/kernel"
	printf '\x06\x02' | dd of="$WORK/kernel" bs=1 seek=518 conv=notrunc status=none
	boot 125 k "$WORK/kernel"
	said 'older than 2.12'
	cp "$BZIMAGE" "$WORK/kernel"
	printf '\0' | dd of="$WORK/kernel" bs=1 seek=566 conv=notrunc status=none
	boot 125 k "$WORK/kernel"
	said '64-bit'
	cp "$BZIMAGE" "$WORK/kernel"
	printf '\0\0\0\0\0' | dd of="$WORK/kernel" bs=1 seek=600 conv=notrunc status=none
	boot 125 k "$WORK/kernel"
	said 'outside low memory'
	boot 125 k -m 16M "$BZIMAGE"
	said 'need [0-9]+ MiB'
	head -c 40M /dev/zero >"$WORK/initrd"
	boot 125 k -m 48M --initrd "$WORK/initrd" "$BZIMAGE"
	said 'need [0-9]+ MiB'
	boot 125 k --cmdline "$(printf '%300s' x)" "$BZIMAGE"
	said 'cmdline'
}

test_pvh()
{
	boot 1 '' --cmdline hello "$GUEST_ELF" # status 0, as QEMU's exit port turns it
	grep -q '^hello: .* ok$' "$WORK/out" || fail "the guest's program said something else"
}

test_options_of_the_other_kind()
{
	boot 64 '' --cmdline x hello
	said 'for Linux kernels'
	boot 64 '' -b 4M "$BZIMAGE"
	said 'kernel of its own'
	boot 64 '' "$BZIMAGE" argument
	said 'kernel of its own'
	boot 64 '' --initrd "$WORK/missing" "$BZIMAGE"
	said 'missing'
}

test_interrupt()
{
	"$GUESTMM" run -m 64M "$BZIMAGE" >"$WORK/out" 2>"$WORK/err" </dev/null &
	pid=$!
	wait_for 10 test -s "$WORK/out" || fail "no output"
	kill -TERM $pid
	wait_for 10 ended $pid || { kill -9 $pid; fail "it does not end"; }
	wait $pid
	[ $? = 143 ] || fail "another status than 143"
}

main "$@"
