#!/bin/bash
# vCPUs that wait, for an interrupt or for a page: they take no processor, and are there for whoever
# wants them.
# shellcheck disable=SC2154 # pid: of run_controlled()
. "$(dirname "$0")/lib.sh"

said_asleep()
{
	grep -Eq 'asleep|hello' "$WORK/out"
}

# Hundredths of a second that the guest's process has run.
ticks()
{
	awk '{ print $14 + $15 }' "/proc/$pid/stat"
}

# Neither paused nor resumed does it wake up; it ends when it is told to.
can_be_stopped()
{
	ctl pause || fail "pause was refused"
	ctl stats | grep -q '"paused":true' || fail "it is not paused"
	ctl resume || fail "resume was refused"
	ended $pid && fail "it ended when it was resumed"
	kill -INT $pid
	wait_for 10 ended $pid || fail "SIGINT does not end it"
	wait $pid
	[ $? = 130 ] || fail "SIGINT ended it otherwise"
}

# A guest that sleeps takes no twentieth of a processor.
sleeps()
{
	run_controlled "$@"
	wait_for 20 said_asleep || fail "it does not begin to sleep"
	sleep 1
	local before
	before=$(ticks)
	sleep 4
	[ $(($(ticks) - before)) -le 20 ] || fail "asleep for 4 s it took $(($(ticks) - before)) hundredths"
	can_be_stopped
}

test_asleep()
{
	sleeps -m 64M "$SELFTEST" nap
}

test_asleep_two_cpus()
{
	sleeps -m 64M -c 2 "$SELFTEST" nap
}

# A kernel that knows `hlt` alone.
test_asleep_by_hlt()
{
	sleeps -m 64M --kernel "$PROBE" asleep
	grep -q hello "$WORK/out" || fail "it was told to sleep in another way"
}

# Who waits for an absent page: a worker of the kernel's for guests whose vCPUs wait for each other,
# and for kernels that sleep by `hlt`; else the vCPU's own thread, where KVM can be told so.
async_faults()
{
	expect 0 "$GUESTMM" run --stats "$WORK/stats" -m 64M "$@"
	grep -Eo '"async_faults":(true|false)' "$WORK/stats" | grep -Eo 'true|false'
}

kernel_is_since()
{
	[ "$(printf '%s\n' "$1" "$(uname -r)" | sort -V | head -n 1)" = "$1" ]
}

has_smt_rsb()
{
	! grep -Eqs 'forceoff|notsupported' /sys/devices/system/cpu/smt/control &&
		grep -q '^bugs.*smt_rsb' /proc/cpuinfo
}

test_who_waits()
{
	need_kvm
	local want=false
	[ "$(async_faults -c 2 hello)" = true ] || fail "two vCPUs wait for each other's pages"
	[ "$(async_faults --kernel "$PROBE" hello)" = true ] || fail "a kernel was not asked"
	kernel_is_since 6.8 && ! has_smt_rsb || want=true
	[ "$(async_faults hello)" = $want ] || fail "async_faults is not $want"
}

# A guest whose touch waits for memory that nobody has.
starve()
{
	run_controlled -m 256M -l 16M -s off "$@" touch --bytes 64M --passes 1
	wait_for 20 grep -q 'swap is off: it waits' "$WORK/err" || fail "it does not wait"
}

# What vCPU 0 does in the kernel is, or is not, to wait for a page; "0": the kernel does not tell.
waits_for_a_page()
{
	local task
	for task in "/proc/$pid/task/"*; do
		[ "$(cat "$task/comm")" = vcpu-0 ] || continue
		case $(cat "$task/wchan") in
		0 | "") return 0 ;;
		handle_userfault*) [ "$1" = itself ] ;;
		*) [ "$1" != itself ] ;;
		esac
		return
	done
	return 1
}

test_for_a_page()
{
	starve
	if ctl stats | grep -q '"async_faults":false'; then
		waits_for_a_page itself || fail "another waits in its place"
	fi
	can_be_stopped
}

test_for_a_page_two_cpus()
{
	starve -c 2
	waits_for_a_page by-another || fail "its own thread waits, and it hears no interrupt"
	can_be_stopped
}

# It hears the balloon: what it has that is free it gives away. (To take something back it needs
# memory.)
test_for_a_page_and_heard()
{
	local i
	starve --balloon-by list
	for i in 16 64 96; do
		ctl balloon ${i}M || fail "a balloon of $i MiB was refused"
		wait_for 10 ballooned $((i << 20)) ||
			fail "the balloon holds $(number ballooned_bytes), not $i MiB"
	done
	for i in 1 2 3; do
		ctl pause && ctl resume || fail "it does not pause"
	done
	ctl limit 128M || fail "the limit was refused"
	wait_for 20 ended $pid || fail "it does not go on"
	wait $pid || fail "it did not end well"
	grep -q ' ok$' "$WORK/out" || fail "$(cat "$WORK/out")"
}

main "$@"
