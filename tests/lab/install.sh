#!/bin/sh
# Sees to it that what the tests and `make run` need is here.   install.sh NEED…
#
#   rust      a compiler and cargo: those on PATH or in ~/.cargo/bin, else Debian's rustc-web and cargo-web
#   lint      rustfmt and clippy
#   deny      cargo-deny, built from crates.io: some minutes, once
#   fuzz      cargo-fuzz, built from crates.io: some minutes, once; and the C++ compiler libFuzzer wants
#   npm       npm, for what comes from its registry
#   python    python3 with venv, for what comes from PyPI
#   engine    dockerd, docker, iptables
#   registry  docker-registry, and htpasswd
#   bus       dbus-daemon
#   avahi     avahi-daemon, and avahi-browse
#   vpn       openvpn
#   nspawn    systemd-nspawn, and debootstrap for what it boots
#   busybox   the static busybox that the sample and test images are made of
#   ext4      mkfs.ext4, and xfs_io, which breaks a file system off
#   trace     strace, which tells what is written
#   valgrind  valgrind, which counts instructions
#   browser   chromium, and chromedriver, which drives it
#   metrics   promtool, which judges metrics and rules for alerts
#   compose   docker-compose, the reference for compose files
#   tools     curl, ip, make, openssl, unshare
#   kernel    qemu for whole machines, and what the small kernel is built of and with
#   arm       qemu-user for ARM programs, and libfaketime
#   package   mmdebstrap and a static qemu-user, for roots of other architectures
#   boards    what is needed beside those roots to make the disks of emulated boards
#
# Says what it installs, asks nothing, and says nothing when all is here. No service is started by it.
set -eu
PATH=$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin
oldest_rust=1.89 # as in Cargo.toml

has() { command -v "$1" > /dev/null 2>&1; }
known() { apt-cache show "$1" > /dev/null 2>&1; }
want() { missing="$missing $*"; }

# rustup leaves stand-ins on PATH for tools that it has not installed, so each is asked.
works() { "$@" --version > /dev/null 2>&1; }

rust_is_new_enough() {
  is=$(rustc --version | cut -d' ' -f2)
  [ "$(printf '%s\n%s\n' "$oldest_rust" "$is" | sort -V | head -1)" = "$oldest_rust" ]
}

need() {
  case $1 in
  rust)
    if works cargo && works rustc; then
      rust_is_new_enough || {
        echo "install.sh: $(rustc --version) is too old, $oldest_rust is needed: install a newer one with rustup, or" \
          "remove Debian's rustc and cargo and run this again (it then installs rustc-web and cargo-web)" >&2
        exit 1
      }
    else
      want rustc-web cargo-web
    fi
    has cc || want gcc libc6-dev ;;
  lint)
    if works cargo && [ -x "$(dirname "$(command -v cargo)")/rustup" ]; then
      works cargo fmt || components="$components rustfmt"
      works cargo clippy || components="$components clippy"
    else
      works cargo fmt || want rustfmt-web
      works cargo clippy || want rust-web-clippy
    fi ;;
  deny) works cargo deny || cargo install --quiet --locked cargo-deny ;;
  fuzz)
    has c++ || want g++
    works cargo fuzz || cargo install --quiet --locked cargo-fuzz ;;
  python) python3 -m venv --help > /dev/null 2>&1 && python3 -c 'import ensurepip' 2> /dev/null || want python3-venv ;;
  npm) has npm || want npm ;;
  engine)
    has dockerd || want docker.io
    has docker || want docker-cli
    has iptables || want iptables ;;
  registry)
    has docker-registry || want docker-registry
    has htpasswd || want apache2-utils ;;
  bus)
    has dbus-daemon || want dbus ;;
  avahi)
    has avahi-daemon || want avahi-daemon
    has avahi-browse || want avahi-utils ;;
  vpn) has openvpn || want openvpn ;;
  nspawn)
    has systemd-nspawn || want systemd-container
    has debootstrap || want debootstrap
    has pgrep || want procps ;;
  kernel)
    has qemu-system-x86_64 || want qemu-system-x86
    ls /usr/src/linux-source-*.tar.xz > /dev/null 2>&1 || want linux-source
    for it in bc bison flex make; do has $it || want $it; done
    has strip || want binutils
    for it in libelf-dev libssl-dev xz-utils; do dpkg-query -W "$it" > /dev/null 2>&1 || want "$it"; done ;;
  busybox) busybox_is_static || want busybox-static ;;
  ext4)
    has mkfs.ext4 || want e2fsprogs
    has xfs_io || want xfsprogs ;;
  browser)
    has chromium || want chromium
    has chromedriver || want chromium-driver ;;
  compose) has docker-compose || want docker-compose ;;
  metrics) has promtool || want prometheus ;;
  trace) has strace || want strace ;;
  valgrind) has valgrind || want valgrind ;;
  tools)
    has curl || want curl
    has ip || want iproute2
    has unshare || want util-linux
    has make || want make
    has openssl || want openssl ;;
  arm)
    has qemu-arm && has qemu-aarch64 || want qemu-user
    dpkg-query -W libfaketime > /dev/null 2>&1 || want libfaketime ;;
  package)
    has mmdebstrap || want mmdebstrap
    has qemu-arm-static || want qemu-user-static ;;
  boards)
    has mkfs.ext4 || want e2fsprogs
    has xz || want xz-utils ;;
  *) echo "install.sh: nobody knows the need '$1'" >&2; exit 2 ;;
  esac
}

# Debian's other busybox needs a C library, which a bare image has not.
busybox_is_static() { has busybox && [ "$(dpkg-query -W -f '${db:Status-Abbrev}' busybox-static 2> /dev/null)" = 'ii ' ]; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

missing='' components=''
for it in "$@"; do need "$it"; done

if [ -n "$components" ]; then
  echo "install.sh: adding$components to the Rust toolchain" >&2
  # shellcheck disable=SC2086 # several words
  rustup --quiet component add $components
fi

[ -n "$missing" ] || exit 0
has apt-get || { echo "install.sh: this is no Debian; please install what these Debian packages bring:$missing" >&2; exit 1; }
as_root apt-get update -qq
# Debian 12 has the client inside docker.io, Debian 13 in a package of its own.
packages=''
for it in $missing; do
  if [ "$it" = docker-cli ] && ! known docker-cli; then it=docker.io; fi
  packages="$packages $it"
done
echo "install.sh: installing from Debian's packages:$packages" >&2

# The tests bring up their own engine and registry: the packages' services stay off while they are installed.
policy=/usr/sbin/policy-rc.d
said=$(mktemp) made=''
trap 'rm -f "$said"; [ -z "$made" ] || as_root rm -f $policy' EXIT
trap 'exit 130' INT TERM
if [ ! -e $policy ]; then
  made=yes
  printf '#!/bin/sh\nexit 101\n' | as_root tee $policy > /dev/null
  as_root chmod +x $policy
fi
# shellcheck disable=SC2086 # several words
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages > "$said" 2>&1 || {
  tail -20 "$said" >&2
  exit 1
}
