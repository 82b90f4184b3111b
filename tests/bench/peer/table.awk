# The comparison's table, and its JSON (-v json=FILE), from what inside.sh recorded: medians of the rounds.
#
# Faults that waited: kernel's swap: major faults of QEMU's group (a page read from swap while the guest waits; those that find
# a page that readahead is still reading are not among them). guestmm: swap-ins (those that meet a page
# that is still being read ahead are). Bytes: what went to and from each side's disk.
BEGIN { n_keys = split("wall_us guest_ns waited disk_read_bytes disk_written_bytes disk_reads disk_read_ms disk_writes user_usec system_usec " \
	"stall_usec peak_bytes rescue prefetched prefetch_used clean evicted demand_zero resident_peak_bytes", keys, " ") }

{
	delete v
	for (i = 2; i <= NF; i++) {
		at = index($i, "=")
		v[substr($i, 1, at - 1)] = substr($i, at + 1)
	}
}

function spoil(c, why) { if (!(c in bad)) bad[c] = why }

$1 == "profile" && v["status"] != 0 { spoil(v["case"], "under the profiler " v["side"] " ended with status " v["status"]) }

$1 == "limits" { for (k in v) limits[k] = v[k] }

$1 == "run" {
	c = v["case"]
	s = v["side"]
	if (!(c in seen)) {
		seen[c] = 1
		order[n_cases++] = c
	}
	v["waited"] = s == "qemu" ? v["pgmajfault"] : v["swap_in"]
	if (s == "guestmm" && "stall_ns" in v)
		v["stall_usec"] = int(v["stall_ns"] / 1000)
	n = ++count[c, s]
	if (v["wall_us"] == "" || v["waited"] == "" || v["disk_written_bytes"] == "" || v["output"] == "")
		spoil(c, s "\047s figures or output are lost")
	for (i = 1; i <= n_keys; i++)
		value[c, s, keys[i], n] = v[keys[i]] + 0
	if (v["status"] != 0)
		spoil(c, s " ended with status " v["status"])
	if (!(c in output))
		output[c] = v["output"]
	else if (output[c] != v["output"] && c != "boot")
		spoil(c, "outputs differ: " output[c] ", " v["output"])
	if (s == "guestmm")
		limits["engine"] = v["engine"]
}

function median(c, s, key,    n, i, j, t, a) {
	n = count[c, s]
	for (i = 1; i <= n; i++) {
		t = value[c, s, key, i]
		for (j = i - 1; j > 0 && a[j] > t; j--)
			a[j + 1] = a[j]
		a[j + 1] = t
	}
	return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
}

function ratio(ours, theirs) { return theirs > 0 ? sprintf("%.2f", ours / theirs) : "-" }
function mib(bytes) { return sprintf("%.1f MiB", bytes / 1048576) }
function seconds(us) { return sprintf("%.2f s", us / 1000000) }

function row(name, theirs, ours, r) { printf "  %-34s %14s %14s %8s\n", name, theirs, ours, r }

# Time without booting and ending: what `hello` takes is taken off.
function net(c, s) { return median(c, s, "wall_us") - median("boot", s, "wall_us") }

function count_row(name, c, key) {
	row(name, median(c, "qemu", key), median(c, "guestmm", key), ratio(median(c, "guestmm", key), median(c, "qemu", key)))
}

function bytes_row(name, c, key) {
	row(name, mib(median(c, "qemu", key)), mib(median(c, "guestmm", key)),
		ratio(median(c, "guestmm", key), median(c, "qemu", key)))
}

# By the disk's own account: where it differs much between sides, something else on the machine used the disk.
function latency(c, s) { return sprintf("%.2f ms", median(c, s, "disk_read_ms") / (median(c, s, "disk_reads") + 0.001)) }

function time_row(name, theirs, ours) { row(name, seconds(theirs), seconds(ours), ratio(ours, theirs)) }

function show(c,    below) {
	printf "\n%s\n", c
	row("", "kernel swap", "guestmm", "ratio")
	count_row("faults that waited", c, "waited")
	bytes_row("written to the disk", c, "disk_written_bytes")
	bytes_row("read from the disk", c, "disk_read_bytes")
	count_row("requests to read", c, "disk_reads")
	count_row("requests to write", c, "disk_writes")
	row("a request to read takes", latency(c, "qemu"), latency(c, "guestmm"), "")
	time_row("time, boot and end taken off", net(c, "qemu"), net(c, "guestmm"))
	time_row("time by the guest's clock", median(c, "qemu", "guest_ns") / 1000, median(c, "guestmm", "guest_ns") / 1000)
	time_row("  processor, guest and user", median(c, "qemu", "user_usec"), median(c, "guestmm", "user_usec"))
	time_row("  processor, kernel", median(c, "qemu", "system_usec"), median(c, "guestmm", "system_usec"))
	bytes_row("charged at most, all in all", c, "peak_bytes")
	printf "  guestmm: first touches %d, swap-ins %d, rescues %d, read ahead %d (met in flight %d), evicted %d (clean %d)\n",
		median(c, "guestmm", "demand_zero"), median(c, "guestmm", "waited"), median(c, "guestmm", "rescue"),
		median(c, "guestmm", "prefetched"), median(c, "guestmm", "prefetch_used"), median(c, "guestmm", "evicted"),
		median(c, "guestmm", "clean")
	below = !(c in bad) && median(c, "guestmm", "waited") < median(c, "qemu", "waited") &&
		median(c, "guestmm", "disk_written_bytes") < median(c, "qemu", "disk_written_bytes")
	print "  counts " (below ? "below" : "NOT below") " kernel swap's"
	print "  output " (c in bad ? "DIFFERS: " bad[c] : "the same: " output[c])
}

# Both sides, as often as each other.
function check_whole(c) {
	if (!count[c, "qemu"] || count[c, "qemu"] != count[c, "guestmm"])
		spoil(c, (count[c, "qemu"] + 0) " runs of kernel swap, " (count[c, "guestmm"] + 0) " of guestmm")
}

function json_side(c, s,    i, text) {
	text = "{\"time_us\":" int(net(c, s))
	for (i = 1; i <= n_keys; i++)
		text = text ",\"" keys[i] "\":" int(median(c, s, keys[i]))
	return text "}"
}

function write_json(    i, c, comma) {
	printf "{\"schema\":\"guestmm-bench-peer-1\",\"peer\":\"kernel-swap\",\"kernel\":\"%s\",\"engine\":\"%s\",\"on\":\"%s\"," \
		"\"share_bytes\":%d,\"qemu_limit_bytes\":%d,\"rounds\":%d,\"cases\":[", limits["kernel"], limits["engine"],
		limits["on"], limits["share_bytes"], limits["qemu_limit_bytes"], count["boot", "qemu"] >json
	for (i = 0; i < n_cases; i++) {
		c = order[i]
		if (c == "boot")
			continue
		printf "%s{\"case\":\"%s\",\"same_output\":%s,\"kernel_swap\":%s,\"guestmm\":%s}", comma, c,
			c in bad ? "false" : "true", json_side(c, "qemu"), json_side(c, "guestmm") >json
		comma = ","
	}
	print "]}" >json
}

END {
	if (n_cases - ("boot" in seen) < 1) {
		print "no run was recorded"
		exit 1
	}
	for (i = 0; i < n_cases; i++)
		check_whole(order[i])
	if (!("boot" in seen))
		for (i = 0; i < n_cases; i++)
			spoil(order[i], "no boot was recorded")
	printf "guestmm (engine %s) against kernel swap, Linux %s, on %s\n", limits["engine"], limits["kernel"],
		limits["on"] == "file" ? "files on ext4" : "disks without a file system"
	printf "the guest's share: %s (QEMU's group: %s, of which the guest had %s at most, QEMU and the kernel %s)\n",
		mib(limits["share_bytes"]), mib(limits["qemu_limit_bytes"]), mib(limits["qemu_guest_bytes"]), mib(limits["qemu_beside_bytes"])
	printf "kernel: multi-generational LRU %s, huge pages %s, page-cluster %s\n",
		limits["lru_gen"], limits["thp"], limits["page_cluster"]
	for (i = 0; i < n_cases; i++)
		if (order[i] != "boot")
			show(order[i])
	write_json()
	for (c in bad)
		exit 1
}
