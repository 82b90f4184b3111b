#!/bin/bash
# Every benchmark that measures rows runs, and writes results that are whole. No times are judged.
#
# usage: smoke.sh FOLDER     where the programs are
set -euo pipefail
cd "$1"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
	echo "failed: $*"
	exit 1
}

n=0
while read -r program kind; do
	[ "$kind" = rows ] || continue
	status=0
	"./$program" --quick --json "$work/$program.json" >"$work/said" 2>&1 || status=$?
	if [ $status -eq 77 ]; then
		cat "$work/said"
		exit 77
	fi
	[ $status -eq 0 ] || fail "$program ends with status $status: $(cat "$work/said")"
	./bench_plot "$work/$program.json" "$work/$program.svg" >"$work/rows" ||
		fail "$program wrote no results, or bad ones"
	# Each row that it says it has is there, with ours, floor and ratio.
	while IFS=$'\t' read -r row _; do
		grep -q "^$row"$'\t' "$work/rows" || fail "$program: row $row is missing"
		n=$((n + 1))
	done < <("./$program" --list)
	grep -q '</svg>' "$work/$program.svg" || fail "$program: no picture"
done <programs
[ $n -ge 3 ] || fail "only $n rows"
# And the judge of that is no rubber stamp.
echo '{"schema":"guestmm-bench-1","rows":[{"row":1,"measure":"m","variant":"","metric":"p50"}]}' >"$work/bad.json"
! ./bench_plot "$work/bad.json" >/dev/null 2>&1 || fail "bench_plot takes a row without values"
echo "$n rows"
