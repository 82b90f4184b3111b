# What the tests that run guestmm share. A test file defines functions test_NAME and ends with
# `main "$@"`; CMake makes one test of each function: FILE.sh NAME.
#
# Environment: GUESTMM, PROBE (the probe kernel's ELF file). Exit status: 0 passed, 77 skipped.
set -u

WORK=
SLOWER=${SLOWER:-1} # how much more time to allow, on hosts where everything takes longer

cleanup()
{
	if [ -n "$WORK" ]; then
		rm -rf "$WORK"
	fi
}

fail()
{
	printf 'FAILED: %s\n' "$*"
	if [ -n "$WORK" ] && [ -s "$WORK/err" ]; then
		printf -- '--- standard error:\n'
		head -c 4000 "$WORK/err"
	fi
	exit 1
}

skip()
{
	printf 'skipped: %s\n' "$*"
	exit 77
}

need_kvm()
{
	[ -e /dev/kvm ] || skip "there is no /dev/kvm"
	[ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no permission to open /dev/kvm"
}

need_huge_pages()
{
	grep -Eqs '\[(always|madvise)\]' /sys/kernel/mm/transparent_hugepage/enabled ||
		skip "this host gives no huge pages"
}

need_root()
{
	[ "$(id -u)" = 0 ] || skip "needs root"
}

# expect STATUS COMMAND...: runs it within $SECONDS_MAX (60 s) times $SLOWER, output in $WORK/out, $WORK/err.
expect()
{
	local want=$1 got
	shift
	timeout -k 5 $((SLOWER * ${SECONDS_MAX:-60})) "$@" >"$WORK/out" 2>"$WORK/err" </dev/null
	got=$?
	[ "$got" = "$want" ] || fail "$* ended with status $got, expected $want"
}

# stat_of KEY [OBJECT]: an integer of the statistics, of an object in them where one is named.
stat_of()
{
	grep -Eo "\"${2:-schema}\":[{\"].*" "$WORK/stats" | grep -Eo "\"$1\":[0-9]+" | head -n 1 |
		grep -Eo '[0-9]+$'
}

# swaps OPTION... PROGRAM ARG...: it ends well, having swapped; frames, process and bookkeeping stay
# within what is promised.
swaps()
{
	expect 0 "$GUESTMM" run --stats "$WORK/stats" "$@"
	grep -q ' ok$' "$WORK/out" || fail "the program did not end well: $(tail -n 1 "$WORK/out")"
	[ "$(stat_of written reclaim)" -gt 0 ] || fail "nothing was written to swap"
	[ "$(stat_of swap_in faults)" -gt 0 ] || fail "nothing came back from swap"
	[ "$(stat_of resident_peak_bytes)" -le "$(stat_of limit_bytes)" ] ||
		fail "the limit was exceeded: $(stat_of resident_peak_bytes)"
	[ "$(stat_of rss_peak_bytes process)" -le $(($(stat_of limit_bytes) + (${EXCESS_MIB:-24} << 20) +
		$(stat_of metadata_bytes process))) ] ||
		fail "the process used too much: $(stat_of rss_peak_bytes process)"
}

# Runs the probe kernel: probe STATUS [OPTION...] -- CASE [ARG...]
probe()
{
	local want=$1 options=()
	shift
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	expect "$want" "$GUESTMM" run --kernel "$PROBE" "${options[@]}" "$@"
}

said()
{
	grep -Eq -- "$1" "$WORK/err" || fail "standard error lacks: $1"
}

output_is()
{
	printf '%b' "$1" | cmp - "$WORK/out" || fail "standard output is not: $1"
}

# wait_for SECONDS COMMAND...: until it succeeds, for $SLOWER times as long at most.
wait_for()
{
	local end=$((SECONDS + SLOWER * $1 + 1))
	shift
	while ! "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

ended()
{
	! kill -0 "$1" 2>/dev/null
}

# run_controlled OPTION... PROGRAM ARG...: a guest with a control socket, in the background: $pid.
run_controlled()
{
	need_kvm
	"$GUESTMM" run --control "$TMPDIR/socket" "$@" >"$WORK/out" 2>"$WORK/err" </dev/null &
	pid=$!
	trap 'kill -9 $pid 2>/dev/null; cleanup' EXIT
	wait_for 10 test -S "$TMPDIR/socket" || fail "there is no control socket"
}

ctl()
{
	timeout 20 "$GUESTMM" ctl "$TMPDIR/socket" "$@"
}

# The number that its statistics have under a key, the first of that name.
number()
{
	ctl stats | grep -o "\"$1\":[0-9]*" | head -n 1 | tr -dc 0-9
}

ballooned()
{
	[ "$(number ballooned_bytes)" = "$1" ]
}

quit()
{
	ctl quit || fail "quit was refused"
	wait_for 10 ended $pid || fail "it does not quit"
}

main()
{
	declare -F "test_$1" >/dev/null || fail "there is no test $1"
	WORK=$(mktemp -d) || exit 1
	trap cleanup EXIT
	TMPDIR=$WORK/tmp
	export TMPDIR
	mkdir "$TMPDIR"
	"test_$1"
}
