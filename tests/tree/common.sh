# What the tree's tests share. Sourced at the top of the tree; each gets a folder $work of its own.
# shellcheck shell=bash
set -euo pipefail

: "${BUILD:?run by ctest}" "${CC:=cc}" "${CXX:=c++}" "${CMAKE:=cmake}"
work=$(mktemp -d "${TMPDIR:-/tmp}/guestmm-tree-XXXXXX")
trap 'rm -rf "$work"' EXIT

skip() {
	echo "skipped: $*"
	exit 77
}

fail() {
	echo "failed: $*" >&2
	exit 1
}
