# Boots the nested host, shows what is said there, and judges. Sourced by tools/nested.
#
# Three serial lines: the kernel's console, the command's standard output, its standard error. They
# are for looking at. What counts is the record, an archive on a disk of its own that the nested
# host writes last: it holds this run's number, the status and all output. No record, no pass.
# shellcheck shell=bash disable=SC2154

# What no healthy kernel says.
oops='BUG: |Oops: |WARNING: (CPU|[a-z]+/)|Kernel panic|general protection fault|------------\[ cut here|Call Trace:'
oops+='|INFO: task .* blocked for more than|rcu.*detected stalls|Out of memory: Killed|guestmm\[[0-9]+\]: segfault|segfault at .* in guestmm|traps: guestmm'
oops+='|kvm \[[0-9]+\]: vcpu|(kvm|KVM).*(unhandled|[Ee]rror|[Ww]arning|[Ff]ailed)|I/O error|EXT4-fs error|nvme.*timeout'
boot_seconds=180 # one nested host on a busy machine

qemu='' listener='' terminal=''
clean_up() {
	[ -z "$qemu" ] || kill -9 "$qemu" 2>/dev/null || true
	# It waits for a QEMU that never opened its end; else it has ended by itself.
	[ -z "$listener" ] || [ "$(cat "/proc/$listener/comm" 2>/dev/null)" != cat ] || kill -9 "$listener" || true
	[ -z "$terminal" ] || stty "$terminal" || true
	[ -z "$work" ] || rm -rf "$work" || true
}

# What QEMU says to a command of its monitor.
monitor() {
	[ -p "$work/mon.in" ] || return 0
	echo "$1" >&8
	sleep 1
}

start_qemu() {
	local args line n at=${work//,/,,} # QEMU's way to write a comma
	args=("${clock[@]}" -cpu "EPYC,+svm,+npt,-cx16" -smp "$cpus" -m "$memory" -nodefaults -display none -no-reboot
		-kernel "$kernel_parts/vmlinuz" -initrd "$work/initrd"
		-append "console=ttyS0 quiet mitigations=off no_timer_check panic=-1 oops=panic nowatchdog sysrq_always_enabled rcupdate.rcu_cpu_stall_suppress=1"
		-drive "if=none,id=record,format=raw,file=$at/record" -device "nvme,drive=record,serial=record")
	truncate -s 256M "$work/record"
	for n in "${!swap_disks[@]}"; do
		truncate -s "${swap_disks[n]}M" "$work/swap$n"
		args+=(-drive "if=none,id=swap$n,format=raw,cache=none,file=$at/swap$n"
			-device "nvme,drive=swap$n,serial=swap$n")
	done
	if [ "$mode" = shell ]; then
		args+=(-serial mon:stdio)
		: >"$work/console"
		[ ! -t 0 ] || terminal=$(stty -g)
		"${tied[@]}" qemu-system-x86_64 "${args[@]}" <&0 2>"$work/qemu.err" &
		qemu=$!
		return
	fi
	for line in console out err; do
		args+=(-chardev "file,id=$line,path=$at/$line" -serial "chardev:$line")
		: >"$work/$line"
	done
	mkfifo "$work/mon.in" "$work/mon.out"
	args+=(-chardev "pipe,id=mon,path=$at/mon" -mon "chardev=mon,mode=readline")
	"${tied[@]}" qemu-system-x86_64 "${args[@]}" </dev/null >"$work/qemu.out" 2>"$work/qemu.err" 8<&- &
	qemu=$!
	exec 8<>"$work/mon.in"
	"${tied[@]}" cat "$work/mon.out" >"$work/monitor" 2>/dev/null </dev/null 8<&- &
	listener=$!
	disown $listener
}

# part FILE FROM TO: these bytes, while more are written.
part() { dd if="$1" bs=64k iflag=skip_bytes,count_bytes skip="$2" count=$(($3 - $2)) status=none; }

# Passes on what has come on a serial line since last time. shown_NAME counts bytes.
shown_out=0 shown_err=0
show() {
	local size
	size=$(stat -c %s "$work/out")
	if [ "$size" -gt $shown_out ]; then
		part "$work/out" "$shown_out" "$size"
		shown_out=$size
	fi
	size=$(stat -c %s "$work/err")
	if [ "$size" -gt $shown_err ]; then
		part "$work/err" "$shown_err" "$size" >&2
		shown_err=$size
	fi
}

# Whatever the serial lines lost, the record has.
show_rest() {
	local name shown recorded
	for name in out err; do
		shown=$work/$name recorded=$own/$name
		[ -e "$recorded" ] || [ "$mode" != command ] || fail "the record lacks standard $name" 125
		[ -e "$recorded" ] || continue
		if ! cmp -s -n "$(stat -c %s "$shown")" "$shown" "$recorded"; then
			echo "$tool: the serial line garbled standard $name; all of it, from the record:" >&2
			: >"$shown"
		fi
		if [ $name = out ]; then
			tail -c +$(($(stat -c %s "$shown") + 1)) "$recorded"
		else
			tail -c +$(($(stat -c %s "$shown") + 1)) "$recorded" >&2
		fi
	done
}

console_tail() {
	echo "--- last lines of the nested host's console:"
	tail -n "${1:-30}" "$work/console" | tr -d '\r'
}

# What the monitor has said of the processor's registers, from a byte of it on.
registers() {
	echo "--- registers of the nested host's processor, $2:"
	part "$work/monitor" "$1" "$(stat -c %s "$work/monitor")" | tr -d '\r' |
		grep -aE '^(RAX|RSI|R8|R12|RIP|CR0|CS |EFER)' || echo "(QEMU does not answer)"
}

ask_limit_registers() {
	limit_asked=$(stat -c %s "$work/monitor")
	monitor "info registers"
}

limit_registers() {
	if [ -n "$limit_asked" ]; then
		registers "$limit_asked" "at the time limit"
	else
		echo "--- (the nested host ended at its time limit before it was asked for its registers)"
	fi
}

# Until the monitor has answered, for at most ten seconds.
wait_registers() {
	local end=$((SECONDS + 10))
	until tail -c +$(($1 + 1)) "$work/monitor" | grep -aq '^EFER' || [ $SECONDS -ge $end ]; do
		sleep 0.2
	done
}

# A single test that hangs: the nested host says so on its console a moment before it ends it.
n_hangs=0
watch_hangs() {
	local names asked
	mapfile -t names < <(grep -aoE 'init: test [^ ]+ is near its time limit' "$work/console" | cut -d ' ' -f 3)
	[ ${#names[@]} -gt $n_hangs ] || return 0
	n_hangs=${#names[@]}
	asked=$(stat -c %s "$work/monitor")
	monitor "info registers"
	wait_registers "$asked"
	registers "$asked" "shortly before the time limit of ${names[-1]}" >&2
	console_tail 15 >&2
}

# QEMU's emulator loses an interrupt of the timer now and then where guests run in the guest: its local
# APIC holds it as requested, and the processor sleeps with interrupts on, for ever (seen with 7.2,
# twice in an hour). Another one, a break on the console, makes it see both. Who hardly ran for some
# seconds gets one: an idle host does not mind.
nudge_seconds=5 nudge_next=0 nudge_ticks=0
nudge() {
	local fields ticks
	[ $SECONDS -ge $nudge_next ] || return 0
	read -r -a fields 2>/dev/null <"/proc/$qemu/stat" || return 0 # it has ended
	ticks=$((fields[13] + fields[14]))
	[ $((ticks - nudge_ticks)) -ge $((nudge_seconds * 5)) ] || echo "chardev-send-break console" >&8
	nudge_ticks=$ticks nudge_next=$((SECONDS + nudge_seconds))
}

# Waits for the end; fails where it does not come.
limit_asked=''
watch() {
	local deadline=$((SECONDS + boot_seconds)) up=false looked=false
	while kill -0 "$qemu" 2>/dev/null; do
		show
		nudge
		watch_hangs
		if ! $up && grep -q "nested host is up" "$work/console"; then
			up=true
			deadline=$((SECONDS + limit + 20)) # it ends by itself, and writes its record
		fi
		if $up && ! $looked && [ $SECONDS -ge $((deadline - 21)) ]; then
			looked=true
			ask_limit_registers
		fi
		if [ $SECONDS -ge $deadline ]; then
			$looked || ask_limit_registers
			limit_registers >&2
			console_tail >&2
			kill -9 "$qemu"
			keep_console
			$up || fail "the nested host did not come up within $boot_seconds s" 125
			fail "time limit: not done after $limit s" 124
		fi
		sleep 0.2
	done
	wait "$qemu" || true
	qemu=''
	show
}

keep_console() {
	[ -n "$results" ] || return 0
	printf './console\0' >>"$results/$mark"
	tr -d '\r' <"$work/console" >"$results/console" || fail "the console cannot be kept in $results" 125
}

# The record has two parts: what the command left in $RESULTS, and what init wrote itself. They are
# kept in one folder, where the latter's names are not to be had.
own=''
own_names=(status nonce out err list tests dmesg console skipped .guestmm-nested)
keep_results() {
	local name left=$work/taken/results
	for name in "${own_names[@]}"; do
		[ -e "$left/$name" ] || [ -L "$left/$name" ] || continue
		echo "$tool: \$RESULTS/$name has a name of this tool's: it is left out" >&2
		rm -rf "${left:?}/$name"
	done
	(cd "$left" && find . ! -type d -print0 && cd "$own" && find . ! -type d -print0) >"$results/$mark"
	cp -r "$left/." "$own/." "$results/" || fail "the results cannot be kept in $results" 125
}

# The record, if it is this run's and whole; else this is a failure whatever was printed.
take_record() {
	local whole=true
	own=$work/taken/own
	mkdir -p "$work/taken/results" "$own"
	"$parts/busybox" tar -x -f "$work/record" -C "$work/taken" 2>/dev/null || whole=false
	[ -z "$results" ] || keep_results
	keep_console
	$whole && [ "$(cat "$own/nonce" 2>/dev/null)" = "$nonce" ]
}

# What the kernel said; but for the list of its tasks that was asked for at the time limit.
kernel_log() {
	local file only=(cat)
	[ "$(cat "$own/status" 2>/dev/null)" != limit ] || only=(sed '/sysrq: Show Blocked State/,$d')
	for file in "$work/console" "$own/dmesg"; do
		tr -d '\r' <"$file" | "${only[@]}"
	done
}

judge() {
	local recorded=true status
	take_record || recorded=false
	touch "$own/dmesg"
	kernel_log >"$work/log"
	if grep -Eaq "$oops" "$work/log"; then
		grep -Ea -m 1 -A 40 "$oops" "$work/log" >&2
		fail "the nested host's kernel complains (above)" 125
	fi
	if ! $recorded; then
		console_tail >&2
		tail -n 3 "$work/qemu.err" >&2
		fail "the nested host ended without a record of its results" 125
	fi
	status=$(cat "$own/status" 2>/dev/null) || fail "the record has no status" 125
	[ "$status" != no-kvm ] || fail "the nested host has no KVM with nested paging" 125
	show_rest
	[ "$status" != limit ] || {
		limit_registers >&2
		console_tail 60 >&2
		fail "time limit: not done after $limit s" 124
	}
	if [ "$mode" = tests ]; then
		check_list
		count_tests "$own/list"
	fi
	leave "$status"
}

# Each test that was to run has a result, and its output is there.
check_list() {
	local n name
	n=$(wc -l <"$own/list")
	[ "$n" = "$n_tests" ] || fail "$n_tests tests were to run, results of $n came" 125
	while read -r name; do
		grep -q "^$name [0-9]" "$own/list" || fail "the record has no result of $name" 125
		[ -f "$own/tests/$name" ] || fail "the record lacks the output of $name" 125
	done < <(sed -n 's/^run_test \([^ ]*\) .*/\1/p' "$work/job/list")
}

# count_tests [LIST...]
count_tests() {
	awk '{ n[$2 == 0 ? "passed" : $2 == 77 ? "skipped" : "failed"]++ }
		END { printf "%d passed, %d failed, %d skipped\n", n["passed"], n["failed"], n["skipped"] }' "$@"
}

# A shell's host is looked at by whoever has it.
wait_shell() {
	local deadline=$((SECONDS + boot_seconds + ${limit:-0}))
	while kill -0 "$qemu" 2>/dev/null; do
		[ -z "$limit" ] || [ $SECONDS -lt $deadline ] || fail "time limit: the shell did not end" 124
		sleep 0.2
	done
	wait "$qemu" || true
	qemu=''
}

boot() {
	start_qemu
	if [ "$mode" = shell ]; then
		wait_shell
	else
		watch
	fi
	judge
}
