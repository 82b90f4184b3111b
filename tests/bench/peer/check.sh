#!/bin/bash
# The comparison's table says what was recorded: runs that differ, fail or are missing are no success.
# The records are made up. Where it runs: tests/bench/peer.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
	echo "FAILED: $*"
	cat "$work/out"
	exit 1
}

# run SIDE CASE WALL-US FAULTS WRITTEN STATUS OUTPUT
run() {
	local faults=pgmajfault
	[ "$1" = qemu ] || faults=swap_in
	echo "run side=$1 case=$2 round=1 status=$6 wall_us=$3 disk_written_bytes=$5 $faults=$4 engine=move output=$7"
}

both() {
	echo "limits share_bytes=16777216 kernel=6.12 on=file"
	run qemu boot 300000 5 0 0 x
	run guestmm boot 100000 0 0 0 y
	run qemu zipf 2300000 1000 4194304 0 zipf_ok
	run guestmm zipf 1100000 "$1" "$2" "$3" "$4"
}

# table STATUS: of what comes in.
table() {
	local got=0
	awk -f table.awk -v json="$work/json" >"$work/out" || got=$?
	[ "$got" = "$1" ] || fail "status $got instead of $1"
}

said() { grep -Eq -- "$1" "$work/out" || fail "not said: $1"; }

both 600 2097152 0 zipf_ok | table 0 || exit 1
said '^ +faults that waited +1000 +600 +0\.60$'
said '^ +written to the disk +4\.0 MiB +2\.0 MiB +0\.50$'
said '^ +time, boot and end taken off +2\.00 s +1\.00 s +0\.50$'
said 'counts below kernel'
grep -q '"same_output":true,"kernel_swap":{"time_us":2000000,.*"waited":1000,' "$work/json" || fail "JSON: $(cat "$work/json")"

both 600 5242880 0 zipf_ok | table 0 || exit 1
said 'counts NOT below'
both 600 2097152 0 zipf_FAILED | table 1 || exit 1
said 'DIFFERS: outputs differ'
both 600 2097152 125 zipf_ok | table 1 || exit 1
said 'DIFFERS: guestmm ended with status 125'
table 1 </dev/null || exit 1
both 600 2097152 0 zipf_ok | grep -v 'guestmm case=zipf' | table 1 || exit 1
said 'DIFFERS: 1 runs of kernel swap, 0 of guestmm'
said 'counts NOT below'
both 600 2097152 0 zipf_ok | grep -v 'qemu case=zipf' | table 1 || exit 1
both 600 2097152 0 zipf_ok | grep -v 'case=boot' | table 1 || exit 1
both 600 2097152 0 zipf_ok | grep -v 'case=zipf' | table 1 || exit 1
both '' 2097152 0 zipf_ok | table 1 || exit 1
said 'figures or output are lost'
both 600 '' 0 zipf_ok | table 1 || exit 1
both 600 2097152 0 '' | sed 's/zipf_ok//' | table 1 || exit 1
{
	both 600 2097152 0 zipf_ok
	run qemu zipf 2300000 1000 4194304 0 zipf_ok
} | table 1 || exit 1
{
	both 600 2097152 0 zipf_ok
	echo "profile side=qemu case=zipf status=1"
} | table 1 || exit 1
