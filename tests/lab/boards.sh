#!/bin/bash
# Takes emulated boards through a day, and prints a table of what was seen.   boards.sh [BOARD…]
#
# A board is what tests/lab/board.sh knows; without arguments, each whose release binary is here. The packages are made anew of the
# release binaries; the day itself is tests/boards/emulated.rs. With everything kept from an earlier run a board takes minutes,
# because its processor is emulated; the first run makes Debian roots, and takes longer.
set -eu
cd "$(dirname "$0")/../.."
fail() { echo "boards.sh: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || exec sudo -E env "PATH=$PATH" "$0" "$@"
[ $# -gt 0 ] || set -- $(tests/lab/board.sh boards)
arches='' names=''
for it in "$@"; do
  arch=$(tests/lab/board.sh arch "$it")
  case $arch in arm64) target=aarch64-unknown-linux-musl ;; *) target=arm-unknown-linux-musleabihf ;; esac
  if [ ! -x "target/release-bin/$target/boardkeeper" ]; then
    echo "boards.sh: $it is left out: there is no binary for it; make release-$target" >&2
    continue
  fi
  tests/lab/board.sh root "$arch"
  [[ " $arches " = *" $arch "* ]] || arches="$arches $arch"
  names="$names a_$(tr - _ <<< "$it")_has"
done
[ -n "$names" ] || fail "there is nothing to run: make release"
tests/lab/board.sh emulator
# shellcheck disable=SC2086 # several words
packaging/deb.sh $arches
table=target/boards.txt
printf '%-22s %6s  %-28s  %8s %10s  %-56s  %-8s  %4s  %6s  %-10s  %s\n' \
  board boot kernel ready memory 'identify: by the kernel, by the agent' killed line reboot 'power cuts' 'shutdown' > $table
code=0
# shellcheck disable=SC2086 # several words
cargo test --locked --test boards -- --ignored --test-threads=1 --nocapture $names || code=$?
cat $table
exit $code
