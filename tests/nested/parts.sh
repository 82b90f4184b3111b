# The parts of the nested host: Debian's packages, by name, unpacked into the build folder, never
# installed. Sourced by tools/nested. Once a part is there, no network is asked.
#
# Sets: parts (a folder: busybox), kernel_parts (vmlinuz, modules/). A machine where they cannot
# be had is told apart from one where something is broken: `skip` says what was missing.
# shellcheck shell=bash disable=SC2154

modules=(irqbypass kvm kvm-amd)

# Whole: what an interrupted run or a full disk has left of a part is fetched again.
has_busybox() { "$parts/busybox" true 2>/dev/null; }

has_kernel() {
	local module
	[ -s "$kernel_parts/vmlinuz" ] || return 1
	for module in "${modules[@]}"; do
		[ -s "$kernel_parts/modules/$module.ko" ] || return 1
	done
}

look_for_programs() {
	local name
	command -v qemu-system-x86_64 >/dev/null ||
		skip "qemu-system-x86_64 is not there: apt-get install qemu-system-x86"
	for name in flock od awk dd ldd cmake ctest; do
		command -v "$name" >/dev/null || skip "$name is not there"
	done
}

get_parts() {
	parts=$build/nested
	kernel_parts=$parts/kernel-$kernel
	mkdir -p "$parts"
	exec 9>"$parts/lock"
	flock -w 600 9 || fail "another tools/nested has held $parts/lock for 10 minutes" 125
	if ! has_busybox || ! has_kernel; then
		command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
			skip "no apt-get and dpkg here to get Debian's packages with"
	fi
	has_busybox || get_busybox
	has_kernel || get_kernel
	exec 9>&-
}

# run_apt LOG COMMAND...: within five minutes. In the background, for what stands in the foreground keeps
# signals waiting; it ends with this tool, and does not hold its locks.
run_apt() {
	local log=$1
	shift
	"${tied[@]}" timeout 300 "${tied_to_any[@]}" "$@" >"$log" 2>&1 </dev/null 6>&- 9>&- &
	wait $!
}

# unpack PACKAGE: downloads it by the machine's apt (and options in "${apt[@]}") into $work/unpacked;
# fails where it cannot be had; $reason says why.
unpack() {
	local log=$work/apt.log
	rm -rf "$work/deb" "$work/unpacked"
	mkdir "$work/deb"
	if ! run_apt "$log" env -C "$work/deb" apt-get -q "${apt[@]}" download "$1"; then
		reason="the package $1 cannot be downloaded: $(grep '^E:' "$log" | head -n 1)"
		return 1
	fi
	dpkg -x "$work"/deb/*.deb "$work/unpacked"
}

apt_options() { apt=(-o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=2 -o Acquire::http::Timeout=20 "$@"); }

# A state of apt's own, below the build folder: the machine's stays as it is. First what the machine
# knows already; then its sources, asked anew; then its distribution's backports.
apt_states=(machine fresh backports)

# The line of sources.list for a suite that the machine's sources do not name: their repository,
# their distribution's name with the ending.
backports_source() {
	local name uri codename key=/usr/share/keyrings/debian-archive-keyring.gpg signed=''
	name=$(. /etc/os-release && printf %s "${VERSION_CODENAME-}")
	[ -e $key ] && signed="[signed-by=$key] "
	while read -r uri codename; do
		if [ "$codename" = "$name" ]; then
			echo "deb $signed$uri $name-backports main"
			return
		fi
	done < <(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Component: main')
	return 1
}

# use_apt STATE: fails where it cannot be had; $reason says why.
use_apt() {
	local state=$parts/apt-$1 own
	own=(-o "Dir::State::lists=$state/lists" -o "Dir::Cache=$state/cache")
	apt_options
	[ "$1" != machine ] || return 0
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
	if [ "$1" = backports ]; then
		if ! backports_source >"$state/sources.list"; then
			reason="apt's configuration names no repository of this distribution"
			return 1
		fi
		own+=(-o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=-)
	fi
	apt_options "${own[@]}"
	if ! run_apt "$work/apt.log" apt-get -q "${apt[@]}" -o APT::Update::Error-Mode=any update; then
		reason="no package lists: $(grep '^[EW]:' "$work/apt.log" | head -n 1)"
		return 1
	fi
}

get_busybox() {
	local state reason="apt knows no such package"
	for state in machine fresh; do
		if use_apt $state && [ -n "$(apt-cache "${apt[@]}" show busybox-static 2>/dev/null)" ]; then
			unpack busybox-static || continue
			cp "$work/unpacked/bin/busybox" "$parts/busybox.new"
			mv "$parts/busybox.new" "$parts/busybox"
			return
		fi
	done
	skip "busybox-static cannot be had: $reason"
}

# The package that the newest kernel of the wanted version is in, by the newest-kernel package's word.
kernel_package() {
	apt-cache "${apt[@]}" depends linux-image-cloud-amd64 2>/dev/null |
		sed -n "s/.*Depends: \(linux-image-$kernel\..*-cloud-amd64\)$/\1/p" | head -n 1
}

get_kernel() {
	local state package reason='' reasons=''
	[ "$(uname -m)" = x86_64 ] || skip "kernels for x86-64 only"
	for state in "${apt_states[@]}"; do
		if use_apt "$state"; then
			package=$(kernel_package) || true # it may know no package at all
			[ -n "$package" ] || continue
			echo "$tool: getting $package" >&2
			if unpack "$package"; then
				install_kernel
				return
			fi
		fi
		[[ $reasons == *"$reason"* ]] || reasons+="${reasons:+; }$reason"
	done
	skip "Debian's Linux $kernel for clouds cannot be had: ${reasons:-no suite that apt was asked about has it}"
}

install_kernel() {
	local module path to=$kernel_parts.new
	rm -rf "$to"
	mkdir -p "$to/modules"
	for module in "${modules[@]}"; do
		path=$(find "$work/unpacked" -name "$module.ko*" | head -n 1)
		case $path in
		*.xz) "$parts/busybox" xzcat "$path" >"$to/modules/$module.ko" ;;
		*.ko) cp "$path" "$to/modules/$module.ko" ;;
		*) skip "the kernel's package has no module $module" ;;
		esac
	done
	cp "$work"/unpacked/boot/vmlinuz-* "$to/vmlinuz"
	rm -rf "$work/unpacked" "$work/deb" "$kernel_parts"
	mv "$to" "$kernel_parts"
}
