#!/bin/bash
# Builds for ARM on a Debian machine that reaches package registries and nothing else.   cross.sh TARGET CARGO-VERB [ARGUMENT…]
#
#   cross.sh armv7-unknown-linux-musleabihf build --release --locked
#   cross.sh prepare                         only fetches the tools
#
# The compiler, cargo and the standard library's source are Debian's rustc-web packages, unpacked in a directory of their own, so
# that the system stays as it is. The linker and musl are zig's, from PyPI, in a virtual environment. The standard library is built
# with the agent. All of it is in ${XDG_CACHE_HOME:-~/.cache}/boardkeeper/cross, and may be removed at any time.
# What is built is in target/cross/TARGET/TARGET: nothing of the machine's own Rust is touched, and two targets can be built side by side.
set -eu
cd "$(dirname "$0")/.."
here=$PWD
cache=${XDG_CACHE_HOME:-$HOME/.cache}/boardkeeper/cross
oldest_rust=1.89 # as in Cargo.toml
# Pinned, so that the same source gives the same binary.
zigbuild=0.24.0 zig=0.17.1

say() { echo "cross.sh: $*" >&2; }
fail() { say "$*"; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
usage() { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# The newest of Debian's that this machine may install.
candidate() { apt-cache policy rustc-web | sed -n 's/^ *Candidate: \([0-9].*\)/\1/p'; }

install() {
  say "installing from Debian's packages: $*"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" > "$cache/apt.log" 2>&1 || {
    tail -20 "$cache/apt.log" >&2
    exit 1
  }
}

need_tools() {
  local missing=''
  python3 -c 'import ensurepip, venv' 2> /dev/null || missing="$missing python3-venv"
  # Build scripts run on this machine and are linked for it.
  command -v cc > /dev/null || missing="$missing gcc libc6-dev"
  command -v readelf > /dev/null || missing="$missing binutils"
  # shellcheck disable=SC2086 # several words
  [ -z "$missing" ] || install $missing
}

# Everything that apt would install here for the compiler, and what it might already have installed.
packages() {
  local versioned
  versioned=$(apt-cache depends libstd-rust-web-dev | sed -n 's/.*Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p' | head -1)
  {
    printf '%s\n' rustc-web cargo-web rust-web-src libstd-rust-web-dev "$versioned"
    apt-get -s install --no-install-recommends rustc-web cargo-web rust-web-src | sed -n 's/^Inst \([^ ]*\).*/\1/p'
  } | sort -u
}

fetch_compiler() {
  local version=$1
  rm -rf "$cache/root" "$cache/debs"
  mkdir -p "$cache/debs"
  say "downloading Debian's Rust $version to $cache (about 200 MB, once)"
  # shellcheck disable=SC2046 # several words
  (cd "$cache/debs" && apt-get download -qq $(packages) 2> "$cache/apt.log") || fail "cannot download: $(tail -1 "$cache/apt.log")"
  local it
  for it in "$cache"/debs/*.deb; do dpkg-deb --extract "$it" "$cache/root"; done
  rm -rf "$cache/debs"
}

fetch_linker() {
  say "installing cargo-zigbuild $zigbuild and ziglang $zig from PyPI in $cache/venv"
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" install --quiet --disable-pip-version-check "cargo-zigbuild==$zigbuild" "ziglang==$zig"
}

prepare() {
  command -v apt-get > /dev/null || fail "this way needs Debian; elsewhere use cross, or rustup with the target added"
  mkdir -p "$cache"
  exec 9> "$cache/lock"
  flock 9
  need_tools
  local version
  version=$(candidate)
  # A machine that has not asked its mirror for a while knows an older one, or none.
  dpkg --compare-versions "$version" ge "$oldest_rust" || { say "asking Debian's mirror for what is new"; as_root apt-get update -qq; version=$(candidate); }
  [ -n "$version" ] || fail "Debian's package rustc-web is not known here: is the security suite among apt's sources?"
  dpkg --compare-versions "$version" ge "$oldest_rust" || fail "rustc-web is $version here, $oldest_rust is needed: use cross, or rustup"
  # What is there is used until it is removed: an upgrade in Debian would make every build anew, unasked.
  [ -e "$cache/root.is" ] || { fetch_compiler "$version" && echo "$version" > "$cache/root.is"; }
  [ "$(cat "$cache/venv.is" 2> /dev/null)" = "$zigbuild $zig" ] || { fetch_linker && echo "$zigbuild $zig" > "$cache/venv.is"; }
  exec 9>&-
}

# The tools are found, and the target's settings are what its musl and zig need.
enter() {
  local upper flags=
  upper=$(tr a-z- A-Z_ <<< "$1")
  # A binary that aborts on a panic never unwinds: its tables are an eighth of it. Tests unwind. What runs in it stands together.
  if [ "$2" = zigbuild ]; then
    # Older compilers give functions names without their types.
    flags="-C force-unwind-tables=no -C symbol-mangling-version=v0 -C linker=$here/packaging/linker.sh "
    LINKED_TARGET=$upper LINKED_BY=$(echo "$cache"/venv/lib/python3*/site-packages/ziglang/zig)
    export LINKED_TARGET LINKED_BY
  fi
  # These binaries are loaded at one place, so code for any place only makes them larger. Thumb-2 takes two thirds of the room; a
  # Pi Zero has none. (LLVM's outliner would make its binary half a megabyte smaller, and it crashes with it: tests/lab/arm.sh.)
  case $1 in
  armv7-*) flags="$flags-C relocation-model=static -C target-feature=+thumb-mode " ;;
  arm-*) flags="$flags-C relocation-model=static " ;;
  esac
  LD_LIBRARY_PATH=$cache/root/usr/lib/$(uname -m)-linux-gnu
  export LD_LIBRARY_PATH
  export PATH=$cache/root/usr/bin:$cache/venv/bin:$PATH RUSTC=$cache/root/usr/bin/rustc CARGO=$cache/root/usr/bin/cargo
  # Building the standard library is asked for with -Z, which a stable compiler takes only so.
  export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/target/cross/$1}
  # Seconds after 2038; tests/lab/arm.sh looks at a clock that stands there.
  case $1 in arm*) export RUSTC_WRAPPER=$here/packaging/rustc-time64.sh ;; esac
  # musl and its start files are zig's. Where it was built is nobody's business, and would differ between two machines.
  export "CARGO_TARGET_${upper}_RUSTFLAGS=$flags-C link-self-contained=no --remap-path-prefix=$here=/boardkeeper --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
}

[ $# -ge 1 ] || usage
prepare
[ "$1" != prepare ] || exit 0
[ $# -ge 2 ] || usage
target=$1 verb=$2
shift 2
[ "$verb" != build ] || verb=zigbuild
enter "$target" "$verb"
# A binary that aborts, and has no symbols, has no use for the code that prints backtraces; and the algorithms that are chosen for
# size sort and search a few dozen items as fast.
std=()
[ "$verb" != zigbuild ] || std=(-Zbuild-std-features=optimize_for_size)
exec nice -n 10 cargo-zigbuild "$verb" --target "$target" -Zbuild-std=std,panic_abort "${std[@]}" "$@"
