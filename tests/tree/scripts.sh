#!/bin/bash
# The scripts are clean by shellcheck.
. tests/tree/common.sh
command -v shellcheck >/dev/null || skip "no shellcheck"

mapfile -t scripts < <(grep -rlE '^#!.*(bash|/sh)$' .ci tools tests)
[ ${#scripts[@]} -gt 3 ] || fail "only ${#scripts[@]} scripts found"
shellcheck -x -S warning -e SC1091,SC2217 "${scripts[@]}"
echo "${#scripts[@]} scripts"
