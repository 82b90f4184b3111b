#!/bin/bash
# A guest that shares its page-frame allocator: what the VMM takes out of it costs the guest nothing,
# what is free goes first under pressure, and a guest that lies hurts itself.
. "$(dirname "$0")/lib.sh"

said_hello()
{
	grep -q hello "$WORK/out"
}

test_block()
{
	need_kvm
	probe 0 -- share 0
	probe 0 -m 33M -b 8M -- share 2048
	probe 0 -m 6G -l 64M -b 4M -- share 1024
	# Told not to, the VMM lays none.
	probe 3 --balloon-by list -- share 0
}

# Up and down, exactly, at once, and the guest does not leave its loop once.
no_exits_by()
{
	run_controlled --engine "$1" -m 256M --kernel "$PROBE" share-stay
	wait_for 10 said_hello || fail "the probe does not start"
	ctl stats | grep -q '"balloon_by":"share"' || fail "it does not share"
	before=$(number exits)
	for target in 128M 200M 4K 0 64M; do
		ctl balloon $target || fail "a balloon of $target was refused"
	done
	ballooned 67108864 || fail "the balloon holds $(number ballooned_bytes)"
	[ "$(number exits)" = "$before" ] || fail "exits: $before before, $(number exits) after"
	free=$(number guest_free_bytes)
	[ "$free" -gt $((180 << 20)) ] && [ "$free" -lt $((192 << 20)) ] || fail "free in the guest: $free"
	quit
}

test_no_exits_by_moving()
{
	"$GUESTMM" check-host | grep -Eq '^ok +engine move' || skip "this kernel has no UFFDIO_MOVE"
	no_exits_by move
}

test_no_exits_by_copying()
{
	no_exits_by copy
}

# By page list the same costs exits: the count above is one that counts.
test_exits_by_list()
{
	run_controlled -m 256M --balloon-by list touch --bytes 8M --passes 1000000000
	wait_for 10 test "$(number boot_ns)" != 0
	before=$(number exits)
	ctl balloon 128M || fail "a balloon was refused"
	wait_for 20 ballooned 134217728 || fail "the balloon holds $(number ballooned_bytes)"
	[ "$(number exits)" -ge $((before + 60)) ] || fail "exits: $before before, $(number exits) after"
	ctl balloon 0 || fail "no deflation"
	wait_for 20 ballooned 0 || fail "the balloon still holds $(number ballooned_bytes)"
	quit
}

# A balloon asked for on the command line is there when the program begins, or when it can be.
test_on_the_command_line()
{
	need_kvm
	expect 0 "$GUESTMM" run -m 256M -b 128M --stats "$WORK/stats" hello
	[ "$(stat_of ballooned_bytes)" = 134217728 ] || fail "ballooned: $(stat_of ballooned_bytes)"
	expect 0 "$GUESTMM" run -m 256M -b 128M --balloon-by list --stats "$WORK/stats" touch --bytes 8M
	[ "$(stat_of ballooned_bytes)" = 134217728 ] || fail "ballooned: $(stat_of ballooned_bytes)"
}

begun_or_over()
{
	[ -S "$TMPDIR/socket" ] || ended $pid
}

# Balloons go up and down under a guest that verifies every frame that it has and gets. Where it is
# done before a balloon has gone up and down once, it has more to do.
verifies_by()
{
	local status work rounds=0
	need_kvm
	for work in 3000 300000 3000000 30000000; do
		"$GUESTMM" run --control "$TMPDIR/socket" --engine "$1" -m 64M -l 24M --kernel "$PROBE" \
			share-verify $work >"$WORK/out" 2>"$WORK/err" &
		pid=$!
		trap 'kill -9 $pid 2>/dev/null; cleanup' EXIT
		wait_for 10 begun_or_over || fail "the guest does not start"
		while ctl balloon 50M && ctl balloon 63M && ctl balloon 1M && ctl balloon 0; do
			rounds=$((rounds + 1))
		done >/dev/null 2>&1
		wait_for 60 ended $pid || fail "it does not end"
		wait $pid
		status=$?
		[ $status = 0 ] || fail "the guest ended with status $status"
		[ $rounds = 0 ] || return 0
	done
	fail "no balloon has gone up and down under the guest"
}

test_verifies_by_moving()
{
	"$GUESTMM" check-host | grep -Eq '^ok +engine move' || skip "this kernel has no UFFDIO_MOVE"
	verifies_by move
}

test_verifies_by_copying()
{
	verifies_by copy
}

# The bundled guest's programs keep their data, swapping beside.
test_data_in_use()
{
	local status n=0
	run_controlled -m 256M -l 64M malloc --bytes 64M --ops 50000 --seed 5
	while ctl balloon 120M && ctl balloon 16M && ctl balloon 100M && ctl balloon 0; do
		n=$((n + 1))
	done >/dev/null 2>&1
	wait $pid
	status=$?
	[ $status = 0 ] || fail "the program ended with status $status"
	grep -q ' ok$' "$WORK/out" || fail "$(cat "$WORK/out")"
	[ $n -gt 3 ] || fail "the balloon moved $n times only"
}

# A guest that needs more than the balloon left it gets it back.
test_out_of_memory()
{
	need_kvm
	for by in share list; do
		expect 0 "$GUESTMM" run -m 48M -b 36M --balloon-by $by --stats "$WORK/stats" \
			touch --bytes 20M --passes 2
		grep -q ' ok$' "$WORK/out" || fail "by $by: $(cat "$WORK/out")"
		[ "$(stat_of ballooned_bytes)" -lt $((28 << 20)) ] ||
			fail "by $by: $(stat_of ballooned_bytes) bytes are ballooned"
	done
	# What there is not cannot be given back.
	expect 137 "$GUESTMM" run -m 32M -b 16M touch --bytes 64M
	said 'out of memory'
}

# So do huge pages: they do not fall to pieces before the balloon has been asked.
test_out_of_memory_huge()
{
	need_kvm
	expect 0 "$GUESTMM" run -m 256M -b 200M --stats "$WORK/stats" touch --bytes 100M
	[ "$(stat_of ballooned_bytes)" -lt $((160 << 20)) ] ||
		fail "$(stat_of ballooned_bytes) bytes are ballooned"
	# 16 MiB are kept for small pages; of the 44 MiB that came back none is.
	[ "$(stat_of minor guest_faults)" -lt 1200 ] ||
		fail "$(stat_of minor guest_faults) page faults: pages were small"
}

has_freed()
{
	grep -q freed "$WORK/out"
}

# A few freed frames are not worth a report, until the VMM misses them.
test_few_freed_frames()
{
	local free
	run_controlled -m 64M "$SELFTEST" free-few
	wait_for 10 has_freed || fail "the program does not start"
	free=$(number guest_free_bytes)
	ctl balloon 63M || fail "a balloon was refused"
	wait_for 10 more_than $((free + 39 * 4096)) ||
		fail "the balloon holds $(number ballooned_bytes) of $free that were free and 40 pages"
	quit
}

# 128 MiB used and freed within 32 MiB: nothing is evicted, nothing written.
test_free_memory_goes_first()
{
	for engine in move copy; do
		if [ $engine = move ] && ! "$GUESTMM" check-host | grep -Eq '^ok +engine move'; then
			echo "skipped: this kernel has no UFFDIO_MOVE"
			continue
		fi
		probe 0 --engine $engine -m 256M -l 32M --stats "$WORK/stats" -- share-free 64
		[ "$(stat_of free_taken reclaim)" -gt 16384 ] ||
			fail "$engine: $(stat_of free_taken reclaim) free pages were taken"
		[ "$(stat_of written reclaim)" = 0 ] || fail "$engine: pages were written"
		[ "$(stat_of resident_peak_bytes)" -le 33554432 ] || fail "$engine: above the limit"
	done
}

more_than()
{
	[ "$(number ballooned_bytes)" -gt "$1" ]
}

left_free()
{
	[ "$(number guest_free_bytes)" -ge "$1" ]
}

test_auto()
{
	run_controlled -m 256M -b auto touch --bytes 32M --passes 1000000000
	wait_for 20 more_than $((150 << 20)) || fail "the balloon holds $(number ballooned_bytes)"
	wait_for 20 left_free $((8 << 20)) || fail "it left $(number guest_free_bytes) bytes"
	quit
}

test_bundled_program()
{
	need_kvm
	for by in share list; do
		expect 0 "$GUESTMM" run --balloon-by $by balloon --bytes 64M
		output_is 'balloon: bytes=67108864 ok\n'
	done
}

# Whatever it writes to the block: guestmm stays well, keeps its limit, and ends the guest when told,
# unless that has ended itself.
scribbled_over()
{
	run_controlled --stats "$WORK/stats" -m 64M -l 16M --kernel "$PROBE" share-scribble "$1"
	wait_for 10 said_hello || fail "the probe does not start"
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		for target in 60M 8M 33M 0; do
			ctl balloon $target || break 2
		done
		ctl limit 8M && ctl limit 16M || break
	done >"$WORK/ctl" 2>&1
	ctl quit >"$WORK/ctl" 2>&1
	wait_for 10 ended $pid || fail "it does not end"
	wait $pid
	status=$?
	[ "$(stat_of resident_peak_bytes)" -le 16777216 ] || fail "the limit was exceeded"
}

test_scribbled_over()
{
	scribbled_over 0
	[ $status = 143 ] || fail "it ended with status $status"
}

# All of it, what the guest itself stands on included: it loses that, but nothing else ends.
test_scribbled_over_to_the_end()
{
	scribbled_over 1
	case $status in
	143 | 134 | 135) ;;
	*) fail "it ended with status $status" ;;
	esac
}

main "$@"
