#!/bin/bash
# Bad input: a clear message, the right exit status, nothing left behind.
. "$(dirname "$0")/lib.sh"

usage_error()
{
	local pattern=$1
	shift
	expect 64 "$GUESTMM" "$@"
	said "$pattern"
	[ -s "$WORK/out" ] && fail "wrong usage wrote to standard output"
	return 0
}

test_no_command()
{
	usage_error 'Usage: guestmm' || return
	usage_error "no command 'rum'" rum hello
	expect 0 "$GUESTMM" --help
	expect 0 "$GUESTMM" --version
}

test_no_program()
{
	usage_error 'which PROGRAM' run
	usage_error 'which PROGRAM' run -m 64M
	usage_error 'nosuchprogram' run nosuchprogram
	usage_error 'nosuch/file' run ./nosuch/file
	usage_error 'directory' run /tmp/
	usage_error 'unrecognized option' run --frobnicate hello
}

test_sizes()
{
	for size in 0 -1 -64M 12Q M 1.5G '' ' ' 0x10 99999999999T 18446744073709551616 1K 64KB; do
		usage_error "memory.*" run -m "$size" hello
		usage_error "limit.*" run -l "$size" hello
	done
	usage_error '12Q' run -m 12Q hello
}

test_limits()
{
	usage_error 'more than the guest.s memory' run -m 64M -l 65M hello
	usage_error 'floor of 2048 KiB' run -m 64M -l 1M hello
	usage_error 'floor of 2048 KiB' run -m 1M hello
}

test_too_little_memory()
{
	need_kvm
	expect 125 "$GUESTMM" run -m 2M --kernel "$PROBE" hello
	said 'too little.*need [0-9]+ KiB'
}

test_more_memory_than_addresses()
{
	for size in 16T 1048576T; do
		usage_error 'more than there are addresses for.*at most 8T' run -m $size -l 64M hello
	done
}

test_other_options()
{
	for n in 0 -1 65 x '' 1x 99999999999999999999; do
		usage_error "cpus" run -c "$n" hello
	done
	usage_error 'balloon' run -b much hello
	usage_error 'neither share nor list' run --balloon-by force hello
	usage_error 'pin' run --pin here hello
	usage_error 'pin' run --pin 99999 hello
	usage_error 'neither auto, same, spin' run --fault-cpu off hello
	usage_error 'neither auto, same, spin' run --fault-cpu 99999 hello
	usage_error 'neither on nor off' run --working-set perhaps hello
	for option in swap stats control trace kernel initrd; do
		usage_error "--$option: the name is empty" run --$option '' hello
	done
	usage_error 'cannot give up all' run -m 64M -b 64M hello
	usage_error 'neither move nor copy' run --engine steam hello
	usage_error 'no policy .*twogen' run --policy magic hello
	usage_error 'two files' run --file /etc/passwd:/x --file /etc/group:/x hello
	usage_error 'lacks a name' run --file :/x hello
}

test_files()
{
	need_kvm
	expect 64 "$GUESTMM" run --file "$WORK/missing" hello
	said 'cannot open .*missing'
	expect 64 "$GUESTMM" run --file /tmp hello
	said 'no regular file'
	expect 64 "$GUESTMM" run --file /dev/zero hello
	said 'no regular file'
	expect 64 "$GUESTMM" run --file /proc/cpuinfo:/t hello
	said 'cpuinfo does not tell its size: copy it'
}

test_swap()
{
	need_kvm
	expect 125 "$GUESTMM" run -s "file:$WORK" hello
	said 'directory'
	touch "$WORK/exists"
	expect 125 "$GUESTMM" run -s "file:$WORK/exists" hello
	said 'exists'
	[ -e "$WORK/exists" ] || fail "it removed a file that was there"
	expect 125 "$GUESTMM" run -s "file:$WORK/no/such/dir" hello
	said 'no such directory'
	expect 125 "$GUESTMM" run -s "file:/proc/swap" hello
	said '/proc/swap'
	expect 64 "$GUESTMM" run -s "file:$WORK/s,size=12Q" hello
	said '12Q'
	expect 64 "$GUESTMM" run -s "file:$WORK/s,size=4K" hello
	said '1M'
	expect 64 "$GUESTMM" run -s cloud hello
	said "'cloud'"
	for spec in ram:64M tier:ram:16M+file off; do
		expect 0 "$GUESTMM" run -s "$spec" --kernel "$PROBE" hello
	done
	[ -e "$WORK/s" ] && fail "a swap file is left"
	TMPDIR=$WORK/nowhere expect 125 "$GUESTMM" run hello
	said "'$WORK/nowhere'.*TMPDIR.*no such directory"
}

test_swap_on_a_full_disk()
{
	need_kvm
	need_root
	unshare -m true 2>/dev/null || skip "no mount namespaces"
	mkdir "$WORK/full"
	expect 125 unshare -m bash -c "mount -t tmpfs -o size=64k none '$WORK/full' &&
		exec '$GUESTMM' run -s 'file:$WORK/full/swap' hello"
	said 'space'
}

# elf_variant OFFSET BYTES...: the probe kernel's file with bytes (octal) changed there.
elf_variant()
{
	cp "$PROBE" "$WORK/bad.elf"
	printf '%b' "$2" | dd of="$WORK/bad.elf" bs=1 seek="$1" conv=notrunc status=none
}

bad_kernel()
{
	expect 125 "$GUESTMM" run --kernel "$WORK/bad.elf" hello
	said "$1"
}

test_bad_elf_kernels()
{
	need_kvm
	head -c 40 "$PROBE" >"$WORK/bad.elf"
	bad_kernel 'truncated'
	head -c 4200 "$PROBE" >"$WORK/bad.elf"
	bad_kernel 'truncated'
	elf_variant 18 '\0267\0' # AArch64
	bad_kernel 'another machine'
	elf_variant 4 '\01' # 32 bits
	bad_kernel '64-bit'
	elf_variant $((64 + 56 + 24)) '\0000\0000\0020\0' # paddr of segment 1 = segment 0's
	bad_kernel 'overlap'
	elf_variant $((64 + 24 + 3)) '\0160' # paddr of segment 0 far away
	bad_kernel 'too little'
	elf_variant $((64 + 24 + 4)) '\0020' # and farther
	bad_kernel 'outside the guest.s memory'
	elf_variant $((64 + 2 * 56 + 40 + 6)) '\0377' # memory bytes of segment 2
	bad_kernel 'outside|wraps'
	elf_variant $((64 + 4)) '\0007' # segment 0 writable and executable
	bad_kernel 'cannot be mapped'
	: >"$WORK/bad.elf"
	expect 64 "$GUESTMM" run --kernel "$WORK/bad.elf" hello
	said 'empty'
}

test_bad_elf_programs()
{
	need_kvm
	elf_variant 18 '\0267\0'
	expect 125 "$GUESTMM" run "$WORK/bad.elf"
	said 'another machine'
	head -c 4200 "$PROBE" >"$WORK/bad.elf"
	expect 125 "$GUESTMM" run "$WORK/bad.elf"
	said 'truncated'
	echo 'echo hello' >"$WORK/script"
	expect 125 "$GUESTMM" run "$WORK/script"
	said 'not an ELF'
	expect 125 "$GUESTMM" run /bin/true
	said 'dynamically linked'
}

# Hides /dev/kvm, for the command alone.
test_no_kvm()
{
	need_root
	unshare -m true 2>/dev/null || skip "no mount namespaces"
	expect 77 unshare -m bash -c "mount -t tmpfs none /dev && exec '$GUESTMM' run hello"
	said 'there is no /dev/kvm'
	expect 77 unshare -m bash -c "mount --bind /dev/null /dev/kvm && exec '$GUESTMM' run hello"
	said 'cannot use KVM'
}

test_no_permission_for_kvm()
{
	need_kvm
	need_root
	command -v setpriv >/dev/null || skip "there is no setpriv(1)"
	[ "$(stat -c %a /dev/kvm)" = 600 ] || [ "$(stat -c %a /dev/kvm)" = 660 ] ||
		skip "/dev/kvm is open to everybody"
	chmod 711 "$WORK" && cp "$GUESTMM" "$WORK/guestmm"
	expect 77 setpriv --reuid 65534 --regid 65534 --clear-groups "$WORK/guestmm" run hello
	said 'no permission.*group'
}

test_no_userfaultfd()
{
	need_kvm
	need_root
	command -v setpriv >/dev/null || skip "there is no setpriv(1)"
	unshare -m true 2>/dev/null || skip "no mount namespaces"
	[ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" = 0 ] ||
		skip "vm.unprivileged_userfaultfd lets everybody in"
	chmod 711 "$WORK" && cp "$GUESTMM" "$WORK/guestmm" && chmod 777 "$TMPDIR"
	mknod -m 666 "$WORK/kvm" c 10 232
	expect 125 unshare -m bash -c "mount --bind '$WORK/kvm' /dev/kvm &&
		exec setpriv --reuid 65534 --regid 65534 --clear-groups '$WORK/guestmm' run hello"
	said 'unprivileged_userfaultfd'
}

test_control_socket()
{
	need_kvm
	echo precious >"$WORK/file"
	expect 125 "$GUESTMM" run --control "$WORK/file" --kernel "$PROBE" hello
	said 'control'
	[ "$(cat "$WORK/file")" = precious ] || fail "it harmed a file"
	expect 125 "$GUESTMM" run --control "$WORK/no/such/dir/s" --kernel "$PROBE" hello
}

# Sizes over the control socket are looked at before anybody is asked.
test_ctl_usage()
{
	for command in limit balloon; do
		usage_error "'-1' is negative" ctl "$WORK/none" $command -1
		usage_error "'-64M' is negative" ctl "$WORK/none" $command -64M
		usage_error "'12Q' has an unknown unit" ctl "$WORK/none" $command 12Q
		usage_error "need a SIZE" ctl "$WORK/none" $command
		usage_error "too large" ctl "$WORK/none" $command 9223372036854775808
	done
	usage_error "'0' is zero" ctl "$WORK/none" limit 0
	usage_error 'unknown command' ctl "$WORK/none" explode
	usage_error 'no argument' ctl "$WORK/none" quit now
	usage_error 'no socket' ctl
	usage_error 'no command' ctl "$WORK/none"
	expect 125 "$GUESTMM" ctl "$WORK/none" limit 64M
	said 'no guestmm listens there'
}

main "$@"
