#!/bin/bash
# Swap that loses what it was given while a guest runs: the guest ends as by SIGBUS where it touches
# a lost page, whatever the page was to it (a program's, a page table, the kernel's stack), and never
# sees other bytes instead.
# shellcheck disable=SC2154 # pid: of run_controlled()
. "$(dirname "$0")/lib.sh"
need_kvm

# Starts a guest, and waits until it swaps.
start_swapping()
{
	rm -f "$TMPDIR/socket" "$WORK/stats"
	run_controlled --stats "$WORK/stats" "$@"
	wait_for 40 swapped || fail "it does not swap"
}

swapped()
{
	local n
	n=$(number written)
	[ "${n:-0}" -gt 500 ]
}

# The unnamed swap file is emptied under it: every page in it is lost. True once the guest is gone.
lost_swap()
{
	local fd
	for fd in /proc/$pid/fd/*; do
		case $(readlink "$fd") in
		"$TMPDIR"/*' (deleted)') truncate -s 0 "$fd" 2>/dev/null ;;
		esac
	done
	ended $pid
}

loses()
{
	local status
	start_swapping "$@"
	wait_for 40 lost_swap || fail "it goes on without its memory"
	wait $pid
	status=$?
	[ $status = 135 ] || fail "it ended with status $status, expected 135"
	said 'page at 0x[0-9a-f]+ is lost: it could not be read back'
	said 'it ends as by SIGBUS'
	grep -v '^hello from the probe$' "$WORK/out" && fail "the guest got other bytes"
	[ "$(stat_of poisoned_pages)" -gt 0 ] || fail "no page counts as poisoned"
	grep -Eq 'guest.s program (read|wrote|was)' "$WORK/err" && fail "the program is blamed: $(cat "$WORK/err")"
	return 0
}

# What is touched first is another page each time: while a guest fills its memory for the first time
# it is its stack and the page tables for that.
loses_by()
{
	loses --engine "$1" -m 192M -l 48M touch --bytes 96M --passes 100000 --order rand
	loses --engine "$1" -m 64M -l 16M malloc --bytes 24M --ops 100000000
	loses --engine "$1" -m 64M -l 16M -c 2 malloc --bytes 24M --ops 100000000
	loses --engine "$1" -m 64M -l 16M zipf --bytes 40M --ops 1000000000
}

test_by_moving()
{
	"$GUESTMM" check-host | grep -Eq '^ok +engine move' || skip "this kernel has no UFFDIO_MOVE"
	loses_by move
}

test_by_copying()
{
	loses_by copy
}

# A kernel's own accesses, which KVM emulates on some hosts.
kernel_loses()
{
	loses --engine "$1" -m 64M -l 4M --kernel "$PROBE" sweep 4096
	grep -Eq 'no memory|misbehaves' "$WORK/err" && fail "odd words: $(cat "$WORK/err")"
	[ "$(grep -c 'is lost' "$WORK/err")" -le 4 ] || fail "too many words: $(cat "$WORK/err")"
	return 0
}

test_kernel_by_moving()
{
	"$GUESTMM" check-host | grep -Eq '^ok +engine move' || skip "this kernel has no UFFDIO_MOVE"
	kernel_loses move
}

test_kernel_by_copying()
{
	kernel_loses copy
}

main "$@"
