#!/bin/bash
# What the programs print, against other tools and against themselves.
# usage: agree.sh PROGRAMS_ELF
set -uo pipefail
programs=$1
ulimit -c 0 # crashes on purpose leave nothing behind
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

check() { # WHAT EXPECTED GOT
	[ "$2" = "$3" ] && return
	echo "$1: expected '$2', got '$3'"
	failed=1
}

status() { # STATUS ARG...: the exit status of a program
	local expected=$1
	shift
	"$programs" "$@" >"$folder/out" 2>"$folder/err"
	check "exit status of $*" "$expected" "$?"
}

# words: against tr, sort and uniq.
cat "$0" "$0" "$programs" >"$folder/text"
LC_ALL=C tr -c 'A-Za-z0-9_\200-\377' '\n' <"$folder/text" | LC_ALL=C grep -av '^$' >"$folder/words"
LC_ALL=C sort "$folder/words" | LC_ALL=C uniq -c | LC_ALL=C sort -k1,1nr -s | head -10 |
	LC_ALL=C sed 's/^ *//' >"$folder/expected"
"$programs" words --file "$folder/text" >"$folder/out"
check "words: status" 0 $?
head -n -1 "$folder/out" | LC_ALL=C sed 's/^ *//' >"$folder/top"
cmp "$folder/expected" "$folder/top" || failed=1
last=$(tail -1 "$folder/out")
check "words: sums" "words: words=$(wc -l <"$folder/words") distinct=$(LC_ALL=C sort -u "$folder/words" | wc -l)" \
	"${last%% checksum=*}"

# malloc: a seed's checksum is its own, and always the same.
sum() { "$programs" malloc --bytes 16M --ops 5000 --seed "$1" | grep -o 'checksum=[0-9a-f]*'; }
check "malloc: same seed" "$(sum 5)" "$(sum 5)"
[ "$(sum 5)" != "$(sum 6)" ] || check "malloc: other seed" "another checksum" "the same"

# What cannot be done is told, and so is wrong usage.
status 64 nosuch
status 64 touch --bytes 12Q
status 64 touch --bytes -1
status 64 touch --bytes
status 64 touch --pages 3
status 64 touch --order stride=0
status 64 zipf --theta x
status 64 words
status 1 words --file "$folder/missing"
status 1 balloon --bytes 4M
status 139 crash
status 139 crash --write --address 0x10
[ $failed = 0 ] && echo "all agree"
exit $failed
