# Watching and steering a guest that is short of memory, from outside: ctl, map, top.
. "$(dirname "$0")/lib.sh"

# Starts a guest that touches 96 MiB within 48 MiB until it is told to quit, and waits until
# it swaps.
start_swapping()
{
	run_controlled -m 192M -l 48M touch --bytes 96M --passes 1000000 --order rand --write 1
	wait_for 30 swaps || fail "the guest does not swap"
}

swaps()
{
	[ "$(number swap_in)" -gt 100 ]
}

test_map()
{
	start_swapping
	timeout 10 "$GUESTMM" map "$TMPDIR/socket" >"$WORK/map" || fail "no map"
	grep -Eq '^0x[0-9a-f]{10}  [.,A-Za-z!]+$' "$WORK/map" || fail "no row of letters in the map"
	[ "$(awk '$2 == "swapped" { print $3 }' "$WORK/map")" -gt 1000 ] || fail "no page is swapped"
	# Every page is in one state.
	[ "$(awk '$2 ~ /^[a-z]+$/ && $3 ~ /^[0-9]+$/ { n += $3 } END { print n }' "$WORK/map")" = 49152 ] ||
		fail "the map's pages are not those of 192 MiB"
	timeout 10 "$GUESTMM" map --svg "$WORK/map.svg" "$TMPDIR/socket" || fail "no picture"
	grep -q '</svg>' "$WORK/map.svg" || fail "the picture does not end"
	timeout 10 "$GUESTMM" map --svg /no/such/folder/map.svg "$TMPDIR/socket" 2>"$WORK/err" &&
		fail "a picture in no folder"
	said '/no/such/folder/map.svg'
	quit
}

test_top()
{
	start_swapping
	timeout 10 "$GUESTMM" top "$TMPDIR/socket" >"$WORK/top" || fail "no snapshot"
	grep -q '^resident .* of    *48 MiB limit\|^resident .* of 48 MiB limit' "$WORK/top" ||
		fail "no bar against the limit: $(cat "$WORK/top")"
	[ "$(awk '$1 == "swap_in" { print $2 }' "$WORK/top")" != 0 ] || fail "no swap-in is shown"
	[ "$(awk 'length > 80' "$WORK/top")" = "" ] || fail "a line is longer than 80 columns"
	quit
}

# A guest that computes and never exits is seen as busy while it does, not afterwards.
test_busy()
{
	run_controlled -m 64M touch --bytes 1M --passes 1000000000
	sleep 1
	before=$(number run_ns)
	sleep 2
	after=$(number run_ns)
	[ $((after - before)) -gt 1000000000 ] || fail "in 2 s its time in the guest grew by $((after - before)) ns"
	[ $((after - before)) -lt 20000000000 ] || fail "its time grew by $((after - before)) ns"
	quit
}

# The working set's numbers: 64 MiB are touched in turns. (numbers of that name: the set's own.)
set_number()
{
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" stats | grep -o '"working_set":{.*' |
		grep -o "\"$1\":[0-9]*" | head -n 1 | tr -dc 0-9
}

uses_64_mib()
{
	n=$(set_number bytes)
	[ "$n" -gt 60000000 ] && [ "$n" -lt 75000000 ]
}

refaults_with()
{
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" stats |
		grep -o "\"limit_bytes\":$1,\"refaults_per_s\":[0-9]*" | sed 's/.*://'
}

top_tells_what_is_in_use()
{
	timeout 10 "$GUESTMM" top "$TMPDIR/socket" >"$WORK/top"
	grep -q '^IN USE .* MiB .* 0/s' "$WORK/top"
}

refaults_with_32_mib() { [ "$(refaults_with 33554432)" -gt 1000 ]; }

test_working_set()
{
	run_controlled -m 256M -l 128M touch --bytes 64M --passes 1000000 --order rand
	wait_for 30 uses_64_mib || fail "64 MiB are touched, $(set_number bytes) bytes are said"
	# On a slow host little is looked at, and it takes a while to be right.
	wait_for 30 refaults_with_32_mib || fail "with 32 MiB: $(refaults_with 33554432) refaults"
	[ "$(refaults_with 134217728)" = 0 ] || fail "with 128 MiB: $(refaults_with 134217728) refaults"
	wait_for 3 top_tells_what_is_in_use ||
		fail "top does not say what is in use: $(timeout 10 "$GUESTMM" top "$TMPDIR/socket")"
	quit
	"$GUESTMM" run --working-set off --stats "$WORK/stats" hello >"$WORK/out" || fail "off: it fails"
	grep -q '"working_set":{"on":false,"bytes":0,' "$WORK/stats" || fail "off: it is watched"
}

# Starts a guest that computes, with faults served as the options say.
start_placed()
{
	run_controlled -m 64M "$@" touch --bytes 1M --passes 1000000000
	wait_for 10 is_placed || fail "nothing is placed: $(placed)"
}

placed()
{
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" stats | grep -o '"fault_cpu":{[^}]*}'
}

is_placed()
{
	placed | grep -q '"choice":"[a-z]*"' && [ "$(number run_ns)" -gt 0 ]
}

# Threads of guestmm and of the guest (the kernel has some in this process, too) that may run on one
# CPU alone, which the pattern matches.
n_threads_on()
{
	grep -lE '^(guestmm|vcpu-0)$' /proc/$pid/task/*/comm | sed 's/comm$/status/' | xargs cat |
		grep -c "^Cpus_allowed_list:[[:space:]]*$1\$"
}

need_two_cpus()
{
	[ "$(nproc)" -ge 2 ] || skip "there is one CPU only"
}

# The first CPU that this process may have.
first_cpu()
{
	grep '^Cpus_allowed_list:' /proc/self/status | sed 's/[^0-9]*\([0-9]*\).*/\1/'
}

test_faults_on_a_cpu()
{
	need_two_cpus
	cpu=$(first_cpu)
	start_placed --fault-cpu "$cpu"
	placed | grep -q "\"choice\":\"cpu\",\"cpu\":$cpu,\"same_ns\":0," || fail "$(placed)"
	wait_for 5 [ "$(n_threads_on "$cpu")" = 1 ] || fail "$(n_threads_on "$cpu") threads are on CPU $cpu"
	quit
}

test_faults_on_the_same_cpu()
{
	need_two_cpus
	cpu=$(first_cpu)
	start_placed --fault-cpu same --pin "$cpu"
	placed | grep -q "\"choice\":\"same\",\"cpu\":$cpu," || fail "$(placed)"
	[ "$(n_threads_on "$cpu")" = 2 ] || fail "$(n_threads_on "$cpu") threads are on CPU $cpu"
	quit
}

thread_ticks() { cat /proc/$pid/task/*/stat | awk '{ print $1, $14 + $15 }'; }

# Threads that were busy in the last two seconds, a tenth of the time at least. Nothing is to be served:
# two are busy where one polls.
n_busy()
{
	local before
	before=$(thread_ticks)
	sleep 2
	{ echo "$before"; thread_ticks; } |
		awk '$1 in before && $2 - before[$1] > 20 { n++ } { before[$1] = $2 } END { print n + 0 }'
}

two_are_busy()
{
	[ "$(n_busy)" -ge 2 ]
}

test_faults_by_polling()
{
	need_two_cpus
	start_placed --fault-cpu spin
	placed | grep -q '"choice":"spin","cpu":-1,' || fail "$(placed)"
	wait_for 3 two_are_busy || fail "$(n_busy) threads are busy: nobody polls"
	quit
}

# Measured, told, and the faster one taken; never polling.
test_faults_where_they_are_fastest()
{
	need_two_cpus
	start_placed --fault-cpu auto
	same=$(number same_ns) other=$(number other_ns)
	[ "$same" -gt 1000 ] && [ "$other" -gt 1000 ] && [ "$(number spin_ns)" -gt 1000 ] ||
		fail "not measured: $(placed)"
	want=any n=0
	[ "$same" -le "$other" ] && want=same n=2
	placed | grep -q "\"choice\":\"$want\"" || fail "the slower one was taken: $(placed)"
	[ "$(n_threads_on '[0-9]*')" = $n ] ||
		fail "$want: threads are pinned otherwise"
	[ "$(n_busy)" -le 1 ] || fail "$(n_busy) threads are busy"
	quit
	"$GUESTMM" run --pin off --stats "$WORK/stats" hello >"$WORK/out" || fail "--pin off: it fails"
	grep -q '"fault_cpu":{"choice":"any","cpu":-1,"same_ns":0,' "$WORK/stats" ||
		fail "--pin off: it was measured all the same"
}

resident_within()
{
	[ "$(number resident_bytes)" -le "$1" ]
}

# The limit goes down while the guest runs, and resident memory follows.
test_lower_limit()
{
	start_swapping
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" limit 24M || fail "a lower limit was refused"
	wait_for 20 resident_within 25165824 || fail "resident memory stays at $(number resident_bytes)"
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" limit 96M || fail "a higher limit was refused"
	quit
}

ballooned()
{
	[ "$(number ballooned_bytes)" = "$1" ]
}

# The bundled guest gives up what it is asked for, and takes it back.
test_balloon()
{
	start_swapping
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" balloon 32M || fail "the balloon was refused"
	wait_for 20 ballooned 33554432 || fail "the balloon holds $(number ballooned_bytes)"
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" balloon 0 || fail "no deflation"
	wait_for 20 ballooned 0 || fail "the balloon still holds $(number ballooned_bytes)"
	quit
}

thrashing()
{
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" stats | grep -q "\"thrashing\":$1"
}

# Where reclaim and the guest have one CPU for both, the guest waits for that more than for memory: 0.2
# to 0.5 of the time, seen on emulated hosts, and 0.4 make the verdict.
wait_for_thrashing()
{
	wait_for 60 thrashing true && return
	[ "$(nproc)" -ge 2 ] || [ "$(number stalled_permille)" -ge 400 ] || skip "there is one CPU only"
	fail "it is not thrashing: of 1000 s it waits $(number stalled_permille)"
}

# Twice its limit in turns: thrashing, and said so once; with all that it needs it ends.
test_thrashing()
{
	start_swapping
	wait_for_thrashing
	timeout 10 "$GUESTMM" top "$TMPDIR/socket" >"$WORK/top" || fail "no snapshot"
	grep -Eq '^THRASHING  waits [0-9]+ %' "$WORK/top" || fail "top does not tell: $(cat "$WORK/top")"
	wait_for 5 grep -Eq 'thrashing: in the last [0-9]+ s the guest waited for memory [0-9]+ % of the time; [0-9]+ pages' \
		"$WORK/err" || fail "it is not said"
	timeout 10 "$GUESTMM" ctl "$TMPDIR/socket" limit 160M || fail "the limit cannot be raised"
	wait_for 60 thrashing false || fail "it is thrashing still"
	quit
	[ "$(grep -c 'thrashing: in the last' "$WORK/err")" = 1 ] || fail "said more than once"
}

test_thrashing_in_silence()
{
	need_kvm
	"$GUESTMM" run -q -m 192M -l 48M --summary --control "$TMPDIR/socket" touch --bytes 96M \
		--passes 1000000 --order rand >"$WORK/out" 2>"$WORK/err" &
	pid=$!
	trap 'kill -9 $pid 2>/dev/null; cleanup' EXIT
	wait_for_thrashing
	sleep 3
	[ -s "$WORK/err" ] && fail "--quiet is not"
	quit
	said '^  thrashing  .*it was thrashing for [0-9]+ s'
}

main "$@"
