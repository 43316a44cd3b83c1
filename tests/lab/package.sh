#!/bin/bash
# Takes the Debian packages through their lives in clean roots.   package.sh [ARCHITECTURE…]
#
# amd64, armhf, arm64, armel; without arguments, those that `make deb` has made. For each, in a root of Debian that has nothing but
# systemd's files: the package is installed, upgraded, removed, installed again and purged with apt, its maintainer scripts running on
# an emulated processor where the machine has another. After each step it is looked at what is there, what is kept and what is gone,
# and between them the agent runs, so that there is a state to keep. The roots are made once, in
# ${XDG_CACHE_HOME:-~/.cache}/boardkeeper/roots; SUITE is the release of Debian (bookworm), MIRROR where it comes from.
set -eu
cd "$(dirname "$0")/../.."
here=$PWD suite=${SUITE:-bookworm}
roots=${XDG_CACHE_HOME:-$HOME/.cache}/boardkeeper/roots
debs=$here/target/deb

say() { echo "package.sh: $arch: $*"; }
fail() { echo "package.sh: ${arch:-}: $*" >&2; exit 1; }

# --- a root ---

make_root() {
  local tar=$roots/$suite-$arch.tar
  [ ! -e "$tar" ] || return 0
  say "making a root of Debian $suite in $roots; this takes minutes, once"
  mkdir -p "$roots"
  mmdebstrap --mode=root --quiet --skip=check/empty,check/qemu --architectures="$arch" --variant=apt \
    --include=systemd,init-system-helpers --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$tar.new" \
    "deb ${MIRROR:-http://deb.debian.org/debian} $suite main" > "$roots/$arch.log" 2>&1 || {
    tail -20 "$roots/$arch.log" >&2
    fail "no root could be made"
  }
  mv "$tar.new" "$tar"
}

in_root() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }
apt() { in_root apt-get -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends --no-download "$@" > "$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; fail "apt-get $*"; }; }

# The package as it would have been one version ago.
make_older() {
  dpkg-deb --raw-extract "$1" "$work/older"
  sed -i 's/^Version: .*/Version: 0.0.1/' "$work/older/DEBIAN/control"
  dpkg-deb --root-owner-group --build "$work/older" "$root/tmp/older.deb" > /dev/null
}

# --- what is looked at ---

there() { for it in "$@"; do [ -e "$root$it" ] || [ -h "$root$it" ] || fail "$when, $it is not there"; done; }
gone() { for it in "$@"; do [ ! -e "$root$it" ] && [ ! -h "$root$it" ] || fail "$when, $it is still there"; done; }
same() { [ "$2" = "$3" ] || fail "$when, $1 is '$2' and not '$3'"; }

enabled=/etc/systemd/system/multi-user.target.wants/boardkeeper.service
program="/usr/bin/boardkeeper /usr/lib/systemd/system/boardkeeper.service /usr/share/man/man1/boardkeeper.1.gz
  /usr/share/bash-completion/completions/boardkeeper"

# A short life: it makes its identity and its keys, and stops when it is asked.
live() {
  local code=0
  in_root timeout --preserve-status --signal=TERM 10 boardkeeper run --listen 127.0.0.1:0 > "$work/agent.log" 2>&1 || code=$?
  [ "$code" = 0 ] || { tail -5 "$work/agent.log" >&2; fail "$when, the agent ended with $code"; }
}

key() { in_root boardkeeper key; }

take_through() {
  local new=$1 before
  make_older "$new"
  cp "$new" "$root/tmp/new.deb"

  when='after the installation'
  apt install /tmp/older.deb
  # shellcheck disable=SC2086 # several words
  there $program $enabled /etc/default/boardkeeper /etc/boardkeeper
  same 'the version' "$(in_root boardkeeper --version)" "boardkeeper $version"
  same "the target's directory" "$(stat -c %a "$root/etc/boardkeeper")" 750
  live
  before=$(key)
  [ -n "$before" ] || fail "$when, there is no key"
  echo '# mine' >> "$root/etc/default/boardkeeper"
  echo '{}' > "$root/etc/boardkeeper/target.json"

  when='after the upgrade'
  apt install /tmp/new.deb
  same 'the package' "$(in_root dpkg-query -W -f '${Version}' boardkeeper)" "$version"
  same 'the key' "$(key)" "$before"
  same 'the configuration' "$(tail -1 "$root/etc/default/boardkeeper")" '# mine'
  there $enabled
  live
  same 'the key of the next life' "$(key)" "$before"

  when='after the removal'
  apt remove boardkeeper
  # shellcheck disable=SC2086 # several words
  gone $program
  there /var/lib/boardkeeper/keys.json /etc/default/boardkeeper /etc/boardkeeper/target.json

  when='after another installation'
  apt install /tmp/new.deb
  same 'the key' "$(key)" "$before"
  # A unit that was masked by the removal is not any more.
  same 'the unit' "$(in_root systemctl is-enabled boardkeeper.service)" enabled

  when='after the purge'
  apt purge boardkeeper
  # shellcheck disable=SC2086 # several words
  gone $program $enabled /var/lib/boardkeeper /etc/boardkeeper /etc/default/boardkeeper /etc/systemd/system/boardkeeper.service
}

one() {
  arch=$1
  local began=$SECONDS deb
  version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
  deb=$debs/boardkeeper_${version}_$arch.deb
  [ -e "$deb" ] || fail "there is no package: make release && make deb"
  make_root
  work=$(mktemp -d "$roots/$arch.XXXXXX")
  root=$work/root
  mkdir "$root"
  tar -C "$root" --numeric-owner --exclude=./dev/\* -xf "$roots/$suite-$arch.tar"
  mount -t proc proc "$root/proc"
  for it in null zero random urandom; do touch "$root/dev/$it" && mount --bind "/dev/$it" "$root/dev/$it"; done
  take_through "$deb"
  say "installed, upgraded, removed, installed again and purged, in $((SECONDS - began)) s"
}

if [ "${1:-}" = --inside ]; then
  arch='' work=''
  trap '[ -z "$work" ] || { umount -R "$work/root/proc" "$work"/root/dev/* 2> /dev/null || true; rm -rf --one-file-system "$work"; }' EXIT
  one "$2"
  exit
fi

tests/lab/install.sh package
[ $# -gt 0 ] || for it in amd64 armhf arm64 armel; do
  ls "$debs"/boardkeeper_*_$it.deb > /dev/null 2>&1 && set -- "$@" $it
done
[ $# -gt 0 ] || fail "there is no package yet: make release && make deb"
for it in "$@"; do tests/lab/foreign.sh "$here/tests/lab/package.sh" --inside "$it"; done
