#!/bin/bash
# `guestmm run` as its users see it: output, exit statuses, what a kernel is given, how it ends.
. "$(dirname "$0")/lib.sh"
need_kvm

test_hello()
{
	probe 0 -- hello
	output_is 'hello from the probe\n'
	[ -s "$WORK/err" ] && fail "it said something without need"
	return 0
}

test_arguments()
{
	probe 0 -- echo one 'two words' '' -m 'ä'
	output_is 'one\0two words\0\0-m\0ä\0'
}

test_status()
{
	for status in 0 1 7 255; do
		probe $status -- status $status
	done
}

test_signal()
{
	probe 139 -- signal 11
	said 'signal 11'
}

# What the guest said stands before what guestmm says of its end.
test_last_words()
{
	timeout -k 5 60 "$GUESTMM" run --kernel "$PROBE" last-words >"$WORK/out" 2>&1
	[ $? = 139 ] || fail "it ended with another status"
	head -n 1 "$WORK/out" | grep -q '^hello from the probe' ||
		fail "the guest's words come last: $(cat "$WORK/out")"
	grep -q 'signal 11' "$WORK/out" || fail "nothing is said of the guest's end"
}

test_boot_info()
{
	probe 0 -- info
	probe 0 -m 8G -l 64M -- info
	probe 0 -c 4 -- info
}

test_memory_ends()
{
	for size in 16M 512M 3G; do
		probe 0 -m $size -l 8M -- memory
	done
}

test_memory_above_the_hole()
{
	for size in 3073M 8G; do
		probe 0 -m $size -l 8M -- memory
	done
}

test_engine_copy()
{
	probe 0 --engine copy -m 8G -l 8M -- memory
	probe 0 --engine copy -- release
}

test_engine_move()
{
	"$GUESTMM" check-host | grep -Eqi 'move.*(yes|ok|available)' || true
	timeout 20 "$GUESTMM" run --engine move --kernel "$PROBE" hello >"$WORK/out" 2>"$WORK/err"
	if grep -q 'does not offer that engine' "$WORK/err"; then
		skip "this kernel has no UFFDIO_MOVE"
	fi
	probe 0 --engine move -m 8G -l 8M -- memory
	probe 0 --engine move -- release
}

test_cpus()
{
	probe 0 -c 1 -- cpus 1
	probe 0 -c 4 -- cpus 4
	probe 0 -c 16 -- cpus 16
}

test_pin()
{
	probe 0 --pin off -- hello
	probe 0 --pin auto -- hello
	probe 0 --pin 0 -c 2 -- cpus 2
	probe 0 --pin 1000 -- hello
	said 'CPU 1000 cannot be had'
}

test_file()
{
	head -c 10001 /dev/urandom >"$WORK/text"
	probe 0 --file "$WORK/text:/data" -- file /data
	cmp "$WORK/text" "$WORK/out" || fail "the window shows something else"
	probe 0 --file "$WORK/text" -- file /text
	cmp "$WORK/text" "$WORK/out" || fail "the window shows something else"
}

test_file_is_read_only()
{
	head -c 4096 /dev/urandom >"$WORK/text"
	probe 135 --file "$WORK/text" -- outside 4096
	said 'read-only'
}

test_balloon_target_at_boot()
{
	probe 0 -b 4M -- target 1024
	probe 0 -- target 0
}

test_summary()
{
	probe 0 --summary -- hello
	said 'used at most'
	said 'exit status 0'
	said 'faults +first touch +[1-9]'
	expect 0 "$GUESTMM" run --summary -c 2 -m 64M -l 16M malloc --bytes 24M --ops 5000
	said 'swapped in +[1-9]'
	said 'evictions +written +[1-9][0-9,]* +#+'
	said 'waited +[0-9.]+ s, [0-9]+ % of the time, for memory; all vCPUs'
	# What is said meanwhile, of thrashing on a slow host, is a line of its own.
	[ "$(awk '!/^guestmm: / && length > 80' "$WORK/err")" = "" ] || fail "a line is longer than 80 columns"
}

test_stats()
{
	probe 7 --stats "$WORK/stats" -m 64M -l 16M -- status 7
	[ "$(wc -l <"$WORK/stats")" = 1 ] || fail "not one line"
	for key in '"schema":"guestmm-stats-1"' '"exit_status":7' '"memory_bytes":67108864' \
		'"limit_bytes":16777216' '"vcpus":\[\{"exits":[1-9]' '"run_ns":[1-9]'; do
		grep -Eq -- "$key" "$WORK/stats" || fail "the statistics lack $key"
	done
	probe 0 --stats - -- hello
	tail -n 1 "$WORK/out" | grep -q '^{"schema"' || fail "the last line is no JSON"
	head -n 1 "$WORK/out" | grep -q '^hello' || fail "the guest's output is gone"
	probe 0 --stats - -- echo 'no newline'
	[ "$(tail -n 1 "$WORK/out" | head -c 9)" = '{"schema"' ] ||
		fail "the statistics have no line of their own"
}

test_stats_cannot_be_written()
{
	probe 125 --stats "$WORK/no/such/place" -- hello
	said 'cannot (write|open) .*no/such/place'
}

# ---- Hostile and broken guests: they end alone ----

test_wild_hostcalls()
{
	probe 0 -- wild
	[ "$(wc -l <"$WORK/err")" -lt 20 ] || fail "the guest flooded standard error"
	probe 0 -m 8G -l 8M -c 2 -- wild
}

test_released_pages_read_as_zero()
{
	probe 0 -- release
}

test_ports()
{
	probe 0 -- ports
}

# The registers of a guest that triple-faulted; on AMD's processors they are lost by then.
registers()
{
	if grep -qw svm /proc/cpuinfo && grep -q 'registers are lost' "$WORK/err"; then
		return
	fi
	said "$1"
}

test_triple_fault()
{
	probe 134 -- triple
	said 'triple fault'
	registers 'rip 0xffffffff80'
}

test_text_is_read_only()
{
	probe 134 -- text
	registers 'cr2 0xffff800000100000'
}

test_stack_has_a_guard()
{
	probe 134 -- guard
	registers 'cr2 0xfffff00000000008'
}

test_data_cannot_be_executed()
{
	probe 134 -- nx
}

test_outside_memory()
{
	probe 135 -- outside 1024
	said 'wrote to guest-physical address 0x40000000, where there is no memory'
	probe 135 -- outside-read 3500
	said 'read guest-physical address 0xdac00000'
}

# A stream that is closed is as good as one to nowhere.
test_closed_streams()
{
	local status
	for closed in '<&-' '>&-' '2>&-' '<&- >&-' '<&- >&- 2>&-'; do
		timeout -k 5 20 bash -c "'$GUESTMM' run --kernel '$PROBE' hello $closed" \
			>"$WORK/out" 2>"$WORK/err"
		status=$?
		[ $status = 0 ] || fail "with $closed it ended with status $status"
	done
}

# Lost output is no success.
test_full_output()
{
	timeout -k 5 20 "$GUESTMM" run --kernel "$PROBE" hello >/dev/full 2>"$WORK/err"
	[ $? = 125 ] || fail "it ended well, its output lost"
	said "output: No space left on device"
}

# A file for the statistics that cannot be made is refused before the guest runs.
test_stats_file_refused()
{
	for path in /nonexistent/stats "$TMPDIR"; do
		probe 125 --stats "$path" -- hello
		said "stats: cannot open $path"
		[ ! -s "$WORK/out" ] || fail "the guest ran all the same"
	done
	probe 125 --stats /dev/full -- status 3
	said "stats: cannot write /dev/full: No space.*status 3"
	printf '%10000s' old >"$WORK/stats"
	probe 0 --stats "$WORK/stats" -- hello
	grep -q old "$WORK/stats" && fail "old contents are left"
	[ "$(stat_of exit_status)" = 0 ] || fail "odd statistics"
}

main "$@"
