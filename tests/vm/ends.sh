#!/bin/bash
# How guestmm ends before its guest does, and that nothing is left then.
. "$(dirname "$0")/lib.sh"
need_kvm

# Starts `guestmm run ... CASE` in the background and waits until it has printed something.
start()
{
	"$GUESTMM" run --kernel "$PROBE" --stats "$WORK/stats" "$@" \
		>"$WORK/out" 2>"$WORK/err" </dev/null &
	pid=$!
	wait_for 20 test -s "$WORK/out" || { kill -9 $pid; fail "no output"; }
}

stop()
{
	local signal=$1 want=$2 got
	kill -"$signal" $pid
	wait_for 10 ended $pid || { kill -9 $pid; fail "SIG$signal does not end it"; }
	wait $pid
	got=$?
	[ $got = "$want" ] || fail "SIG$signal ended it with status $got, expected $want"
}

nothing_left()
{
	[ -z "$(ls -A "$TMPDIR")" ] || fail "files are left: $(ls -A "$TMPDIR")"
	wait_for 5 no_children || fail "processes are left: $(pgrep -fa "$PROBE")"
}

no_children()
{
	! pgrep -f -- "--kernel $PROBE.*$WORK" >/dev/null
}

test_interrupt()
{
	start spin
	stop INT 130
	output_is 'hello from the probe\n'
	nothing_left
}

test_terminate()
{
	start -c 2 spin
	stop TERM 143
	nothing_left
}

# Ctrl-\ at the terminal: no core, and the terminal is left as it was.
test_quit_signal()
{
	start --control "$TMPDIR/socket" spin
	stop QUIT 131
	nothing_left
}

test_interrupt_a_halted_guest()
{
	"$GUESTMM" run --kernel "$PROBE" halt >"$WORK/out" 2>"$WORK/err" &
	pid=$!
	sleep 1
	stop INT 130
}

test_kill()
{
	start --control "$TMPDIR/socket" spin
	wait_for 10 test -S "$TMPDIR/socket" || fail "there is no control socket"
	stop KILL 137
	wait_for 5 test ! -e "$TMPDIR/socket" || fail "the control socket is left"
	nothing_left
}

# The whole process group dies at once, as when a shell's job is killed.
test_kill_the_group()
{
	set -m
	start --control "$TMPDIR/socket" spin
	set +m
	wait_for 10 test -S "$TMPDIR/socket" || fail "there is no control socket"
	kill -KILL -- -$pid
	wait $pid 2>/dev/null
	wait_for 5 test ! -e "$TMPDIR/socket" || fail "the control socket is left"
	nothing_left
}

# At any moment: killed after a random time, again and again.
test_kill_at_any_moment()
{
	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
		"$GUESTMM" run -c 2 --control "$TMPDIR/socket" --kernel "$PROBE" spin \
			>"$WORK/out" 2>"$WORK/err" &
		pid=$!
		sleep "0.0$((RANDOM % 10))"
		kill -9 $pid 2>/dev/null
		wait $pid 2>/dev/null
		wait_for 5 test ! -e "$TMPDIR/socket" || fail "the control socket is left (round $i)"
		nothing_left
	done
}

test_control_quit()
{
	start --control "$TMPDIR/socket" spin
	wait_for 10 test -S "$TMPDIR/socket" || fail "there is no control socket"
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" stats >"$WORK/reply" || fail "no statistics"
	grep -q guestmm-stats-1 "$WORK/reply" || fail "odd statistics: $(cat "$WORK/reply")"
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" quit || fail "quit was refused"
	wait_for 10 ended $pid || { kill -9 $pid; fail "it does not quit"; }
	nothing_left
}

test_pause_and_resume()
{
	local before after
	start --control "$TMPDIR/socket" -c 2 flood
	wait_for 10 test -S "$TMPDIR/socket" || fail "there is no control socket"
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" pause || fail "pause was refused"
	before=$(stat -c %s "$WORK/out")
	sleep 1
	after=$(stat -c %s "$WORK/out")
	[ $((after - before)) -le 16384 ] || fail "a paused guest went on writing"
	before=$after
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" resume || fail "resume was refused"
	sleep 1
	after=$(stat -c %s "$WORK/out")
	[ "$after" -gt "$before" ] || fail "a resumed guest wrote nothing"
	stop INT 130
}

# A new balloon target rings the guest's doorbell, which ends it with status 0.
test_balloon_rings()
{
	start --control "$TMPDIR/socket" doorbell 1024
	wait_for 10 test -S "$TMPDIR/socket" || fail "there is no control socket"
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" balloon 4M || fail "the balloon was refused"
	wait_for 10 ended $pid || { kill -9 $pid; fail "the doorbell does not ring"; }
	wait $pid || fail "the guest saw another target"
}

test_limits_while_it_runs()
{
	start --control "$TMPDIR/socket" -m 64M -l 32M spin
	wait_for 10 test -S "$TMPDIR/socket" || fail "there is no control socket"
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" limit 16M || fail "a lower limit was refused"
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" stats | grep -q '"limit_bytes": *16777216' ||
		fail "the limit did not change"
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" limit 65M 2>"$WORK/err" && fail "above memory"
	said 'above the guest.s memory'
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" limit 1M 2>"$WORK/err" && fail "below the floor"
	said 'below 2048 KiB'
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" balloon 64M 2>"$WORK/err" && fail "all memory"
	said 'cannot give up'
	stop INT 130
}

test_signal_while_paused()
{
	start --control "$TMPDIR/socket" spin
	wait_for 10 test -S "$TMPDIR/socket" || fail "there is no control socket"
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" pause || fail "pause was refused"
	stop TERM 143
	nothing_left
}

# Whoever reads the output goes away: the guest ends as by SIGPIPE.
test_broken_pipe()
{
	local status
	timeout 30 "$GUESTMM" run --kernel "$PROBE" flood 2>"$WORK/err" | head -n 3 >"$WORK/out"
	status=${PIPESTATUS[0]}
	[ "$status" = 141 ] || fail "it ended with status $status, expected 141"
}

# Nobody reads the output, but nobody goes away either: a signal still ends it.
test_full_pipe()
{
	mkfifo "$WORK/pipe"
	sleep 60 <"$WORK/pipe" &
	reader=$!
	"$GUESTMM" run --kernel "$PROBE" flood >"$WORK/pipe" 2>"$WORK/err" &
	pid=$!
	sleep 2
	kill -INT $pid
	sleep 0.5
	kill -INT $pid 2>/dev/null # it may want to write out what it has
	wait_for 10 ended $pid || { kill -9 $pid $reader; fail "it hangs on a full pipe"; }
	kill $reader
	wait $pid
	[ $? = 130 ] || fail "it ended with another status than 130"
}

# on_terminal COLUMNS OPTION...: runs `spin` on a terminal for a moment; $WORK/out has what it drew.
on_terminal()
{
	command -v script >/dev/null || skip "there is no script(1)"
	local columns=$1
	shift
	timeout -k 5 60 script -qfec "stty cols $columns; echo \$\$ >$WORK/pid
		exec $GUESTMM run --kernel $PROBE $* spin" /dev/null >"$WORK/out" 2>&1 </dev/null &
	wait_for 20 grep -q 'hello from the probe' "$WORK/out" || fail "the guest's output is gone"
	sleep 0.7 # three ticks
	kill -INT "$(cat "$WORK/pid")"
	wait
}

# The longest line that was drawn over itself.
longest()
{
	tr '\r' '\n' <"$WORK/out" | sed 's/\x1b\[K//g' | grep 'iB of' | awk '{ print length }' |
		sort -n | tail -n 1
}

# Output beyond `ulimit -f` fails like output to a full disk.
test_output_beyond_the_limit()
{
	local status
	for case in flood hello; do
		(ulimit -f 0 && exec timeout -k 5 60 "$GUESTMM" run -s off --kernel "$PROBE" $case \
			>"$WORK/out") 2> >(cat >"$WORK/err")
		status=$?
		[ $status = 125 ] || fail "it ended with status $status, expected 125"
		wait_for 5 grep -q 'cannot write the guest.s output: File too large' "$WORK/err" ||
			fail "nothing is said of that"
	done
}

test_progress_line()
{
	export TERM=xterm
	on_terminal 200
	grep -q 'resident.*balloon' "$WORK/out" || fail "no progress line was drawn"
	on_terminal 200 -q
	grep -q 'resident' "$WORK/out" && fail "a progress line in spite of --quiet"
	TERM=dumb on_terminal 200
	grep -q 'faults/s' "$WORK/out" && fail "a progress line on a terminal that cannot redraw it"
	grep -q 'used at most' "$WORK/out" || fail "no summary on a simple terminal"
}

# A line that wraps could not be drawn over.
test_progress_on_a_narrow_terminal()
{
	export TERM=xterm
	for columns in 80 60 40 20; do
		on_terminal $columns
		[ "$(longest)" -gt 8 ] && [ "$(longest)" -lt $columns ] ||
			fail "on $columns columns a line of $(longest)"
	done
}

main "$@"
