#!/bin/bash
# Guests bigger than what they may use: the limit holds, and no byte is lost.
. "$(dirname "$0")/lib.sh"
need_kvm

test_touch()
{
	swaps -m 64M -l 16M touch --bytes 32M --passes 2 --order rand
}

test_engine_copy()
{
	swaps --engine copy -m 64M -l 16M touch --bytes 32M --passes 2 --order rand
}

test_malloc()
{
	swaps -m 64M -l 16M malloc --bytes 24M --ops 5000 --seed 7
}

test_two_cpus()
{
	swaps -c 2 -m 64M -l 16M malloc --bytes 24M --ops 5000 --seed 7
}

test_above_the_hole()
{
	swaps -m 8G -l 32M touch --bytes 48M --passes 2 --order rand
}

test_stores()
{
	swaps -s tier:ram:64M+file -m 64M -l 16M touch --bytes 32M --passes 2 --order rand
	swaps -s tier:ram:4M+file -m 64M -l 16M touch --bytes 32M --passes 2 --order rand
}

# Swap fills up, nobody can help: the guest waits, then ends with 125, and it is said.
test_swap_full()
{
	expect 125 "$GUESTMM" run -s "file:$WORK/swap,size=1M" -m 64M -l 8M touch --bytes 32M \
		--passes 1 --order seq
	said 'swap takes no more pages'
	said 'no memory for 30 seconds'
}

# Killed while it waits for memory that does not come, it is gone all the same.
test_swap_full_and_killed()
{
	"$GUESTMM" run -s "file:$WORK/swap,size=1M" -m 64M -l 8M touch --bytes 32M --order seq \
		>"$WORK/out" 2>"$WORK/err" </dev/null &
	pid=$!
	wait_for 20 grep -q 'no more pages' "$WORK/err" || fail "swap did not fill up"
	sleep 2
	kill -9 $pid
	wait_for 10 ended $pid || fail "it cannot be killed"
}

# Frames of 2 MiB: how many, by --huge. A host without them has none with any.
huge_filled()
{
	expect 0 "$GUESTMM" run --stats "$WORK/stats" "$@" touch --bytes 96M --passes 2
	n_filled=$(stat_of filled huge)
}

test_huge_frames()
{
	grep -q '\[never\]' /sys/kernel/mm/transparent_hugepage/enabled && skip "no huge pages on this host"
	huge_filled -m 256M -l 160M --huge never
	[ "$n_filled" = 0 ] || fail "--huge never: $n_filled blocks of 2 MiB"
	huge_filled -m 256M -l 160M --engine copy
	[ "$n_filled" = 0 ] || fail "--engine copy: $n_filled blocks of 2 MiB"
	"$GUESTMM" check-host | grep -q '^ok *engine move' || skip "no move engine on this host"
	huge_filled -m 256M -l 160M
	[ "$n_filled" -ge 20 ] || fail "only $n_filled blocks of 2 MiB for 96 MiB in order"
	swaps --huge always -m 256M -l 64M touch --bytes 128M --passes 2
}

main "$@"
