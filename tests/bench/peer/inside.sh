#!/bin/bash
# The part of the comparison with the kernel's swap that runs on the nested host: the same guest
# kernel and program, by turns in QEMU inside a memory cgroup with a swap file, and in guestmm with the
# same share and a store of the same kind on a disk of the same kind. See run.sh, which makes a table of
# what is written here: a line of key=value for each run, into $RESULTS/runs.
#
# usage: inside.sh GUEST-KERNEL MEMORY-MIB SHARE-MIB ROUNDS ON PROFILER CASE...
#   ON         file: swap file and store are files on ext4; device: they are the disks themselves
#   PROFILER   peer_where: one more run of each, not timed, tells where the time goes
#   CASE       NAME=PROGRAM ARG...
set -u
kernel=$1 memory=$2 share=$3 rounds=$4 on=$5 profiler=$6
shift 6
PATH=/usr/sbin:/sbin:$PATH # mke2fs, before that of busybox
groups=/sys/fs/cgroup
share_bytes=$((share << 20))

die() {
	echo "peer: $*" >&2
	exit 1
}

# ---- The host: two equal disks, cgroups ----

# disk NAME: the block device's name.
disk() {
	local d
	for d in /sys/block/nvme*; do
		[ "$(tr -d ' ' <"$d/device/serial")" != "$1" ] || {
			basename "$d"
			return
		}
	done
	die "there is no disk $1"
}

make_files() {
	local n
	for n in 0 1; do
		mke2fs -q -t ext4 "/dev/$(disk swap$n)" || die "no file system on a disk"
		mkdir -p "/mnt/$n"
		mount -t ext4 -o noatime "/dev/$(disk swap$n)" "/mnt/$n" || die "ext4 cannot be mounted"
	done
	dd if=/dev/zero of=/mnt/0/swap bs=1M count=$((2 * memory)) conv=fsync 2>/dev/null || die "no swap file"
	chmod 600 /mnt/0/swap
	swap=/mnt/0/swap store=/mnt/1/store
}

prepare() {
	mount -t cgroup2 cgroup2 $groups || die "there is no cgroup2"
	echo +memory >$groups/cgroup.subtree_control || die "cgroup2 has no memory controller here"
	swap=/dev/$(disk swap0) store=/dev/$(disk swap1)
	[ "$on" = device ] || make_files
	mkswap "$swap" >/dev/null || die "no swap on $swap"
	swapon "$swap" || die "no swap on $swap"
}

# ---- One run ----

# A fresh group, so that its counts begin at nothing: group NAME BYTES|max SWAP-BYTES|max
group() {
	local folder=$groups/$1
	for _ in 1 2 3 4 5 6 7 8 9; do # a child that has just ended may still be seen in it
		[ -d "$folder" ] || break
		rmdir "$folder" 2>/dev/null || sleep 0.2
	done
	mkdir "$folder"
	echo "$2" >"$folder/memory.max"
	echo "$3" >"$folder/memory.swap.max"
}

# in_group NAME COMMAND...: under the profiler, where $places is a file; that stays outside the group.
places=''
in_group() {
	local wrapper=()
	[ -z "$places" ] || wrapper=("$profiler" "$places")
	# shellcheck disable=SC2016
	"${wrapper[@]}" bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$groups/$1" "${@:2}" >/tmp/out 2>/tmp/err </dev/null
}

# The counts of a group, of its disk and of swap, as words that grow: counts NAME DISK
counts() {
	awk '$1 == "pgmajfault" || $1 == "pgfault" { print $1, $2 }' "$groups/$1/memory.stat"
	awk '$1 == "user_usec" || $1 == "system_usec" { print $1, $2 }' "$groups/$1/cpu.stat"
	[ ! -e "$groups/$1/memory.pressure" ] || sed -n 's/^some .*total=/stall_usec /p' "$groups/$1/memory.pressure"
	awk '$1 == "pswpin" || $1 == "pswpout" { print $1, $2 }' /proc/vmstat
	awk '{ print "disk_reads", $1; print "disk_read_bytes", $3 * 512; print "disk_read_ms", $4
		print "disk_writes", $5; print "disk_written_bytes", $7 * 512; print "disk_busy_ms", $10 }' "/sys/block/$2/stat"
}

# What grew between two files of counts.
grown() { awk 'NR == FNR { before[$1] = $2; next } { printf "%s=%.0f ", $1, $2 - before[$1] }' "$1" "$2"; }

now_us() { echo "${EPOCHREALTIME/./}"; }

# The keys of a program's last line that are the same wherever it runs.
stable() { tail -n 1 "$1" | tr -d '\r' | sed -E 's/(ns_per_(op|page)|minor|major)=[0-9]+ ?//g'; }

# How long the program says that it took: the last pass, all operations.
guest_ns() {
	tail -n 1 "$1" | tr -d '\r' | tr ' ' '\n' | awk -F= '{ v[$1] = $2 }
		END { printf "%.0f", v["ns_per_op"] ? v["ns_per_op"] * v["ops"] : v["ns_per_page"] * v["pages"] }'
}

# An integer of guestmm's statistics: stat_of KEY OBJECT
stat_of() {
	grep -Eo "\"$2\":[{\"].*" /tmp/stats | grep -Eo "\"$1\":[0-9]+" | head -n 1 | grep -Eo '[0-9]+$'
}

qemu_command() {
	command=(qemu-system-x86_64 -accel kvm -m "${memory}M" -nodefaults -display none -no-reboot -monitor none
		-serial file:/tmp/output -device "isa-debug-exit,iobase=0x501" -kernel "$kernel" -append "$*")
}

guestmm_command() {
	[ "$on" = device ] && size='' || size=,size=$((2 * memory))M
	command=(guestmm run --quiet --stats /tmp/stats -m "${memory}M" -l "${share}M" -s "file:$store$size"
		--kernel "$kernel" "$@")
}

# one SIDE CASE ROUND PROGRAM ARG...: runs it; what was seen goes into $RESULTS/runs.
one() {
	local side=$1 case=$2 round=$3 status=0 began wall used more=''
	shift 3
	"${side}_command" "$@"
	rm -f /tmp/output /tmp/stats
	if [ "$side" = qemu ]; then
		group qemu $qemu_limit max
		used=$(disk swap0)
	else
		group guestmm max 0
		used=$(disk swap1)
	fi
	counts "$side" "$used" >/tmp/before
	began=$(now_us)
	in_group "$side" "${command[@]}" || status=$?
	wall=$(($(now_us) - began))
	counts "$side" "$used" >/tmp/after
	if [ "$side" = qemu ]; then
		[ $((status & 1)) = 1 ] && status=$((status >> 1)) || status=125
	else
		mv /tmp/out /tmp/output
		more="swap_in=$(stat_of swap_in faults) rescue=$(stat_of rescue faults) prefetched=$(stat_of prefetched faults)"
		more+=" prefetch_used=$(stat_of prefetch_used faults) demand_zero=$(stat_of demand_zero faults)"
		more+=" resident_peak_bytes=$(grep -Eo '"resident_peak_bytes":[0-9]+' /tmp/stats | grep -Eo '[0-9]+$') evicted=$(stat_of evicted reclaim) clean=$(stat_of clean reclaim) written_pages=$(stat_of written reclaim)"
		more+=" store_written_bytes=$(stat_of written_bytes store) store_read_bytes=$(stat_of read_bytes store)"
		more+=" engine=$(sed 's/.*"engine":"\([a-z]*\)".*/\1/' /tmp/stats) stall_ns=$(stat_of some stall_ns)"
		more+=" p50_ns=$(stat_of p50_ns faults) p99_ns=$(stat_of p99_ns faults)"
	fi
	cp /tmp/output "$RESULTS/$case.$side.$round.output"
	if [ $status != 0 ]; then
		echo "peer: $side: $* ended with status $status:" >&2
		tail -n 5 /tmp/output /tmp/err >&2
	fi
	if [ -n "$places" ]; then
		echo "profile side=$side case=$case status=$status" >>"$RESULTS/runs"
		return 0
	fi
	echo "run side=$side case=$case round=$round status=$status wall_us=$wall guest_ns=$(guest_ns /tmp/output)" \
		"$(grown /tmp/before /tmp/after)peak_bytes=$(cat "$groups/$side/memory.peak") $more" \
		"output=$(stable /tmp/output | tr ' =' '_:')" | tee -a "$RESULTS/runs"
}

# ---- The limits: the same share for the guest ----

# A sample of QEMU's group while it runs: the guest's memory that is mapped, all that is charged.
sample() {
	local pid mapped
	pid=$(tail -n 1 $groups/qemu/cgroup.procs)
	mapped=$(awk -v kib=$((memory << 10)) '/^Size:/ { size = $2 } /^Rss:/ && size == kib { print $2 * 1024; exit }' \
		"/proc/$pid/smaps" 2>/dev/null)
	[ -z "$mapped" ] || echo "$mapped $(cat $groups/qemu/memory.current)"
}

# Runs a program in QEMU within $1 bytes, and finds what QEMU and the kernel on its behalf take
# beside the guest's memory: what is charged to the group less what is mapped of the guest's memory,
# when that is at its most. Sets guest_most and beside.
measure() {
	local limit=$1 mapped charged running
	shift
	qemu_command "$@"
	group qemu "$limit" max
	in_group qemu "${command[@]}" &
	running=$!
	guest_most=0
	while kill -0 $running 2>/dev/null; do
		sleep 0.02
		read -r mapped charged < <(sample) || continue
		if [ "$mapped" -gt $guest_most ]; then
			guest_most=$mapped
			beside=$((charged - mapped))
		fi
	done
	wait $running
	[ $guest_most -gt 0 ] || die "QEMU's own memory cannot be told from the guest's"
}

# The limit of QEMU's group with which the guest itself has its share, no less, as in guestmm. What QEMU
# takes for itself without a limit comes first; under the limit the kernel swaps some of that out, and the guest would
# get it: so the limit is lowered until the guest's memory is at the share.
find_limit() {
	measure max "$@"
	qemu_alone=$beside
	qemu_limit=$((share_bytes + beside))
	for _ in 1 2 3; do
		measure $qemu_limit "$@"
		echo "peer: within $qemu_limit bytes the guest has $guest_most, QEMU and the kernel $beside" >&2
		[ $guest_most -gt $((share_bytes + (share_bytes >> 6))) ] || break
		qemu_limit=$((qemu_limit - guest_most + share_bytes))
	done
}

# By turns, A B A B.
compare() {
	local case=$1 round side
	shift
	for round in $(seq "$rounds"); do
		for side in qemu guestmm; do
			one "$side" "$case" "$round" "$@"
		done
	done
}

# Runs apart from those that are compared: places and how often, into $RESULTS.
profile() {
	local case=$1 side
	shift
	for side in qemu guestmm; do
		places=$RESULTS/$case.$side.places
		one "$side" "$case" profile "$@"
		places=''
	done
}

prepare
find_limit touch --bytes $((share << 1))M --passes 12 --order rand
echo "limits share_bytes=$share_bytes qemu_limit_bytes=$qemu_limit qemu_guest_bytes=$guest_most qemu_beside_bytes=$beside" \
	"qemu_alone_bytes=$qemu_alone on=$on kernel=$(uname -r)" \
	"lru_gen=$(cat /sys/kernel/mm/lru_gen/enabled 2>/dev/null || echo none)" \
	"thp=$(sed 's/.*\[\(.*\)\].*/\1/' /sys/kernel/mm/transparent_hugepage/enabled)" \
	"page_cluster=$(cat /proc/sys/vm/page-cluster)" | tee -a "$RESULTS/runs"
compare boot hello
for case in "$@"; do
	read -r -a words <<<"${case#*=}"
	compare "${case%%=*}" "${words[@]}"
	profile "${case%%=*}" "${words[@]}"
done
