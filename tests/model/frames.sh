#!/bin/bash
# Checks the Promela models of gmm_frames with spin: in every order of events nothing goes wrong; and
# each fault that the model can be given is found, so that it is known to look.
#
# Exit status: 0 passed, 1 failed, 77 skipped. At most a minute or so and 2 GiB.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${CC:=cc}"

skip() {
	echo "skipped: $*"
	exit 77
}

fail() {
	echo "failed: $*" >&2
	exit 1
}

command -v spin >/dev/null || skip "no spin"
command -v "$CC" >/dev/null || skip "no C compiler ($CC)"
work=$(mktemp -d "${TMPDIR:-/tmp}/guestmm-spin-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

# explore MODEL DEFINE...: every order of events; what the checker says is left in the file out.
# (To optimize the checker takes longer than it runs.)
explore() {
	local model=$1
	shift
	spin -a "$@" "$here/$model.pml" >out 2>&1 || { cat out; fail "spin does not take $model $*"; }
	"$CC" -O0 -w -DSAFETY -DCOLLAPSE -DMEMLIM=1900 -o pan pan.c
	timeout 300 ./pan -m20000 >out 2>&1 || { cat out; fail "the checker ended early: $model $*"; }
}

sound() {
	explore "$@"
	if ! grep -q 'errors: 0' out || grep -qE 'MEMLIM|depth too small|out of memory' out; then
		spin -t -p "$here/$1.pml" "${@:2}" 2>/dev/null | tail -n 60
		cat out
		fail "$*"
	fi
	echo "$*: $(sed -n 's/ *\([0-9]*\) states, stored.*/\1/p' out) states, nothing wrong"
}

faulty() {
	explore "$@"
	grep -q 'assertion violated' out || { cat out; fail "not found: $*"; }
	echo "$*: found ($(sed -n 's/pan:1: \(assertion violated.*\) (at.*/\1/p' out))"
}

two=(-DN_STEPS=3 -DN_FRAMES=2)
faulty frames_bundle "${two[@]}" -DBUG_MARK_IGNORED
faulty frames_bundle "${two[@]}" -DBUG_NOT_MARKED
faulty frames_bundle "${two[@]}" -DBUG_NOT_SWAPPED
faulty frames_bundle "${two[@]}" -DBUG_HIDDEN
faulty frames_bundle "${two[@]}" -DBUG_NAMED_STILL
sound frames_bundle "${two[@]}"
sound frames_bundle -DN_STEPS=3 -DN_FRAMES=3
sound frames_bundle -DN_STEPS=3 -DN_OTHER=1 -DWRONG

one=(-DN_VCPUS=1 -DN_STEPS=4)
faulty frames "${one[@]}" -DBUG_NOT_ATOMIC
faulty frames "${one[@]}" -DBUG_NOT_UNDONE
faulty frames "${one[@]}" -DBUG_NO_RELOOK
faulty frames "${one[@]}" -DBUG_STALE_KIND
faulty frames "${one[@]}" -DBUG_PUT_UNSETTLED
faulty frames "${one[@]}" -DBUG_LEAVE_UNSETTLED
faulty frames "${one[@]}" -DBUG_HINTS_BELIEVED -DUSED=7
sound frames "${one[@]}"
sound frames -DN_VCPUS=1 -DN_STEPS=3 -DN_WORDS=1 -DN_BITS=2
sound frames -DN_VCPUS=2 -DN_STEPS=2 -DUSED=7
