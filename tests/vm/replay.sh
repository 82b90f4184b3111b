# Traces: of what a guest touches, of what a run saw, and what replaying them says.
. "$(dirname "$0")/lib.sh"

ZIPF=(zipf --bytes 32M --ops 120000 --theta 0.99 --writes 100 --seed 3)

# number KEY: the first integer under it in $WORK/json; of a policy's row where one is named.
number()
{
	grep -Eo "\"${2:-schema}\".*" "$WORK/json" | grep -Eo "\"$1\":[0-9]+" | head -n 1 |
		grep -Eo '[0-9]+$'
}

# near A B PERCENT: A is B, give or take so much.
near()
{
	local off=$(($1 > $2 ? $1 - $2 : $2 - $1))
	[ $((off * 100)) -le $(($2 * $3)) ]
}

references()
{
	need_kvm
	timeout 100 "$GUESTMM" run "${ZIPF[@]}" --references >"$WORK/refs" 2>"$WORK/err" ||
		fail "no references"
}

# A guest tells the same references as the same program outside.
test_references()
{
	references
	"$PROGRAMS" "${ZIPF[@]}" --references | cmp - "$WORK/refs" || fail "not the same outside"
	[ "$(stat -c %s "$WORK/refs")" = $((64 + 16 * (120000 + 8192))) ] || fail "not all of them"
	"$PROGRAMS" touch --bytes 8M --passes 3 --order rand --references >"$WORK/touch"
	expect 0 "$GUESTMM" replay -l 4M "$WORK/touch"
	grep -q '6144 touches, 2048 pages (8 MiB), limit 4 MiB' "$WORK/out" || fail "$(cat "$WORK/out")"
	"$GUESTMM" replay --json - <"$WORK/touch" >"$WORK/json" || fail "not from standard input"
	[ "$(number limit_bytes)" = $((4 << 20)) ] || fail "not half of it: $(cat "$WORK/json")"
}

# runs POLICY: pages that came back in a run, and rescues, by its trace and its statistics.
runs()
{
	SECONDS_MAX=200 expect 0 "$GUESTMM" run -m 128M -l 18M --policy "$1" --trace "$WORK/trace" \
		--stats "$WORK/stats" "${ZIPF[@]}"
	od -An -v -t u8 -w16 -j 64 "$WORK/trace" | awk '{ n[$2 % 256]++; pages[int($2 / 256)] }
		END { print n[2] + 0, n[3] + 0, n[4] + 0, n[5] + 0, n[6] + 0, length(pages) }' >"$WORK/kinds"
	read -r swap_in rescue prefetch ahead evict pages <"$WORK/kinds"
	[ "$swap_in" = "$(stat_of swap_in faults)" ] && [ "$rescue" = "$(stat_of rescue faults)" ] &&
		[ "$evict" = "$(stat_of evicted reclaim)" ] &&
		[ $((prefetch + ahead)) -ge "$(stat_of prefetched faults)" ] ||
		fail "$(cat "$WORK/kinds") are not what the statistics say: $(cat "$WORK/stats")"
	back=$((swap_in + prefetch))
}

# What the model says of the references is what the engine does, within a few percent: 4 and 5 % more
# came back by moving, 7 % by copying.
test_predicts()
{
	references
	for policy in heat clock; do
		runs $policy
		# The guest's kernel has pages, too.
		"$GUESTMM" replay -l $(((18 << 20) - (pages - 8192 << 12))) --json "$WORK/refs" >"$WORK/json" ||
			fail "no replay"
		predicted=$(number refaults $policy)
		printf '%s: %d pages came back, %d were predicted; %d rescues, %d were predicted\n' \
			$policy $back "$predicted" "$rescue" "$(number rescues $policy)"
		near $back "$predicted" 10 || fail "$policy: $back pages came back, not $predicted"
		near "$rescue" "$(number rescues $policy)" 30 ||
			fail "$policy: $rescue rescues, not $(number rescues $policy)"
	done
	# The run's own trace can be replayed, too; its limit is in it.
	expect 0 "$GUESTMM" replay "$WORK/trace"
	grep -q 'limit 18 MiB' "$WORK/out" || fail "the trace does not tell its limit"
	grep -q '^optimum .*1\.00' "$WORK/out" || fail "no optimum: $(cat "$WORK/out")"
}

# Where the trace cannot be written the run goes on, and says so at the end.
test_full_disk()
{
	need_kvm
	[ -e /dev/full ] || skip "there is no /dev/full"
	expect 125 "$GUESTMM" run --trace /dev/full hello
	said '/dev/full: No space left on device'
	expect 125 "$GUESTMM" run --trace "$WORK/no/such/folder" hello
	said 'no/such/folder: No such file or directory'
}

test_bad_traces()
{
	expect 125 "$GUESTMM" replay "$WORK/none"
	said 'none: No such file'
	expect 125 "$GUESTMM" replay /dev/null
	said 'no trace'
	printf 'gmmtrace\1\0\0\0\30\0\0\0' >"$WORK/other"
	head -c 48 /dev/zero >>"$WORK/other"
	expect 125 "$GUESTMM" replay "$WORK/other"
	said 'records of 24 bytes'
	expect 64 "$GUESTMM" replay
	expect 64 "$GUESTMM" replay a b
	expect 64 "$GUESTMM" replay -l 1M a
	said 'floor of 2048 KiB'
	expect 64 "$GUESTMM" replay --policy magic a
}

main "$@"
