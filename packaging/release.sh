#!/bin/bash
# Makes the binaries that are given away, and says how large they are.   release.sh [TARGET…]
#
# Each is in target/release-bin/TARGET/boardkeeper. Without arguments all four are made. The way is chosen by what is here:
#
#   cross    the tool `cross`, and a container engine that answers
#   rustup   rustup has the target installed; it is linked with the linker and the musl that come with it. The C in the cryptography
#            needs a compiler for the target: what CC_<target> names, or Debian's gcc-aarch64-linux-gnu and gcc-arm-linux-gnueabihf
#   debian   on Debian: packaging/cross.sh, which fetches from Debian and PyPI what it needs
#
# WAY=cross, rustup or debian insists on one. The same source and the same profile serve all of them. Most of a build is its last step,
# which takes one processor; so JOBS targets are built at once, by default one for each processor. What each says is in
# target/release-bin/TARGET.log.
# packaging/budget.txt says how many bytes a target may have; one that has more fails.
set -eu
cd "$(dirname "$0")/.."
here=$PWD out=$PWD/target/release-bin
every='aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf arm-unknown-linux-musleabihf x86_64-unknown-linux-musl'

fail() { echo "release.sh: $*" >&2; exit 1; }

engine_answers() { docker info > /dev/null 2>&1 || podman info > /dev/null 2>&1; }

rustup_has() { command -v rustup > /dev/null && rustup target list --installed 2> /dev/null | grep -qx "$1"; }

way_for() {
  if [ -n "${WAY:-}" ]; then
    echo "$WAY"
  elif command -v cross > /dev/null && engine_answers; then
    echo cross
  elif rustup_has "$1"; then
    echo rustup
  elif command -v apt-get > /dev/null; then
    echo debian
  else
    fail "no way to build for $1: install cross and a container engine, or run: rustup target add $1"
  fi
}

# A compiler of C for a target. It needs no library: nothing of C's own is called.
c_compiler() {
  local named=CC_${1//-/_} it
  case $1 in
  aarch64-*) it=aarch64-linux-gnu-gcc ;;
  arm*) it=arm-linux-gnueabihf-gcc ;;
  *) it=cc ;;
  esac
  it=${!named:-$it}
  command -v "$it" || { echo "release.sh: rustup has no C compiler for $1, and $it is not here: install it, or name one in $named" >&2; return 1; }
}

# Prints where the binary is.
build() {
  local way=$1 target=$2 upper
  upper=$(tr a-z- A-Z_ <<< "$target")
  case $way in
  cross)
    # The tables by which a panic unwinds are of no use to a binary that aborts.
    env "CARGO_TARGET_${upper}_RUSTFLAGS=-C force-unwind-tables=no" nice -n 10 cross build --release --locked --target "$target" >&2 || return 1
    echo "$here/target/$target/release/boardkeeper" ;;
  rustup)
    local cc
    cc=$(c_compiler "$target") || return 1
    env "CC_${target//-/_}=$cc" "CARGO_TARGET_${upper}_LINKER=rust-lld" \
      "CARGO_TARGET_${upper}_RUSTFLAGS=-C force-unwind-tables=no -C link-self-contained=yes --remap-path-prefix=$here=/boardkeeper --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
      nice -n 10 cargo build --release --locked --target "$target" >&2 || return 1
    echo "$here/target/$target/release/boardkeeper" ;;
  debian)
    packaging/cross.sh "$target" build --release --locked >&2 || return 1
    echo "${CARGO_TARGET_DIR:-$here/target/cross/$target}/$target/release/boardkeeper" ;;
  *) fail "unknown way '$way': cross, rustup or debian" ;;
  esac
}

# Asks for no interpreter and needs no library.
is_static() { ! readelf --wide --program-headers --dynamic "$1" 2> /dev/null | grep -qE ' INTERP |\(NEEDED\)'; }

# The processor it was built for, as the file itself says: v6 for a Pi Zero, where v7 would not run.
processor() {
  local machine arm
  machine=$(readelf --file-header "$1" | sed -n 's/^ *Machine: *//p')
  arm=$(readelf --arch-specific "$1" 2> /dev/null | sed -n 's/^ *Tag_CPU_arch: //p')
  echo "${arm:+ARM }${arm:-$machine}"
}

budget() { sed -n "s/^$1  *\([0-9]*\).*/\1/p" packaging/budget.txt; }

# Builds and looks at one; says so in a line of the table, and what is wrong in a line of its own.
release() {
  local target=$1 way began=$SECONDS from size may static=yes
  way=$(way_for "$target")
  echo "release.sh: $target, by way of $way" >&2
  from=$(build "$way" "$target" 2> "$out/$target.log") || {
    tail -20 "$out/$target.log" >&2
    echo "$target was not built; the lines above say why." >> "$work/failed"
    return
  }
  mkdir -p "$out/$target"
  install -m 755 "$from" "$out/$target/boardkeeper"
  size=$(stat -c %s "$out/$target/boardkeeper") may=$(budget "$target")
  is_static "$out/$target/boardkeeper" || static=NO
  printf '%-32s %10s %10s %-7s %-12s %-8s %5s\n' "$target" "$size" "${may:-none}" "$static" \
    "$(processor "$out/$target/boardkeeper" | cut -c1-12)" "$way" $((SECONDS - began)) >> "$work/table"
  {
    [ "$static" = yes ] || echo "$target is not static."
    [ -n "$may" ] || echo "$target has no budget in packaging/budget.txt."
    [ "$size" -le "${may:-$size}" ] || echo "$target has $size bytes, $may are allowed."
  } >> "$work/failed"
}

command -v readelf > /dev/null || fail "readelf is needed to look at the binaries: install binutils"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2086 # several words
[ $# -gt 0 ] || set -- $every
for it in "$@"; do
  [[ " $every " = *" $it "* ]] || fail "no target of ours: $it; there are: $every"
  # Said before anything is built.
  way_for "$it" > /dev/null
done
mkdir -p "$out"
touch "$work/table" "$work/failed"
jobs=${JOBS:-$(nproc)}
# Each build is a process group of its own, so that Ctrl-C reaches all of it.
set -m
trap 'for it in $(jobs -p); do kill -- "-$it"; done; exit 130' INT TERM
for it in "$@"; do
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
  (
    # Whatever breaks it off is told, too.
    trap '[ $? = 0 ] || echo "$it was broken off." >> "$work/failed"' EXIT
    release "$it"
  ) &
done
wait
printf '%-32s %10s %10s %-7s %-12s %-8s %5s\n' target bytes budget static processor way seconds
sort "$work/table"
[ ! -s "$work/failed" ] || fail "$(paste -sd ' ' "$work/failed")"
