#!/bin/bash
# Includes point down the layers; and the check that says so sees what it must see.
. tests/tree/common.sh

tools/check-layers . || fail "the tree breaks its layers"

# plant WHAT FILE LINE: the check must turn red, and name the file.
plant() {
	local tree=$work/tree
	rm -rf "$tree"
	mkdir -p "$tree"
	cp -r vmm include guest "$tree"
	mkdir -p "$(dirname "$tree/$2")"
	printf '%s\n' "$3" >>"$tree/$2"
	if tools/check-layers "$tree" >"$work/said"; then
		fail "not seen: $1"
	fi
	grep -q "$2" "$work/said" || fail "$1: seen, but $2 is not named"
}

plant "an upward include" vmm/mm/page.c '#include "vmm/ctl/ctl.h"'
plant "a private header above the public line" vmm/ctl/ctl.c '#include "vmm/mm/page.h"'
plant "a policy that sees memory" vmm/mm/policy/fifo.c '#include "page.h"'
plant "fault that knows reclaim" vmm/mm/fault.c '#include "reclaim.h"'
plant "a guest that sees the VMM" guest/kernel/main.c '#include "../../vmm/mm/page.h"'
plant "a public header on a private one" include/guestmm/pool.h '#include "../../vmm/mm/pool.h"'
plant "a circle" include/guestmm/types.h '#include <guestmm/pool.h>'
plant "a file of no layer" vmm/new/thing.h ""
