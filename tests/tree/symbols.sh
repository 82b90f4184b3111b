#!/bin/bash
# The shared library exports gmm_* and nothing else, all of it declared in a public header, and
# everything declared there is exported.
. tests/tree/common.sh

nm -D --defined-only --format=posix "$BUILD/vmm/mm/libguestmm.so" >"$work/nm" || fail "no shared library"
awk '$2 != "A" { sub(/@.*/, "", $1); print $1 }' "$work/nm" | sort -u >"$work/exported"
if grep -v '^gmm_' "$work/exported"; then
	fail "the above is exported and does not begin with gmm_"
fi
awk '/^GMM_API/ { on = 1 } on; /;/ { on = 0 }' include/guestmm/*.h | tr '\n' ' ' | tr ';' '\n' |
	grep -o 'gmm_[a-z0-9_]*(' | tr -d '(' | sort -u >"$work/declared"
[ -s "$work/declared" ] || fail "no declaration found"
if comm -13 "$work/declared" "$work/exported" | grep .; then
	fail "the above is exported but declared in no public header"
fi
if comm -23 "$work/declared" "$work/exported" | grep .; then
	fail "the above is declared in a public header but not exported"
fi
echo "$(wc -l <"$work/exported") functions"
