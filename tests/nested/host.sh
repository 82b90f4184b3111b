#!/bin/bash
# Boots a nested host and runs a list of tests on it: host.sh RESULTS-FOLDER tools/nested ARG...
# A success is that each test has a result, whatever that is: result.sh tells them, one by one.
results=$1
shift
status=0
exec 5>"$results.lock"
flock -n 5 || {
	echo "FAILED: another $0 puts its results into $results"
	exit 125
}
rm -f "$results/list" "$results/skipped" # an earlier run's
tied=()
! setpriv --pdeathsig TERM true 2>/dev/null || tied=(setpriv --pdeathsig TERM)
"${tied[@]}" "$@" --results "$results" 5>&- &
host=$!
trap 'kill -TERM $host 2>/dev/null; wait $host; exit 143' TERM INT HUP
wait $host || status=$?
[ "$status" != 1 ] || [ ! -s "$results/list" ] || status=0
exit "$status"
