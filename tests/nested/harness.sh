#!/bin/bash
# The harness itself: what fails inside must fail outside, whatever is lost on the way.
# Environment: NESTED (tools/nested), BUILD (whose guestmm).
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
	printf 'FAILED: %s\n' "$*"
	head -c 6000 "$work/err"
	exit 1
}

# nested STATUS ARG...
nested() {
	local want=$1 got=0
	shift
	"$NESTED" --kernel "${KERNEL:-6.1}" --memory 600 --results "$work/results" "$@" >"$work/out" 2>"$work/err" </dev/null || got=$?
	if [ "$got" = 77 ] && [ "$want" != 77 ]; then
		cat "$work/out"
		exit 77
	fi
	[ "$got" = "$want" ] || fail "status $got instead of $want from: $*"
}

said() { grep -Eq -- "$1" "$work/err" || fail "not said: $1"; }

test_command() {
	# shellcheck disable=SC2016
	nested 7 --build "$BUILD" -- bash -c 'echo to out; echo to err >&2; seq 20000; echo kept >"$RESULTS/file"; exit 7'
	{
		echo to out
		seq 20000
	} | cmp - "$work/out" || fail "standard output differs"
	[ "$(cat "$work/err")" = 'to err' ] || fail "standard error differs"
	[ "$(cat "$work/results/file")" = kept ] || fail "the file did not come out"
}

# Words are passed on as they are: what looks like an option, and by the way that links lead.
test_words() {
	nested 127 --build "$BUILD" -- -l
	said 'not found'
	mkdir "$work/a folder"
	printf '#!/bin/sh\n[ "$1" = "it'"'"'s  this" ] && exit 5\n' >"$work/a folder/script"
	chmod +x "$work/a folder/script"
	ln -s script "$work/a folder/link"
	ln -s "a folder" "$work/link"
	cd "$work/link" || exit 1
	nested 5 --build "$BUILD" -- ./link "it's  this"
}

# Who says much on a busy host is heard to the end.
test_busy() {
	# shellcheck disable=SC2016
	nested 0 --build "$BUILD" -- bash -c \
		'for i in $(seq 40); do (while :; do :; done) >/dev/null 2>&1 & done; seq 12000; echo the last words'
	{
		seq 12000
		echo the last words
	} | cmp - "$work/out" || fail "standard output differs"
}

# What cannot be done at all, and what is wrong with the tool, is never the command's status.
test_wrong_usage() {
	nested 64 --build "$BUILD" --results /etc/passwd/x -- true
	mkdir "$work/mine"
	touch "$work/mine/notes"
	nested 64 --build "$BUILD" --results "$work/mine" -- true
	said 'has other things in it'
	touch "$work/mine/.guestmm-nested"
	nested 64 --build "$BUILD" --results "$work/mine" --tests nothing_like_it
	[ -e "$work/mine/notes" ] || fail "a wrong word has deleted somebody's file"
	touch "$work/$(printf 'two\nlines')"
	nested 125 --build "$BUILD" --add "$work/$(printf 'two\nlines')" -- true
	said 'cannot be packed'
	TMPDIR=/nonexistent nested 125 --build "$BUILD" -- true
	said 'this tool itself'
}

# Each result of the list is told by itself: a failing one hides no other.
told_one_by_one() {
	local name want got
	for name in good=0 bad=3 skip=77 77=1 silent=1 lack=1 half_lack=1 half_lack_within=1 no_folder=1 hang=124 missing=1; do
		want=${name#*=} name=planted_${name%=*} got=0
		"$here/result.sh" "$work/results" "$name" >"$work/told" || got=$?
		[ "$got" = "$want" ] || fail "$name is told as $got: $(cat "$work/told")"
	done
	cp -r "$work/results" "$work/others"
	# shellcheck disable=SC2016
	"$here/host.sh" "$work/others" sh -c 'echo planted_bad 3 1 >"$2/list"; exit 1' sh ||
		fail "one failing test hides the others"
	! "$here/host.sh" "$work/others" sh -c 'exit 1' || fail "an earlier host's results pass"
	! "$here/host.sh" "$work/others" sh -c 'exit 125' || fail "a host that failed passes"
	cp -r "$work/results/." "$work/others"
	rm "$work/others/tests/planted_good"
	! "$here/result.sh" "$work/others" planted_good >/dev/null || fail "a test without its output passes"
	echo because >"$work/others/skipped"
	"$here/result.sh" "$work/others" planted_bad >/dev/null
	[ $? = 3 ] || fail "a file of a test's makes a skip of a failure"
	# shellcheck disable=SC2016
	"$here/host.sh" "$work/others" sh -c '! "$0" "$2" true && [ -e "$2/tests" ]' "$here/host.sh" >/dev/null ||
		fail "two put their results into one folder"
}

# A list of tests of which some pass, one fails, one is skipped, one hangs.
test_list() {
	mkdir -p "$work/build/vmm"
	ln -s "$BUILD/vmm/guestmm" "$work/build/vmm/guestmm"
	cat >"$work/build/CTestTestfile.cmake" <<-'END'
		add_test(planted_good "true")
		add_test(planted_bad "sh" "-c" "echo \"it's the planted failure\"; exit 3")
		add_test(planted_skip "sh" "-c" "echo 'as planted'; echo 'skipped: there is one CPU only'; exit 77")
		set_tests_properties(planted_skip PROPERTIES SKIP_RETURN_CODE 77)
		add_test(planted_silent "sh" "-c" "echo 'not here'; exit 77")
		set_tests_properties(planted_silent PROPERTIES SKIP_RETURN_CODE 77)
		add_test(planted_77 "sh" "-c" "exit 77")
		add_test(planted_lack "sh" "-c" "echo 'skipped: there is no such thing'; exit 77")
		set_tests_properties(planted_lack PROPERTIES SKIP_RETURN_CODE 77)
		add_test(planted_half_lack_within "sh" "-c" "echo '  skipped: no such thing, for there is one CPU only'")
		add_test(planted_no_folder "true")
		set_tests_properties(planted_no_folder PROPERTIES WORKING_DIRECTORY "/no/such/folder")
		add_test(planted_half_lack "sh" "-c" "echo 'skipped: this host gives no huge pages'; echo passed")
		add_test(planted_hang "sleep" "1000")
		set_tests_properties(planted_hang PROPERTIES TIMEOUT 2)
		add_test(planted_variable "sh" "-c" "echo \"\$A\" said; test \"\$A\" = 'b c'")
		set_tests_properties(planted_variable PROPERTIES ENVIRONMENT "A=b c;D=e")
	END
	mkdir "$work/build/a folder"
	echo "what is there" >"$work/build/a folder/file"
	printf 'add_test(planted_folder "cat" "file")\nset_tests_properties(planted_folder PROPERTIES WORKING_DIRECTORY "%s")\n' \
		"$work/build/a folder" >>"$work/build/CTestTestfile.cmake"
	nested 1 --build "$work/build" --tests planted
	grep -q '^3 passed, 8 failed, 1 skipped$' "$work/out" || fail "counted: $(cat "$work/out")"
	grep -q '^passed planted_good' "$work/out" && grep -q '^passed planted_variable' "$work/out" ||
		fail "passed: $(cat "$work/out")"
	grep -q "it's the planted failure" "$work/out" || fail "the failure's words are lost: $(cat "$work/out")"
	grep -q 'planted_hang: status 124' "$work/out" || fail "the hang is not told: $(cat "$work/out")"
	said 'shortly before the time limit of planted_hang'
	said '^RIP='
	said 'last lines of the nested host.s console'
	grep -q '^b c said' "$work/results/tests/planted_variable" || fail "a test's variable is lost"
	grep -q 'as planted' "$work/results/tests/planted_skip" || fail "a test's output is lost"
	grep -q 'what is there' "$work/results/tests/planted_folder" || fail "a test's folder is not heeded"
	grep -q '^skipped: there is one CPU only: planted_skip$' "$work/out" || fail "no reason: $(cat "$work/out")"
	told_one_by_one
}

# A command that does not end.
test_hang() {
	nested 124 --build "$BUILD" --time 3 -- sleep 1000
	said 'time limit'
	said 'console'
	said '^RIP='
}

# What a command leaves has no name of the tool's, and is no word of it.
test_names() {
	# shellcheck disable=SC2016
	nested 5 --build "$BUILD" -- sh -c 'for name in status list out skipped dmesg nonce; do echo 0 >"$RESULTS/$name"; done
		mkdir "$RESULTS/tests" && echo mine >"$RESULTS/other"; echo said; exit 5'
	[ "$(cat "$work/out")" = said ] || fail "standard output differs"
	said 'status has a name of this tool.s'
	[ "$(cat "$work/results/status" "$work/results/out" "$work/results/other")" = $'5\nsaid\nmine' ] ||
		fail "the record is the command's: $(cat "$work/results/status" "$work/results/out")"
	[ ! -e "$work/results/skipped" ] || fail "the command says what is skipped"
}

# A nested host that does not answer: a real-time task has the only processor.
test_dead() {
	local chrt
	chrt=$(type -P chrt) || {
		echo "skipped: there is no chrt(1)"
		exit 77
	}
	nested 124 --build "$BUILD" --time 3 --add "$chrt" -- sh -c \
		"echo -1 >/proc/sys/kernel/sched_rt_runtime_us; exec $chrt -f 99 sh -c 'while :; do :; done'"
	said 'time limit'
	said '^RIP='
	grep -q 'nested host is up' "$work/results/console" || fail "the console is not kept"
}

# What one host lacks another has: a skip for it is none there.
test_lacks() {
	mkdir -p "$work/build/vmm"
	ln -s "$BUILD/vmm/guestmm" "$work/build/vmm/guestmm"
	cat >"$work/build/CTestTestfile.cmake" <<-'END'
		add_test(planted_move "sh" "-c" "echo 'skipped: this kernel has no UFFDIO_MOVE'; exit 77")
		add_test(planted_cpu "sh" "-c" "echo 'skipped: there is one CPU only'; exit 77")
		set_tests_properties(planted_move planted_cpu PROPERTIES SKIP_RETURN_CODE 77)
	END
	KERNEL=6.1 nested 0 --build "$work/build" --tests planted
	grep -q '^0 passed, 0 failed, 2 skipped$' "$work/out" || fail "counted: $(cat "$work/out")"
	KERNEL=6.12 nested 1 --build "$work/build" --cpus 2 --tests planted
	grep -q '^0 passed, 2 failed, 0 skipped$' "$work/out" || fail "counted: $(cat "$work/out")"
}

# Kernels that die, or that complain while all tests pass. What is said right before may be lost with
# the record: it has a second to be shown.
test_oops() {
	nested 125 --build "$BUILD" -- sh -c 'echo before; sleep 1; echo c >/proc/sysrq-trigger'
	said 'Kernel panic'
	said 'complains'
	grep -q before "$work/out" || fail "what was said before is lost"
}

test_warning() {
	nested 125 --build "$BUILD" -- sh -c 'echo "WARNING: CPU: 0 PID: 1 at planted/warning.c:1" >/dev/kmsg'
	said 'planted/warning'
}

# Good words, and no record of a status behind them.
test_kvm_warning() {
	nested 125 --build "$BUILD" -- sh -c 'echo "<4>kvm [7]: vcpu0, guest rIP: 0x0 unhandled wrmsr: 0x7" >/dev/kmsg'
	said 'unhandled wrmsr'
}

# Each kind of complaint is one, and what healthy kernels say is none.
test_complaints() {
	local line
	# shellcheck source=tests/nested/boot.sh
	. "$here/boot.sh"
	# shellcheck disable=SC2154
	while read -r line; do
		grep -Eaq "$oops" <<<"$line" || fail "passes for healthy: $line"
	done <<-'END'
		BUG: kernel NULL pointer dereference, address: 0000000000000008
		WARNING: arch/x86/kvm/mmu/mmu.c:12 at kvm_mmu_unload+0x1/0x2, CPU#0
		INFO: task guestmm:31 blocked for more than 120 seconds.
		rcu: INFO: rcu_sched detected stalls on CPUs/tasks:
		kvm [7]: vcpu0, guest rIP: 0x1 disabled perfctr wrmsr: 0xc1 data 0xffff
		KVM: SVM: failed to enable
		kvm: vcpu 0 internal error
		guestmm[31]: segfault at 8 ip 0000 sp 0000 error 4 in libc.so.6
		traps: guestmm[31] trap invalid opcode ip:0 sp:0 error:0
		I/O error, dev nvme1n1, sector 8 op 0x1:(WRITE)
		nvme nvme1: I/O 12 QID 1 timeout, aborting
	END
	while read -r line; do
		! grep -Eaq "$oops" <<<"$line" || fail "passes for a complaint: $line"
	done <<-'END'
		kvm: Nested Virtualization enabled
		SVM: kvm: Nested Paging enabled
		kvm: SMP vm created on host with unstable TSC; guest TSC will not be reliable
		kvm_amd: PMU virtualization is disabled
		RCU CPU stall warnings suppressed (rcu_cpu_stall_suppress).
		init: test vm_bad_input_no_permission_for_kvm
	END
}

# A record that is not whole, and one without a status.
test_half() {
	# shellcheck disable=SC2016
	nested 125 --build "$BUILD" --memory 1200 -- sh -c 'dd if=/dev/zero of="$RESULTS/big" bs=1M count=300 2>/dev/null'
	said 'does not fit'
	nested 125 --build "$BUILD" -- sh -c 'kill -9 $PPID; sleep 1'
	said 'no status'
}

# A host whose KVM did not come up runs nothing. The parts of a copy are broken for that.
test_no_kvm() {
	local root=$here/../.. NESTED=$work/tree/tools/nested
	mkdir -p "$work/tree/tests" "$work/tree/build"
	cp -r "$root/tools" "$work/tree/"
	cp -r "$root/tests/nested" "$work/tree/tests/"
	[ ! -d "$root/build/nested" ] || cp -r "$root/build/nested" "$work/tree/build/"
	[ -d "$work/tree/build/nested/kernel-${KERNEL:-6.1}" ] || nested 0 --build "$BUILD" -- true
	echo broken >"$work/tree/build/nested/kernel-${KERNEL:-6.1}/modules/kvm-amd.ko"
	nested 125 --build "$BUILD" -- true
	said 'no KVM with nested paging'
}

# A whole record, but of another run; and one with fewer results than tests.
test_other() {
	# shellcheck disable=SC2016
	nested 125 --build "$BUILD" -- sh -c 'mkdir -p /tmp/r/own && cd /tmp/r/own && echo 0 | tee status out err && echo other >nonce &&
		tar -c -f - -C .. own | dd of=/dev/nvme0n1 bs=64k conv=fsync; poweroff -f'
	said 'without a record'
	mkdir -p "$work/build/vmm"
	ln -s "$BUILD/vmm/guestmm" "$work/build/vmm/guestmm"
	cat >"$work/build/CTestTestfile.cmake" <<-'END'
		add_test(planted_good "true")
		add_test(planted_thief "sed" "-i" "1d" "/own/list")
	END
	nested 125 --build "$work/build" --tests planted
	said '2 tests were to run, results of 1 came'
	cat >"$work/build/CTestTestfile.cmake" <<-'END'
		add_test(planted_good "true")
		add_test(planted_wiper "rm" "/own/tests/planted_good")
	END
	nested 125 --build "$work/build" --tests planted
	said 'lacks the output of planted_good'
}

test_lost() {
	nested 125 --build "$BUILD" -- sh -c 'echo all is well; sleep 1; poweroff -f'
	said 'without a record'
}

# What a run left that was killed goes with the next one; another's that still runs stays.
test_killed() {
	local killed left running
	export TMPDIR="$work/a folder, for this"
	running=$TMPDIR/guestmm-nested-abcdef
	mkdir -p "$running"
	exec 5>"$running/lock"
	flock -n 5 || fail "no lock"
	"$NESTED" --build "$BUILD" --memory 600 -- sleep 1000 >/dev/null 2>&1 </dev/null 5>&- &
	killed=$!
	until left=$(echo "$TMPDIR"/guestmm-nested-[!a]*/record) && [ -e "$left" ]; do
		kill -0 $killed 2>/dev/null || fail "it has ended"
		sleep 0.2
	done
	kill -9 $killed
	wait $killed 2>/dev/null
	flock -w 20 "$(dirname "$left")/lock" true || fail "QEMU outlives the tool"
	touch -d '2 minutes ago' "$TMPDIR"/guestmm-nested-*
	nested 0 --build "$BUILD" -- true
	[ "$(ls "$TMPDIR")" = guestmm-nested-abcdef ] || fail "left: $(ls "$TMPDIR")"
}

# The engine that is told here is for all guests but those that name one.
test_engine() {
	# shellcheck disable=SC2016
	KERNEL=6.12 nested 3 --build "$BUILD" --engine copy -- sh -c 'guestmm run --stats "$RESULTS/told" hello &&
		guestmm run --engine move --stats "$RESULTS/named" hello && guestmm check-host; exit 3'
	grep -q '"engine":"copy"' "$work/results/told" || fail "another engine ran"
	grep -q '"engine":"move"' "$work/results/named" || fail "the command line is not heeded"
	grep -q '^ok *engine move' "$work/out" || fail "what the host has is not told: $(cat "$work/out")"
}

# Both kernels at once: all is told, and one that fails fails.
test_each_kernel() {
	local line status=0
	mkdir -p "$work/build/vmm"
	ln -s "$BUILD/vmm/guestmm" "$work/build/vmm/guestmm"
	cat >"$work/build/CTestTestfile.cmake" <<-'END'
		add_test(vm_planted_good "true")
		add_test(vm_planted_old "sh" "-c" "uname -r | grep '^6[.]1[.]'")
	END
	KERNEL=6.12 nested 0 --build "$BUILD" -- true # skipped where it cannot be had
	"$NESTED" --build "$work/build" --all --memory 600 --results "$work/results" >"$work/out" 2>"$work/err" </dev/null ||
		status=$?
	[ $status = 1 ] || fail "status $status of: $(cat "$work/out")"
	for line in '6.1: passed vm_planted_good' '6.1: passed vm_planted_old' '6.12: passed vm_planted_good' \
		'6.12: FAILED vm_planted_old' '^3 passed, 1 failed, 0 skipped$'; do
		grep -q "$line" "$work/out" || fail "not told: $line: $(cat "$work/out")"
	done
	[ -e "$work/results/6.1/console" ] && [ -e "$work/results/6.12/console" ] || fail "results are not kept"
}

# A machine that lacks a part: skipped, with the reason.
test_no_kernel() {
	nested 77 --build "$BUILD" --kernel 1.2 -- true
	grep -q '^skipped: .*Linux 1.2 .*cannot be had' "$work/out" || fail "no reason: $(cat "$work/out")"
}

"test_$1"
