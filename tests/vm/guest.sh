#!/bin/bash
# The guest kernel under guestmm: an ordinary static program checks it from inside.
. "$(dirname "$0")/lib.sh"

run_selftest()
{
	need_kvm
	expect 0 "$GUESTMM" run "$@" "$SELFTEST"
	grep -Eq '^selftest: checks=[0-9]+ ok' "$WORK/out" || fail "$(cat "$WORK/out")"
}

test_selftest()
{
	run_selftest
}

# Zeros that were read are replaced by pages of the program's own sixteen at a time.
test_neighbours_are_mapped_too()
{
	need_kvm
	expect 0 "$GUESTMM" run -m 64M --stats "$WORK/stats" touch --bytes 1M
	[ "$(stat_of minor guest_faults)" -lt 100 ] ||
		fail "$(stat_of minor guest_faults) page faults for 256 pages, read and then written"
}

test_selftest_two_cpus()
{
	run_selftest -c 2
}

test_selftest_in_little_memory()
{
	run_selftest -m 256M -l 32M
}

test_selftest_above_the_hole()
{
	run_selftest -m 8G -l 128M
}

test_out_of_memory()
{
	need_kvm
	expect 137 "$GUESTMM" run -m 64M touch --bytes 256M
	grep -q 'out of memory' "$WORK/err" || fail "nothing said about memory"
}

# A balloon as large as the guest cannot be: no success, and it is said how much could be given.
test_balloon_larger_than_the_guest()
{
	need_kvm
	for bytes in 64M 1T; do
		expect 1 "$GUESTMM" run -m 64M balloon --bytes $bytes
		grep -Eq '^balloon: bytes=[1-9][0-9]+ FAILED$' "$WORK/out" || fail "$(cat "$WORK/out")"
		said 'could give [0-9]+ only'
	done
	expect 0 "$GUESTMM" run -m 64M balloon --bytes 16M
	grep -Eq '^balloon: bytes=16777216 ok$' "$WORK/out" || fail "$(cat "$WORK/out")"
}

# Twice the memory that there is, in random order, every page verified.
evicts_by()
{
	need_kvm
	expect 0 "$GUESTMM" run --engine "$1" -m 64M -l 6M --stats "$WORK/stats" \
		touch --bytes 12M --passes 3 --order rand
	grep -Eq '^touch: .*wrong=0 ok' "$WORK/out" || fail "$(cat "$WORK/out")"
	grep -Eq "\"engine\": *\"$1\"" "$WORK/stats" || fail "another engine ran"
	grep -Eq '"swap_in": *[1-9][0-9]{2}' "$WORK/stats" || fail "hardly anything was swapped in"
}

test_evicts_by_copying()
{
	evicts_by copy
}

test_evicts_by_moving()
{
	"$GUESTMM" check-host | grep -Eq '^ok +engine move' || skip "this kernel has no UFFDIO_MOVE"
	evicts_by move
}

# How a program ends, and what is said of it, for each way to end it.
test_exceptions()
{
	expect 139 "$GUESTMM" run "$SELFTEST" crash hlt
	said "program executed a privileged instruction.*exception 13"
	expect 136 "$GUESTMM" run "$SELFTEST" crash div
	said "program divided by zero"
	expect 132 "$GUESTMM" run "$SELFTEST" crash ud2
	said "program executed an instruction that does not exist"
	expect 139 "$GUESTMM" run "$SELFTEST" crash write
	said "program wrote to address 0x1000, where nothing is mapped"
	grep -q "guest kernel" "$WORK/err" && fail "the guest kernel is blamed: $(cat "$WORK/err")"
	return 0
}

main "$@"
