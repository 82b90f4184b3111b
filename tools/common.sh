# What the tools share. Sourced, not run; the sourcing script's `tool` is its name.
# shellcheck shell=bash disable=SC2154

# A path that the caller gave, seen from $caller, the folder where he is. Links stay links.
from_caller() { realpath -ms -- "$([ "${1:0:1}" = / ] || printf %s/ "$caller")$1"; }

# Sets build to a folder for builds that this user owns: build/ here where the tree is this user's,
# else one in the user's cache, so that root and users can take turns in one tree.
find_build_folder() {
	local owner key
	owner=$(stat -c %u build 2>/dev/null || stat -c %u .)
	if [ "$owner" = "$(id -u)" ] && mkdir -p build 2>/dev/null && [ -w build ]; then
		build=$PWD/build
		return
	fi
	key=$(printf %s "$PWD" | cksum | cut -d ' ' -f 1)
	build=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/guestmm/$key
	if ! mkdir -p "$build" 2>/dev/null; then
		build=${TMPDIR:-/tmp}/guestmm-$(id -u)-$key
		mkdir -p "$build"
	fi
}

# A folder configured from another tree, or by another CMake, is of no use: begin anew.
drop_foreign_cache() {
	local cache=$1/CMakeCache.txt
	[ -e "$cache" ] || return 0
	grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$cache" || rm -rf "$1"
}

# quietly LOG COMMAND...: keeps the output in LOG, shows its end where the command fails.
quietly() {
	local log=$1 status=0
	shift
	"$@" >"$log" 2>&1 || status=$?
	if [ $status -ne 0 ]; then
		echo "$tool: failed ($status): $*" >&2
		tail -n 60 "$log" >&2
		echo "$tool: all of it is in $log" >&2
	fi
	return $status
}

# The build folder below $build whose guestmm is the newest; nothing where there is none.
newest_build() {
	find "$build" -maxdepth 3 -path '*/vmm/guestmm' -printf '%T@ %p\n' 2>/dev/null | sort -rn |
		sed -n '1s,^[^ ]* \(.*\)/vmm/guestmm$,\1,p'
}

# Before a command: it ends with this script, however that ends (tied_to_any: with the process that
# starts it, whichever that is).
tied=() tied_to_any=()
if setpriv --pdeathsig KILL true 2>/dev/null; then
	tied_to_any=(setpriv --pdeathsig KILL)
	# shellcheck disable=SC2016 # $0 is the script, which may have ended before this
	tied=("${tied_to_any[@]}" sh -c '[ $PPID = "$0" ] && exec "$@"' $$)
fi
