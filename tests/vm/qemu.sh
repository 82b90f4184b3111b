#!/bin/bash
# QEMU as the reference: the same guest kernel, booted by PVH in QEMU's emulator (QEMU_ACCEL=kvm: by
# KVM), prints what programs print natively. Environment: GUEST_ELF (the kernel with the bundled programs),
# SELFTEST_GUEST (with the self-test), PROGRAMS, SELFTEST (the same programs, native).
. "$(dirname "$0")/lib.sh"

# boot KERNEL STATUS ARG...: QEMU's status is twice the program's plus one, modulo 256.
boot()
{
	local kernel=$1 status=$2
	shift 2
	command -v qemu-system-x86_64 >/dev/null || skip "qemu-system-x86_64 is not installed"
	expect $(((status * 2 + 1) & 255)) qemu-system-x86_64 \
		-accel "${QEMU_ACCEL:-tcg}" -m "${MEMORY:-512M}" \
		-display none -no-reboot -serial "file:$WORK/serial" -monitor none \
		-device isa-debug-exit,iobase=0x501 -kernel "$kernel" -append "$*"
}

# printed PATTERN: on the serial line.
printed()
{
	grep -Eq -- "$1" "$WORK/serial" || {
		cat "$WORK/serial"
		fail "the guest did not print: $1"
	}
}

# The keys of a program's last line that are the same wherever it runs.
stable()
{
	tail -n 1 "$1" | tr -d '\r' | sed -E 's/(ns_per_(op|page)|ops_per_s|minor|major)=[0-9]+ ?//g'
}

# same NAME [OPTION...]: last lines agree with a native run on one CPU.
same()
{
	boot "$GUEST_ELF" 0 "$@"
	taskset -c 0 "$PROGRAMS" "$@" >"$WORK/native" || fail "natively: $*"
	[ "$(stable "$WORK/serial")" = "$(stable "$WORK/native")" ] ||
		fail "in QEMU: $(stable "$WORK/serial"); natively: $(stable "$WORK/native")"
}

test_hello()
{
	boot "$GUEST_ELF" 0 hello
	printed '^hello: cpus=1 memory_bytes=53[0-9]* ok'
}

test_touch()
{
	same touch --bytes 64M --passes 2 --order rand
	same touch --bytes 48M --write 0
}

test_zipf()
{
	same zipf --bytes 32M --ops 20000 --theta 0.9 --writes 30 --seed 5
}

test_malloc()
{
	same malloc --bytes 96M --ops 30000 --seed 7
}

test_malloc_above_the_hole()
{
	MEMORY=4608M same malloc --bytes 64M --ops 5000 --seed 9
}

test_faults()
{
	boot "$GUEST_ELF" 0 faults
	printed '^faults: minor=[1-9][0-9]* major=[1-9][0-9]* invalid=1 ok'
}

test_crash()
{
	boot "$GUEST_ELF" 139 crash --address 4096
	printed 'ended by signal 11: address 0x1000'
}

# More memory than there is: the program ends, the kernel does not.
test_out_of_memory()
{
	MEMORY=64M boot "$GUEST_ELF" 137 touch --bytes 256M
	printed 'out of memory'
}

test_selftest()
{
	"$SELFTEST" >"$WORK/native" || fail "natively: $(cat "$WORK/native")"
	boot "$SELFTEST_GUEST" 0 selftest
	printed '^selftest: checks=[0-9]+ ok'
}

main "$@"
