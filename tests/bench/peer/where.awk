# Where the time of the runs under peer_where went: -v title=TEXT, symbols (nm's) of guestmm, then places.
# Kernel and program functions are put together by what they are for. The last lines name the most frequent
# of each, so that nothing hides in a heading.
FILENAME == ARGV[1] { # nm -n: address type name
	if ($2 ~ /[tT]/) {
		address[n_symbols] = hex($1)
		name[n_symbols++] = $3
	}
	next
}

{
	place = $4
	if ($3 == "guestmm")
		place = function_at(hex($4))
	else if ($3 != "kernel" && $3 != "idle")
		place = $3
	kind = kind_of($2, $3, place)
	n[kind] += $1
	total += $1
	at[kind, place] += $1
}

function hex(text,    i, value) {
	for (i = 1; i <= length(text); i++)
		value = value * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1
	return value
}

function function_at(a,    low, high, middle) {
	high = n_symbols
	while (high - low > 1) {
		middle = int((low + high) / 2)
		if (address[middle] <= a)
			low = middle
		else
			high = middle
	}
	return name[low + 0]
}

function kind_of(thread, module, place) {
	if (module == "idle")
		return "nothing runs: the disk, mostly"
	if (module == "guest")
		return "the guest runs"
	if (module == "kernel") {
		if (place ~ /^(svm_vcpu_|svm_handle_exit_irqoff|vcpu_enter_guest|vcpu_run|__svm_vcpu_run|kvm_arch_vcpu_ioctl_run|svm_vcpu_enter_exit|kvm_xapic|svm_flush)/)
			return "the guest runs"
		if (place ~ /(nvme|^blk_|^bio_|^__blk|^submit_bio|^io_|^__io_|iomap|^ext4|^jbd2|^dd_|_mq_|^wbt|^sbitmap|^disk_|^dma_|^end_bio|^__submit_bio|^generic_file|^filemap|^file_update|^rw_verify|swap_writepage|swap_read|^get_swap_bio|^end_swap)/)
			return "store: the disk's and file's layers"
		if (place ~ /(shrink|reclaim|lru_|walk_p[mgu]d|^isolate|^folio_(referenced|check_references|isolate|putback|mark_accessed|batch|activate)|try_to_unmap|rmap|page_vma|scan_|aging|evict_folios|workingset|split_huge|^add_to_swap|swap_slot|swap_entry|swap_info|swap_map|swap_cluster|folio_alloc_swap|^get_swap_page|^__swap|mem_cgroup|^memcg|try_charge|charge_memcg|^lock_page_memcg|^clear_(young|ptes))/)
			return "policy: which page goes, and its bookkeeping"
		return "fault delivery: kernel"
	}
	if (module == "guestmm") {
		if (place ~ /^(file_|batch_|backing_|span|slots_|slot_|store_|same_|tier_|ram_|window_|queue_io|waker_)/)
			return "store: guestmm"
		if (place ~ /^(twogen_|queue_|clock_|policy_|reclaim_|bay_|page_|clean_)/)
			return "policy: guestmm"
		return "fault delivery: guestmm"
	}
	if (module ~ /xxhash|uring/)
		return "store: guestmm"
	if (module ~ /^libc/ && thread !~ /qemu|CPU/)
		return "fault delivery: guestmm"
	return module ~ /qemu/ ? "QEMU" : "others"
}

END {
	if (!total)
		exit
	printf "  where the time goes, %s:\n", title
	while (1) {
		best = ""
		for (k in n)
			if (best == "" || n[k] > n[best])
				best = k
		if (best == "" || n[best] * 200 < total)
			break
		printf "    %5.1f %%  %s%s\n", 100 * n[best] / total, best, most(best)
		delete n[best]
	}
}

# The three most frequent places of a kind.
function most(kind,    i, k, parts, top, text) {
	for (i = 0; i < 3; i++) {
		top = ""
		for (k in at) {
			split(k, parts, SUBSEP)
			if (parts[1] == kind && (top == "" || at[k] > at[top]))
				top = k
		}
		if (top == "" || at[top] * 200 < total)
			break
		split(top, parts, SUBSEP)
		text = text (i ? ", " : ": ") parts[2] sprintf(" %.1f", 100 * at[top] / total)
		delete at[top]
	}
	return text
}
