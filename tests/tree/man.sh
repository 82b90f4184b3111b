#!/bin/bash
# The man pages are clean, and tell of every option and subcommand that there is.
. tests/tree/common.sh
command -v groff >/dev/null || skip "no groff"
[ -e /usr/share/groff/current/tmac/an.tmac ] || skip "no man macros (package groff)"

for page in man/guestmm.1 man/guestmm.3; do
	said=$(groff -man -Tutf8 -ww -rLL=80n "$page" 2>&1 >"$work/$(basename "$page").txt")
	[ -z "$said" ] || fail "$page: $said"
	[ "$(wc -l <"$work/$(basename "$page").txt")" -gt 40 ] || fail "$page is all but empty"
done

# Every function of the public headers is in guestmm(3).
for name in $(awk '/^GMM_API/ { on = 1 } on; /;/ { on = 0 }' include/guestmm/*.h | tr '\n' ' ' | tr ';' '\n' |
	grep -o 'gmm_[a-z0-9_]*(' | tr -d '('); do
	grep -q "$name" man/guestmm.3 || fail "guestmm(3) does not tell of $name()"
done

[ -n "${GUESTMM-}" ] || exit 0
for command in run top map ctl; do
	"$GUESTMM" $command --help >"$work/help" || fail "$command --help"
	grep -o -- '--[a-z][a-z-]*' "$work/help" | sort -u |
		grep -vx -e --help -e --usage -e --version >"$work/options" || true
	while read -r option; do
		sed 's/\\//g' man/guestmm.1 | grep -q -- "$option" ||
			fail "guestmm(1) does not tell of $command $option"
	done <"$work/options"
done
sed 's/\\//g' man/guestmm.1 | grep -o '^\.BR* .*--[a-z-]*' | grep -o -- '--[a-z-]*' | sort -u |
	while read -r option; do
		for command in run top map ctl; do
			"$GUESTMM" $command --help | grep -q -- "$option" && continue 2
		done
		fail "guestmm(1) tells of $option, which there is not"
	done
