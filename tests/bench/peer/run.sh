#!/bin/bash
# guestmm against the kernel's own swap: the same guest kernel and program, with the same share of
# memory, in QEMU (-accel kvm) inside a memory cgroup with swap, and in guestmm with a file store, by
# turns on one host with nested paging (tools/nested). Counts come first: they do not drift, and the
# host is an emulator, which makes times on it comparable with each other at most.
#
# usage: tools/bench --peer kernel-swap [OPTION...]
#   --kernel VERSION   the host's: 6.12 (the default) or 6.1
#   --build DIR        whose guestmm; else one is built for release
#   --size MIB         what the program uses (64); its share is half of it
#   --rounds N         of each (3)
#   --case NAME        seq, rand or zipf; may be given again; all three where none is named
#   --on KIND          file: a file on ext4 (the default); device: the disk itself
#   --time SECONDS     for all of it (3600)
#   --json FILE        writes the results there too
#   --keep DIR         keeps there what the host recorded
#   --runs DIR         makes the table of what an earlier run kept in DIR, and runs nothing
#
# Exit status: 0 where all runs gave the same output; 1 where one did not; 77 where the machine
# lacks what this takes.
set -euo pipefail
caller=${CALLER-$PWD}
cd "$(dirname "$0")/../../.."
# shellcheck disable=SC2034
tool=tools/bench
# shellcheck source=tools/common.sh
. tools/common.sh
PATH=$PATH:/usr/sbin:/sbin # mke2fs

kernel=6.12 programs='' size=64 rounds=3 on=file seconds=3600 json='' keep='' runs='' cases=()

wrong_usage() {
	echo "tools/bench --peer kernel-swap: $1" >&2
	sed -n '/^# usage/,/^set/s/^# \{0,1\}//p' tests/bench/peer/run.sh >&2
	exit 64
}

number() { [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || wrong_usage "$1 takes a number, not '$2'"; }

# What each case runs, by its name. Sequential and random: pages written, pass after pass.
program_of() {
	case $1 in
	seq | rand) echo "touch --bytes ${size}M --passes 4 --order $1" ;;
	zipf) echo "zipf --bytes ${size}M --ops $((size * 2000)) --theta 0.99 --writes 50 --seed 3" ;;
	*) return 1 ;;
	esac
}

parse_arguments() {
	while [ $# -gt 0 ]; do
		case $1 in
		-h | --help) sed -n '/^# usage/,/^set/s/^# \{0,1\}//p' tests/bench/peer/run.sh && exit 0 ;;
		--kernel | --build | --size | --rounds | --case | --on | --time | --json | --keep | --runs)
			[ $# -gt 1 ] || wrong_usage "$1 lacks its value" ;;&
		--kernel) kernel=$2 ;;
		--build) programs=$(from_caller "$2") ;;
		--size) number "$1" "$2" && size=$2 ;;
		--rounds) number "$1" "$2" && rounds=$2 ;;
		--case) program_of "$2" >/dev/null || wrong_usage "no case $2" && cases+=("$2") ;;
		--on) [[ $2 =~ ^(file|device)$ ]] || wrong_usage "--on takes file or device" && on=$2 ;;
		--time) number "$1" "$2" && seconds=$2 ;;
		--json) json=$(from_caller "$2") ;;
		--keep) keep=$(from_caller "$2") && mkdir -p "$keep" ;;
		--runs) runs=$(from_caller "$2")/runs && [ -s "$runs" ] || wrong_usage "there are no runs in $2" ;;
		*) wrong_usage "unknown argument '$1'" ;;
		esac
		shift 2
	done
	[ ${#cases[@]} -gt 0 ] || cases=(seq rand zipf)
}

build_programs() {
	programs=$build/bench
	drop_foreign_cache "$programs"
	mkdir -p "$programs"
	echo "$tool: building in $programs" >&2
	quietly "$programs/configure.log" cmake -G Ninja -S . -B "$programs" -DCMAKE_BUILD_TYPE=Release \
		-DGUESTMM_TESTS=OFF -DGUESTMM_BENCH=ON
	quietly "$programs/build.log" cmake --build "$programs" --target guestmm guest.elf peer_where
}

compare() {
	local name words=() memory=$((size * 2 + 64)) results=$work/results status=0
	for name in "${cases[@]}"; do
		words+=("$name=$(program_of "$name")")
	done
	"${tied[@]}" tools/nested --kernel "$kernel" ${programs:+--build "$programs"} --time "$seconds" --icount --qemu --results "$results" \
		--memory $((memory * 2 + 900)) --swap-disk $((memory * 2 + 256)) --swap-disk $((memory * 2 + 256)) \
		--add "$(type -P mke2fs)" --add "$profiler" --add "$PWD/tests/bench/peer/inside.sh" -- \
		bash "$PWD/tests/bench/peer/inside.sh" "$guest" "$memory" $((size / 2)) "$rounds" "$on" \
		"$profiler" "${words[@]}" </dev/null >&2 &
	nested=$!
	trap 'kill -TERM $nested 2>/dev/null; wait $nested; exit 143' TERM INT HUP
	wait $nested || status=$?
	trap - TERM INT HUP
	[ $status = 0 ] || exit $status
	runs=$results/runs
}

# Where the time goes, by the profiler's places beside the runs.
show_places() {
	local name side title
	nm -n "$programs/vmm/guestmm" >"$work/symbols"
	for name in "${cases[@]}"; do
		echo
		echo "$name"
		for side in qemu guestmm; do
			[ -s "${runs%/*}/$name.$side.places" ] || continue
			title=$side
			[ $side = guestmm ] || title='kernel swap'
			awk -f tests/bench/peer/where.awk -v title="$title" "$work/symbols" "${runs%/*}/$name.$side.places"
		done
	done
}

main() {
	local status=0
	parse_arguments "$@"
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	find_build_folder
	[ -n "$programs" ] || build_programs
	[ -e "$programs/guest/kernel/guest.elf" ] || wrong_usage "there is no build of guestmm in '$programs'"
	guest=$(realpath "$programs/guest/kernel/guest.elf")
	profiler=$(realpath "$programs/tests/bench/peer/peer_where")
	if [ -z "$runs" ]; then
		type -P mke2fs >/dev/null || {
			echo "skipped: there is no mke2fs: apt-get install e2fsprogs"
			exit 77
		}
		compare
	fi
	[ -z "$keep" ] || cp -r "${runs%/*}/." "$keep/"
	awk -f tests/bench/peer/table.awk -v json="${json:-/dev/null}" "$runs" || status=1
	show_places
	return $status
}

main "$@"
