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
tr -d '\\' <man/guestmm.1 >"$work/man"
for command in run top map ctl replay; do
	"$GUESTMM" $command --help >"$work/help" || fail "$command --help"
	grep -o -- '--[a-z][a-z-]*' "$work/help" | sort -u |
		grep -vx -e --help -e --usage -e --version >"$work/options" || true
	cat "$work/options" >>"$work/known"
	while read -r option; do
		grep -q -- "$option" "$work/man" || fail "guestmm(1) does not tell of $command $option"
	done <"$work/options"
done
# And no option is told of that there is not, in the part that is about options.
sed -n '/^\.SH OPTIONS OF RUN/,/^\.SH CONTROL/p' "$work/man" | grep -e '^\.BR* .*--' |
	grep -o -- '--[a-z][a-z-]*' | sort -u >"$work/told"
if grep -vxF -f "$work/known" "$work/told"; then
	fail "guestmm(1) tells of the above, which there is not"
fi
