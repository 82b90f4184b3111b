#!/bin/bash
# What one test came to on a nested host: result.sh RESULTS-FOLDER NAME
if [ -e "$1/skipped" ] && [ ! -e "$1/list" ]; then
	echo "skipped: $(cat "$1/skipped")"
	exit 77
fi
status=$(awk -v name="$2" '$1 == name { print $2 }' "$1/list" 2>/dev/null)
if [ -z "$status" ]; then
	echo "FAILED: there is no result of $2 in $1"
	exit 1
fi
if [ ! -f "$1/tests/$2" ]; then
	echo "FAILED: the output of $2 is not in $1"
	exit 1
fi
cat "$1/tests/$2"
exit "$status"
