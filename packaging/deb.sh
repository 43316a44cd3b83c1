#!/bin/bash
# Makes Debian packages of the release binaries.   deb.sh [ARCHITECTURE…]
#
# amd64, arm64, armhf and armel; without arguments, those whose binary `make release` has made. Each is in target/deb.
#
# armhf and armel carry the ARMv6 binary. Raspberry Pi OS calls the system of a Pi Zero armhf just as Debian calls that of a
# BeagleBone, and a package cannot tell the two apart; Debian's own system for the Pi Zero is armel. The binary is static, so that
# it is at home on all of them, and an agent that sleeps most of the time gains nothing from ARMv7.
#
# The same source gives the same package, byte for byte: its times are those of the last commit, or SOURCE_DATE_EPOCH.
set -eu
cd "$(dirname "$0")/.."
here=$PWD out=$PWD/target/deb
umask 022

fail() { echo "deb.sh: $*" >&2; exit 1; }

target_of() {
  case $1 in
  amd64) echo x86_64-unknown-linux-musl ;;
  arm64) echo aarch64-unknown-linux-musl ;;
  armhf | armel) echo arm-unknown-linux-musleabihf ;;
  *) fail "no architecture of ours: $1; there are amd64, arm64, armhf and armel" ;;
  esac
}

binary_of() { echo "$here/target/release-bin/$(target_of "$1")/boardkeeper"; }

version() { sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml; }

file() { install -D -m 644 "$1" "$root/$2"; }
zipped() { mkdir -p "$root/$(dirname "$2")" && gzip --best --no-name < "$1" > "$root/$2.gz"; }

control() {
  cat << C
Package: boardkeeper
Version: $(version)
Architecture: $1
Maintainer: The boardkeeper developers <boardkeeper@localhost>
Installed-Size: $(du --apparent-size -sk "$root" | cut -f1)
Depends: init-system-helpers, systemd | systemd-sysusers
Recommends: docker.io | docker-ce | moby-engine | podman, openvpn, polkitd | policykit-1
Section: admin
Priority: optional
Description: keeps the containers on an ARM board as their owner wants them
 A small agent that brings the containers of a board to what a target-state
 document says, through power cuts, dead registries and restarted engines, and
 answers the on-device supervisor API of resin and balena devices on port 48484.
 .
 It works with Docker, balenaEngine and podman, and touches nothing on an engine
 that does not carry its labels. Removing the package leaves the containers.
C
}

copyright() {
  cat << C
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: boardkeeper

Files: *
Copyright: The boardkeeper developers
License: Apache-2.0
 The whole text is in /usr/share/common-licenses/Apache-2.0.
C
}

fill() {
  local packaged=packaging doc=usr/share/doc/boardkeeper it
  install -D -m 755 "$(binary_of "$1")" "$root/usr/bin/boardkeeper"
  install -d -m 755 "$root/etc/boardkeeper"
  file $packaged/boardkeeper.service usr/lib/systemd/system/boardkeeper.service
  file $packaged/boardkeeper-fallback.sh usr/lib/boardkeeper/fallback
  file $packaged/boardkeeper-vpn.service usr/lib/systemd/system/boardkeeper-vpn.service
  file $packaged/boardkeeper-journal.service usr/lib/systemd/system/boardkeeper-journal.service
  file $packaged/boardkeeper.sysusers usr/lib/sysusers.d/boardkeeper.conf
  file $packaged/boardkeeper.tmpfiles usr/lib/tmpfiles.d/boardkeeper.conf
  file $packaged/boardkeeper.udev usr/lib/udev/rules.d/70-boardkeeper.rules
  file $packaged/boardkeeper.polkit usr/share/polkit-1/rules.d/50-boardkeeper.rules
  file $packaged/debian/default etc/default/boardkeeper
  file target/manual/boardkeeper.bash usr/share/bash-completion/completions/boardkeeper
  file target/manual/_boardkeeper usr/share/zsh/vendor-completions/_boardkeeper
  file target/manual/boardkeeper.fish usr/share/fish/vendor_completions.d/boardkeeper.fish
  for it in target/manual/*.1; do zipped "$it" "usr/share/man/man1/$(basename "$it")"; done
  file $packaged/prometheus-alerts.yml $doc/examples/prometheus-alerts.yml
  file $packaged/grafana-dashboard.json $doc/examples/grafana-dashboard.json
  for it in README.md boards/README.md docs/*.md; do zipped "$it" "$doc/$it"; done
  copyright > "$root/$doc/copyright"
}

package() {
  local arch=$1 work deb
  deb=$out/boardkeeper_$(version)_$arch.deb
  [ -x "$(binary_of "$arch")" ] || fail "there is no binary for $arch: make release-$(target_of "$arch")"
  work=$(mktemp -d) root=$work/root
  mkdir -p "$root/DEBIAN" "$out"
  # Before control, which says how large it is; DEBIAN itself weighs nothing then.
  fill "$arch"
  control "$arch" > "$root/DEBIAN/control"
  echo /etc/default/boardkeeper > "$root/DEBIAN/conffiles"
  install -m 755 packaging/debian/preinst packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm "$root/DEBIAN/"
  (cd "$root" && find . -type f -not -path './DEBIAN/*' -printf '%P\n' | LC_ALL=C sort | xargs md5sum > DEBIAN/md5sums)
  find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
  dpkg-deb --root-owner-group -Zxz --threads-max=1 --build "$root" "$deb" > /dev/null
  rm -rf "$work"
  echo "deb.sh: ${deb#"$here"/}, $(stat -c %s "$deb") bytes"
}

command -v dpkg-deb > /dev/null || fail "dpkg-deb is needed: install dpkg"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2> /dev/null || stat -c %Y Cargo.lock)}
if [ $# = 0 ]; then
  for it in amd64 arm64 armhf armel; do [ ! -x "$(binary_of $it)" ] || set -- "$@" $it; done
  [ $# -gt 0 ] || fail "there is no release binary yet: make release"
fi
rm -rf target/manual
cargo run --locked --quiet --example manual -- target/manual
for it in "$@"; do package "$it"; done
