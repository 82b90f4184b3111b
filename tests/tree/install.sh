#!/bin/bash
# What is installed can be used: by pkg-config and by find_package, shared and static, also
# after the whole prefix was moved.
. tests/tree/common.sh
[ -z "${SANITIZE-}" ] || skip "a library with sanitizers is not for others to link"

"$CMAKE" --install "$BUILD" --prefix "$work/first" >"$work/log" 2>&1 || {
	cat "$work/log"
	fail "install"
}
mv "$work/first" "$work/prefix"
pc=$(find "$work/prefix" -name guestmm.pc)
[ -n "$pc" ] || fail "no guestmm.pc"
export PKG_CONFIG_PATH=${pc%/*}
lib=${pc%/pkgconfig/guestmm.pc}

cat >"$work/consumer.c" <<'END'
#include <guestmm/guestmm.h>
#include <stdio.h>

int main(void)
{
	struct gmm_pool_config config = {sizeof(config), 16 << 20};
	struct gmm_pool *pool;

	if (gmm_pool_new(&config, &pool))
		return 1;
	gmm_pool_free(pool);
	return puts(gmm_version()) < 0;
}
END
version=$(pkg-config --modversion guestmm)

check() {
	local said
	said=$(LD_LIBRARY_PATH=$lib "$2") || fail "$1: does not run"
	[ "$said" = "$version" ] || fail "$1: says '$said', not '$version'"
}

# shellcheck disable=SC2046
"$CC" "$work/consumer.c" -o "$work/by-pc" $(pkg-config --cflags --libs guestmm) || fail "pkg-config, shared"
check "pkg-config, shared" "$work/by-pc"
cat >"$work/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.16)
project(consumer C)
find_package(guestmm 0.1 REQUIRED)
add_executable(shared consumer.c)
target_link_libraries(shared PRIVATE guestmm::guestmm)
add_executable(static consumer.c)
target_link_libraries(static PRIVATE guestmm::static)
END
if ! { "$CMAKE" -S "$work" -B "$work/by-cmake" -DCMAKE_C_COMPILER="$CC" -DCMAKE_PREFIX_PATH="$work/prefix" &&
	"$CMAKE" --build "$work/by-cmake"; } >"$work/log" 2>&1; then
	cat "$work/log"
	fail "find_package"
fi
check "find_package, shared" "$work/by-cmake/shared"
check "find_package, static" "$work/by-cmake/static"

# Without the shared library the linker takes the static one.
rm "$lib"/libguestmm.so*
# shellcheck disable=SC2046
"$CC" "$work/consumer.c" -o "$work/by-pc-static" $(pkg-config --static --cflags --libs guestmm) ||
	fail "pkg-config, static"
check "pkg-config, static" "$work/by-pc-static"

for page in man1/guestmm.1 man3/guestmm.3; do
	[ -s "$work/prefix/share/man/$page" ] || fail "no man page $page"
done
if [ -n "${GUESTMM-}" ]; then
	"$work/prefix/bin/guestmm" --version | grep -qF "$version" || fail "the installed guestmm does not run"
fi
