#!/bin/bash
# Huge frames are what they are said to be: 2 MiB pages of the host, and of KVM's nested page tables.
# shellcheck disable=SC2154 # pid: of run_controlled()
. "$(dirname "$0")/lib.sh"

huge_bytes()
{
	ctl stats | grep -o '"huge":{"bytes":[0-9]*' | tr -dc 0-9
}

filled()
{
	[ "$(huge_bytes)" -ge $((32 << 20)) ]
}

# KVM's own count of 2 MiB entries, of this guest's.
kvm_pages_2m()
{
	cat /sys/kernel/debug/kvm/$pid-*/pages_2m
}

kvm_maps_huge()
{
	[ "$(kvm_pages_2m)" -ge 16 ]
}

nested_paging()
{
	grep -q '[Y1]' /sys/module/kvm_amd/parameters/npt /sys/module/kvm_intel/parameters/ept 2>/dev/null
}

# A guest that fills memory in order, with as much as it wants: half of it and more is huge.
test_in_use()
{
	need_kvm
	"$GUESTMM" check-host | grep -Eq '^ok +engine move' || skip "this kernel has no UFFDIO_MOVE"
	need_huge_pages
	run_controlled --engine move -m 256M touch --bytes 64M --passes 1000000 --order seq
	wait_for 30 filled || fail "of 64 MiB filled in order $(huge_bytes) bytes are huge"
	kib=$(awk '$1 == "AnonHugePages:" { n += $2 } END { print n }' "/proc/$pid/smaps")
	[ "$kib" -ge $((32 << 10)) ] || fail "the host's kernel knows of $kib KiB in huge pages"
	if ! nested_paging; then
		echo "no nested page tables here"
	elif [ ! -r /sys/kernel/debug/kvm ]; then
		echo "skipped: KVM does not tell what it maps (debugfs)"
	else
		wait_for 10 kvm_maps_huge || fail "KVM maps $(kvm_pages_2m) pages of 2 MiB"
		echo "nested page tables: $(kvm_pages_2m) entries of 2 MiB"
	fi
	echo "huge: $(huge_bytes) bytes by guestmm, $kib KiB by the host's kernel"
	quit
}

main "$@"
