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

main "$@"
