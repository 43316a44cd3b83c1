#!/bin/bash
# Links a release for cross.sh, in place of the driver that cargo-zigbuild names.   linker.sh ARGUMENT…
#
# The kernel maps a program in pieces of 64 KiB around each page that is touched. An idle device runs two fifths of the agent's
# code, and as the compiler has it that is a little of every piece: nearly all of it stays in memory. So the functions that run
# come first, by packaging/layout.txt.
#
# zig's driver has no option for that. It links once and says by what command; the same command links again, with the option.
# LINKED_WITH_NAMES has it link another file instead, with the names of all functions, for `make layout`.
set -eu
here=$(dirname "$0")
driver=$(printenv "CARGO_TARGET_${LINKED_TARGET}_LINKER")
said=$(mktemp)
trap 'rm -f "$said" "$said.order"' EXIT
ZIG_VERBOSE_LINK=1 "$driver" "$@" 2> "$said" || { cat "$said" >&2; exit 1; }
grep -v '^ld\.lld \|^ar rcs ' "$said" >&2 || true
command=$(grep '^ld\.lld ' "$said" | grep -v '^ld\.lld -r ' | tail -1)
[ -n "$command" ] || { echo "linker.sh: the linker does not say how it links; did zig change?" >&2; exit 1; }
read -ra command <<< "${command#ld.lld }"
objects=()
for it in "${command[@]}"; do
  case $it in *.o | *.a | *.rlib) [ ! -f "$it" ] || objects+=("$it") ;; esac
done
if [ -n "${LINKED_WITH_NAMES:-}" ]; then
  named=()
  for it in "${command[@]}"; do [ "$it" = -s ] || named+=("$it"); done
  # Of two outputs the last counts.
  "$LINKED_BY" ld.lld "${named[@]}" -o "$LINKED_WITH_NAMES"
  exit
fi
python3 "$here/layout.py" order "${objects[@]}" > "$said.order"
"$LINKED_BY" ld.lld "${command[@]}" "--symbol-ordering-file=$said.order" --no-warn-symbol-ordering
