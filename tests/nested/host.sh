#!/bin/bash
# Boots a nested host and runs a list of tests on it: host.sh RESULTS-FOLDER tools/nested ARG...
# A success is that each test has a result, whatever that is: result.sh tells them, one by one.
results=$1
shift
status=0
rm -f "$results/list" "$results/skipped" # an earlier run's
"$@" --results "$results" &
host=$!
trap 'kill -TERM $host 2>/dev/null; wait $host; exit 143' TERM INT HUP
wait $host || status=$?
[ "$status" != 1 ] || [ ! -s "$results/list" ] || status=0
exit "$status"
