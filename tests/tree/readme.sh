#!/bin/bash
# The README's embedding example compiles without a warning, and does what it says.
. tests/tree/common.sh
[ -z "${SANITIZE-}" ] || skip "links the library as an embedder does, without sanitizers"

awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' README.md >"$work/example.c"
n=$(grep -c . "$work/example.c") || fail "no example in README.md"
[ "$n" -le 40 ] || fail "the example has $n lines, and is no longer short"
"$CC" -std=c11 -Wall -Wextra -pedantic -Werror -Iinclude "$work/example.c" -o "$work/example" \
	-L"$BUILD/vmm/mm" -lguestmm || fail "the example does not compile"
status=0
said=$(LD_LIBRARY_PATH=$BUILD/vmm/mm timeout 60 "$work/example") || status=$?
echo "$said"
if [ $status -eq 1 ] && [ -n "${GUESTMM-}" ] && ! "$GUESTMM" check-host >"$work/host"; then
	grep -q 'MISSING  userfaultfd' "$work/host" && skip "userfaultfd is not allowed here"
fi
[ $status -eq 0 ] || fail "the example ends with status $status"
# What the README shows as its output is its output, numbers apart.
shape() { sed 's/[0-9][0-9]*/N/g'; }
awk '/^```text example$/ { on = 1; next } /^```$/ { on = 0 } on' README.md >"$work/shown"
diff <(shape <"$work/shown") <(echo "$said" | shape) || fail "README.md shows another output"
