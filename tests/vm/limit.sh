#!/bin/bash
# Guests bigger than what they may use: the limit holds, and no byte is lost.
. "$(dirname "$0")/lib.sh"
need_kvm

test_touch()
{
	swaps -m 64M -l 16M touch --bytes 32M --passes 2 --order rand
}

test_engine_copy()
{
	swaps --engine copy -m 64M -l 16M touch --bytes 32M --passes 2 --order rand
}

test_malloc()
{
	swaps -m 64M -l 16M malloc --bytes 24M --ops 5000 --seed 7
}

test_two_cpus()
{
	swaps -c 2 -m 64M -l 16M malloc --bytes 24M --ops 5000 --seed 7
}

test_above_the_hole()
{
	swaps -m 8G -l 32M touch --bytes 48M --passes 2 --order rand
}

test_stores()
{
	swaps -s tier:ram:64M+file -m 64M -l 16M touch --bytes 32M --passes 2 --order rand
	swaps -s tier:ram:4M+file -m 64M -l 16M touch --bytes 32M --passes 2 --order rand
}

# Runs a guest that swaps without end, and copies its swap file while it does: $WORK/swap.
# look_into_swap OPTION...; leaves the guest running as $pid, its file's descriptor as $swap_fd.
look_into_swap()
{
	"$GUESTMM" run -s file -m 64M -l 16M "$@" touch --bytes 40M --passes 2000 --order rand \
		>"$WORK/out" 2>"$WORK/err" </dev/null &
	pid=$!
	wait_for 20 swap_holds 2048 || fail "nothing was swapped"
	cp --sparse=always "$swap_fd" "$WORK/swap"
}

# The guest's swap file, the one without a name, has so many KiB.
swap_holds()
{
	local fd
	for fd in "/proc/$pid/fd"/*; do
		case $(readlink "$fd") in
		"$TMPDIR"/*)
			swap_fd=$fd
			[ $(($(stat -L -c %b "$fd") / 2)) -ge "$1" ]
			return
			;;
		esac
	done
	return 1
}

# What the file has, in percent of that as gzip makes it.
swap_shrinks_to()
{
	echo $(($(gzip -1 -c "$WORK/swap" | wc -c) * 100 / ($(stat -c %b "$WORK/swap") * 512)))
}

test_swap_encrypt()
{
	swaps --swap-encrypt -s file -m 64M -l 16M touch --bytes 32M --passes 2 --order rand
	grep -q '"encrypted":true' "$WORK/stats" || fail "it does not say that swap is encrypted"
	swaps --swap-encrypt -s tier:ram:4M+file -m 64M -l 16M touch --bytes 32M --passes 2 --order rand
	swaps -s file -m 64M -l 16M touch --bytes 32M --passes 2 --order rand
	grep -q '"encrypted":false' "$WORK/stats" || fail "it says that swap is encrypted"
	# The pages of this guest are one word again and again. Encrypted they are noise.
	look_into_swap
	kill -9 $pid
	[ "$(swap_shrinks_to)" -le 20 ] || fail "plain swap is $(swap_shrinks_to) % noise"
	look_into_swap --swap-encrypt
	kill -9 $pid
	[ "$(swap_shrinks_to)" -ge 98 ] || fail "encrypted swap is $(swap_shrinks_to) % noise"
}

# A page that somebody changed in the file is lost, and never seen.
test_swap_changed()
{
	look_into_swap --swap-encrypt
	dd if=/dev/urandom of="$swap_fd" bs=1M count=40 conv=notrunc,fsync 2>/dev/null
	wait_for 20 grep -q 'is lost: it could not be read back from swap' "$WORK/err" ||
		fail "nothing was noticed"
	wait_for 20 ended $pid || kill -9 $pid
	grep -q ' ok$' "$WORK/out" && fail "the guest ended well"
	return 0
}

# Swap fills up, nobody can help: the guest waits, then ends with 125, and it is said. At random it
# meets pages that were filled beside others and are zero still: that they go is no getting on.
test_swap_full()
{
	expect 125 "$GUESTMM" run -s "file:$WORK/swap,size=1M" -m 128M -l 16M touch --bytes 64M \
		--passes 1 --order rand
	said 'swap takes no more pages'
	said 'no memory for 30 seconds'
}

# Pages that do not shrink are refused by `ram', one by one: the guest waits, and goes on when it is
# helped.
test_swap_refuses()
{
	run_controlled -s ram:64M -m 64M -l 8M malloc --bytes 24M --ops 5000
	wait_for 40 grep -q 'they do not shrink' "$WORK/err" || fail "swap took them all"
	sleep 1
	ended $pid && fail "it did not wait"
	ctl limit 64M || fail "the limit was refused"
	wait $pid || fail "the guest did not end well"
	grep -q '^malloc: .*wrong=0 ok$' "$WORK/out" || fail "$(cat "$WORK/out")"
}

# The disk under the swap file fills up in mid-run: nothing is lost, the guest waits, and goes on once
# there is room.
test_disk_fills_up()
{
	need_root
	unshare -m true 2>/dev/null || skip "no mount namespaces"
	mkdir "$WORK/disk"
	export WORK GUESTMM
	unshare -m bash -s <<-'EOF' || fail "the guest did not end well"
		mount -t tmpfs -o size=8m none "$WORK/disk" || exit 2
		"$GUESTMM" run -s "file:$WORK/disk/swap,size=64M" -m 64M -l 8M malloc --bytes 24M \
			--ops 5000 >"$WORK/out" 2>"$WORK/err" </dev/null &
		for ((i = 0; i < 400; i++)); do
			grep -q 'No space left' "$WORK/err" && break
			sleep 0.1
		done
		sleep 0.5
		kill -0 $! || exit 3
		mount -o remount,size=64m "$WORK/disk"
		wait $!
	EOF
	said 'no more pages \(No space left on device\)'
	grep -q '^malloc: .*wrong=0 ok$' "$WORK/out" || fail "$(cat "$WORK/out")"
}

# Killed while it waits for memory that does not come, it is gone all the same.
test_swap_full_and_killed()
{
	"$GUESTMM" run -s "file:$WORK/swap,size=1M" -m 64M -l 8M touch --bytes 32M --order seq \
		>"$WORK/out" 2>"$WORK/err" </dev/null &
	pid=$!
	wait_for 20 grep -q 'no more pages' "$WORK/err" || fail "swap did not fill up"
	sleep 2
	kill -9 $pid
	wait_for 10 ended $pid || fail "it cannot be killed"
}

# Frames of 2 MiB: how many, by --huge. A host without them has none with any.
huge_filled()
{
	expect 0 "$GUESTMM" run --stats "$WORK/stats" "$@" touch --bytes 96M --passes 2
	n_filled=$(stat_of filled huge)
}

test_huge_frames()
{
	need_huge_pages
	huge_filled -m 256M -l 160M --huge never
	[ "$n_filled" = 0 ] || fail "--huge never: $n_filled blocks of 2 MiB"
	huge_filled -m 256M -l 160M --engine copy
	[ "$n_filled" = 0 ] || fail "--engine copy: $n_filled blocks of 2 MiB"
	"$GUESTMM" check-host | grep -q '^ok *engine move' || skip "no move engine on this host"
	huge_filled -m 256M -l 160M --engine move
	[ "$n_filled" -ge 20 ] || fail "only $n_filled blocks of 2 MiB for 96 MiB in order"
	swaps --engine move --huge always -m 256M -l 64M touch --bytes 128M --passes 2
}

main "$@"
