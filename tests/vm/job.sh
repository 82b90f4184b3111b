#!/bin/bash
# The main job at its full size: guests that need several times what they may use. Minutes, so only
# release builds have these tests.
. "$(dirname "$0")/lib.sh"
need_kvm
export SECONDS_MAX=500

# job OPTION... PROGRAM ARG...: swaps, and the bookkeeping takes at most 16 bytes a page.
job()
{
	swaps "$@"
	[ "$(stat_of metadata_bytes process)" -le $(($(stat_of memory_bytes) / 256)) ] ||
		fail "bookkeeping takes $(stat_of metadata_bytes process) bytes"
}

test_malloc()
{
	job -m 512M -l 128M malloc --bytes 384M --ops 200000 --seed 7
}

test_malloc_engine_copy()
{
	job -m 512M -l 128M --engine copy malloc --bytes 384M --ops 200000 --seed 7
}

test_malloc_two_cpus()
{
	job -m 512M -l 128M -c 2 malloc --bytes 384M --ops 200000 --seed 7
}

test_touch_above_the_hole()
{
	job -m 8G -l 64M touch --bytes 512M --passes 2 --order rand
}

# 100 MB of text out of what every Debian has: documents first, then the strings of programs, which
# make the table of words large. A system that has less says it again, and has words made up at the
# end.
make_text()
{
	local from text="$WORK/text" bytes=104857600
	for from in /usr/share/doc /usr/share/common-licenses /var/lib/dpkg/info /usr/share /usr/lib /bin; do
		find "$from" -type f -print0 2>/dev/null | LC_ALL=C sort -z | xargs -0 -r cat 2>/dev/null
	done | tr -c 'A-Za-z0-9_\n' '\n' | tr -s '\n' | head -c $bytes >"$text"
	[ -s "$text" ] || fail "no text was found"
	[ "$(stat -c %s "$text")" -lt $bytes ] || return 0
	seq 600000 | sed 's,^,made_up_,' >"$text.end"
	bytes=$((bytes - $(stat -c %s "$text.end")))
	while [ "$(stat -c %s "$text")" -lt $bytes ]; do
		cat "$text" "$text" | head -c $bytes >"$text.more"
		mv "$text.more" "$text"
	done
	cat "$text.end" >>"$text"
}

# The table alone takes 56 bytes or so for each distinct word, an entry and a string: more than the
# limit.
test_words()
{
	local distinct
	make_text
	timeout $((200 * SLOWER)) "$PROGRAMS" words --file "$WORK/text" >"$WORK/native" || fail "the native run failed"
	distinct=$(grep -Eo 'distinct=[0-9]+' "$WORK/native" | grep -Eo '[0-9]+')
	job -m 1G -l $((distinct * 48 / 4096 * 4))K --file "$WORK/text:/text" words --file /text
	cmp "$WORK/native" "$WORK/out" || fail "guest and host count differently"
}

main "$@"
