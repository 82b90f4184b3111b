# The nested host's initial file system: busybox, our programs and tests at the paths that they have
# here, the libraries that they need, and the job. Sourced by tools/nested.
# shellcheck shell=bash disable=SC2154

# What tests use and busybox lacks, or does in another way.
host_tools=(bash true timeout cp sed grep cmp dd mktemp pgrep unshare setpriv stat script taskset head tail mount)

quote() { printf "'%s' " "${1//\'/\'\\\'\'}"; }

# add_file PATH: with the libraries that it is linked with, and by the way that links lead to it.
add_file() {
	local library path
	path=$(realpath "$1")
	if [ "$path" != "$1" ]; then
		add_file "$path"
		[ -e "$image$1" ] || [ -L "$image$1" ] || {
			mkdir -p "$image$(dirname "$1")"
			ln -s "$path" "$image$1"
		}
		return
	fi
	[ ! -e "$image$1" ] || return 0
	mkdir -p "$image$(dirname "$1")"
	cp --preserve=mode "$1" "$image$1"
	[[ $(head -c 4 "$1" | tr -d '\0') == *ELF ]] || return 0
	while read -r library; do
		[ -e "$image$library" ] || {
			mkdir -p "$image$(dirname "$library")"
			cp -L --preserve=mode "$library" "$image$library"
		}
	done < <(ldd "$1" 2>/dev/null | sed -n 's,^[^/]*\(/.*\) (0x[0-9a-f]*)$,\1,p')
}

# add_named ARG...: the files among these words; also VAR=FILE and FILE:NAME.
add_named() {
	local word path
	for word; do
		for path in "$word" "${word#*=}" "${word%%:*}"; do
			case $path in
			/dev/* | /proc/* | /sys/*) ;;
			?*) [ ! -f "$(from_caller "$path")" ] || add_file "$(from_caller "$path")" ;;
			esac
		done
	done
}

# Where the engine is told here: a script in guestmm's place, which passes that on to it.
put_engine_before() {
	mkdir "$image/engine"
	mv "$image$1" "$image/engine/guestmm"
	cat >"$image$1" <<-END
		#!/bin/bash
		for word; do
			[[ \$word != --engine* ]] || exec /engine/guestmm "\$@"
		done
		[ "\${1-}" != run ] || set -- run --engine $engine "\${@:2}"
		exec /engine/guestmm "\$@"
	END
	chmod 755 "$image$1"
}

add_tools() {
	local name path
	mkdir -p "$image"/{bin,usr/bin,proc,sys,dev,tmp,results,job,modules,etc,root}
	chmod 1777 "$image/tmp"
	cp "$parts/busybox" "$image/bin/busybox"
	for name in "${host_tools[@]}"; do
		path=$(type -P "$name") || continue
		add_file "$path"
		[ -e "$image/bin/$name" ] || ln -s "$path" "$image/bin/$name"
	done
	cp "$kernel_parts"/modules/*.ko "$image/modules/"
	cp tests/nested/init "$image/init"
	cp /etc/passwd /etc/group "$image/etc/"
	add_file "$programs/vmm/guestmm"
	ln -s "$programs/vmm/guestmm" "$image/bin/guestmm"
	[ -z "$engine" ] || put_engine_before "$(realpath "$programs/vmm/guestmm")"
}

# QEMU, for tests that have it as the reference: there it runs guests by KVM, as guestmm does.
qemu_files=(/usr/share/seabios/{bios-256k,vgabios-stdvga}.bin /usr/share/qemu/{kvmvapic,linuxboot_dma,pvh}.bin
	/usr/lib/ipxe/qemu/efi-e1000.rom)
add_qemu() {
	local path
	path=$(type -P qemu-system-x86_64)
	add_file "$path"
	[ -e "$image/bin/qemu-system-x86_64" ] || ln -s "$path" "$image/bin/qemu-system-x86_64"
	for path in "${qemu_files[@]}"; do
		[ ! -f "$path" ] || add_file "$path"
	done
	mkdir -p "$image/usr/share/qemu" # where it looks for what is elsewhere here
	for path in "${qemu_files[@]}"; do
		[ -e "$image/usr/share/qemu/${path##*/}" ] || ln -s "$path" "$image/usr/share/qemu/${path##*/}"
	done
}

# The tests of the build that have the wanted names, a line each, as list.cmake writes them.
write_tests() {
	local line word words=() caller=$caller
	(cd "$programs" && ctest --show-only=json-v1 -R "$pattern" -LE nested) >"$work/tests.json" 2>"$work/ctest.err" ||
		wrong_usage "ctest does not list the tests of $programs: $(tail -n 1 "$work/ctest.err")"
	[ "$(head -c 1 "$work/tests.json")" = "{" ] ||
		wrong_usage "'$pattern' is no regular expression: $(head -n 1 "$work/tests.json")"
	cmake -DFILE="$work/tests.json" -P tests/nested/list.cmake 2>"$work/job/list" ||
		fail "the tests of $programs cannot be listed: $(tail -n 3 "$work/job/list")" 125
	n_tests=$(grep -c '^run_test ' "$work/job/list" || true)
	[ "$n_tests" -gt 0 ] || wrong_usage "no test of $programs has a name like '$pattern'"
	! grep -q '^run_test [^ ]*qemu' "$work/job/list" || with_qemu=true
	while read -r line; do
		eval "words=(${line#run_test })"
		caller=${words[3]} # where its words are seen from
		[ ! -d "$caller" ] || mkdir -p "$image$caller"
		words=("${words[@]:4}")
		add_named "${words[@]}"
		for word in "${words[@]}"; do
			case $word in
			*/tests/*.sh) # with those it reads
				for line in "$(dirname "$word")"/*.sh; do
					add_file "$line"
				done
				;;
			esac
		done
	done <"$work/job/list"
}

write_job() {
	local word
	mkdir -p "$work/job"
	nonce=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
	n_tests=0
	case $mode in
	tests) write_tests ;;
	shell) echo run_shell >"$work/job/list" ;;
	command)
		add_named "${command[@]}"
		{
			printf 'run_command '
			for word in "${command[@]}"; do
				quote "$word"
			done
			echo
		} >"$work/job/list"
		;;
	esac
	printf 'nonce=%s folder=%s n_tests=%s seconds=%s\n' "$nonce" "$(quote "$caller")" "$n_tests" "${limit:-0}" >"$work/job/settings"
	cp "$work/job"/* "$image/job/"
	mkdir -p "$image$caller"
}

# Busybox stands in for whatever has not come by itself: last of all.
add_applets() {
	local name folder
	while read -r name; do
		for folder in bin usr/bin; do
			[ -e "$image/$folder/$name" ] || [ -L "$image/$folder/$name" ] ||
				ln -s /bin/busybox "$image/$folder/$name"
		done
	done < <("$parts/busybox" --list)
}

make_image() {
	local path
	image=$work/image
	[ "$mode" = shell ] && [ -t 0 ] || limit=${limit:-300}
	mkdir -p "$image"
	add_tools
	for path in "${extra[@]}"; do
		[ -f "$path" ] || wrong_usage "--add: there is no file $path"
		add_file "$path"
	done
	write_job
	! $with_qemu || add_qemu
	add_applets
	# All is root's in there, whoever runs this: a mount(8) that is setuid must be.
	(cd "$image" && find . | "$parts/busybox" cpio -o -H newc -R 0:0 2>"$work/cpio.err") >"$work/initrd" ||
		fail "the nested host's files cannot be packed: $(tail -n 1 "$work/cpio.err")" 125
	rm -rf "$image"
}
