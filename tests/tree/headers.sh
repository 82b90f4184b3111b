#!/bin/bash
# Each public header compiles alone, as C11 and as C++, without a warning.
. tests/tree/common.sh

n=0
for path in include/guestmm/*.h; do
	header=guestmm/$(basename "$path")
	echo "#include <$header>" >"$work/alone.c"
	echo "int main(void) { return 0; }" >>"$work/alone.c"
	cp "$work/alone.c" "$work/alone.cc"
	"$CC" -std=c11 -Wall -Wextra -pedantic -Werror -Iinclude -fsyntax-only "$work/alone.c" ||
		fail "$header as C11"
	"$CXX" -std=c++17 -Wall -Wextra -pedantic -Werror -Iinclude -fsyntax-only "$work/alone.cc" ||
		fail "$header as C++17"
	n=$((n + 1))
done
[ $n -gt 0 ] || fail "no public header found"
echo "$n headers"
