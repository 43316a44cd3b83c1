#!/bin/bash
# A machine with a real systemd, logind and polkit, for tests: boots in a second, is thrown away.   nspawn.sh VERB …
#
#   root                 makes the Debian root once, in ~/.cache/boardkeeper, and prints where it is (a minute the first time)
#                        SUITE is which Debian: bookworm (12, systemd 252) unless told otherwise, or trixie (13, systemd 257)
#   boot DIR BINARY      runs the machine of DIR on top of that root, with BINARY as the agent, until it ends
#                        exit code 133: it rebooted, boot it again; 0: it powered itself off
#                        DIR/engine is its /run/engine, where the agent expects an engine's socket
#   bare DIR BINARY      the same, with the files of the Debian package where it lays them down, and nothing of them set up yet:
#                        /root/postinst does that, as the package manager would
#   deb PROGRAM VERSION FILE   makes a package like packaging/deb.sh, with PROGRAM as the agent, for upgrades; no manual pages are in it
#
# What the machine writes is below DIR, so it is kept from boot to boot, and gone with DIR. Needs root, systemd-container and
# debootstrap.
set -eu
verb=$1
here=$(cd "$(dirname "$0")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/boardkeeper
suite=${SUITE:-bookworm}
root=$cache/nspawn-$suite

make_root() {
  [ -d "$root" ] && return
  mkdir -p "$cache"
  rm -rf "$root.draft"
  echo "nspawn.sh: making a Debian root in $root" >&2
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,libpam-systemd,polkitd \
    "$suite" "$root.draft" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >&2
  mv "$root.draft" "$root"
}

# The agent's unit, and a machine that stops in seconds.
furnish() {
  local etc=$1/etc/systemd
  # With this directory the journal outlives a reboot.
  mkdir -p "$etc/system/multi-user.target.wants" "$etc/system.conf.d" "$1/usr/local/bin" "$1/var/log/journal"
  printf '[Manager]\nDefaultTimeoutStopSec=5s\n' > "$etc/system.conf.d/quick.conf"
  cat > "$etc/system/boardkeeper.service" <<'UNIT'
[Unit]
Description=boardkeeper
# Stopped before those it asks.
After=dbus.service systemd-logind.service
Wants=dbus.service

[Service]
Type=notify
WatchdogSec=60
Restart=always
RestartSec=1
Environment=BOARDKEEPER_LISTEN=127.0.0.1:48484 BOARDKEEPER_BOARD=simulated DOCKER_HOST=unix:///run/engine/docker.sock
ExecStart=/usr/local/bin/boardkeeper run --target /etc/boardkeeper-target.json

[Install]
WantedBy=multi-user.target
UNIT
  ln -sf ../boardkeeper.service "$etc/system/multi-user.target.wants/boardkeeper.service"
  cp "$2" "$1/usr/local/bin/boardkeeper"
}

# What the package lays down, read off the script that makes it, so that the two never differ; and its settings, as an owner
# would change them. Nothing here makes the machine stop sooner than a board.
unpack() {
  local from to
  sed -n 's/^ *file \$packaged\/\([^ ]*\) \([^ ]*\)$/\1 \2/p' "$here/packaging/deb.sh" | while read -r from to; do
    install -D -m 644 "$here/packaging/$from" "$1/$to"
  done
  install -d -m 755 "$1/etc/boardkeeper" "$1/var/log/journal"
  sed -i 's,^#DOCKER_HOST=.*,DOCKER_HOST=unix:///run/engine/docker.sock\nBOARDKEEPER_BOARD=simulated,' "$1/etc/default/boardkeeper"
  install -D -m 755 "$here/packaging/debian/postinst" "$1/root/postinst"
  install -D -m 755 "$2" "$1/usr/bin/boardkeeper"
}

make_deb() {
  local work
  work=$(mktemp -d)
  unpack "$work" "$1"
  rm -r "$work/root" "$work/var"
  mkdir "$work/DEBIAN"
  for it in preinst postinst prerm postrm; do install -m 755 "$here/packaging/debian/$it" "$work/DEBIAN/"; done
  echo /etc/default/boardkeeper > "$work/DEBIAN/conffiles"
  printf '%s\n' 'Package: boardkeeper' "Version: $2" 'Architecture: all' 'Maintainer: The tests <tests@localhost>' \
    'Description: the agent, or what is to pass for it' > "$work/DEBIAN/control"
  dpkg-deb -Znone --root-owner-group --build "$work" "$3" > /dev/null
  rm -r "$work"
}

boot() {
  local furnish=$1 dir=$2 binary=$3
  mkdir -p "$dir/work" "$dir/machine" "$dir/engine"
  # overlayfs cannot lie on an overlay, as inside a container.
  if [ "$(stat -f -c %T "$dir")" = overlayfs ]; then echo "nspawn.sh: $dir must not be on an overlay" >&2; exit 1; fi
  if [ ! -d "$dir/upper" ]; then
    mkdir "$dir/upper"
    "$furnish" "$dir/upper" "$binary"
  fi
  mount -t overlay overlay -o "lowerdir=$root,upperdir=$dir/upper,workdir=$dir/work" "$dir/machine"
  exec env SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 SYSTEMD_SECCOMP=0 systemd-nspawn -q -D "$dir/machine" -b --register=no --keep-unit \
    --private-network -M "bk-$(basename "$dir" | tr -cd 'a-zA-Z0-9' | tail -c 8)" --capability=all --bind="$dir/engine:/run/engine" --console=pipe
}

case $verb in
root)
  make_root
  echo "$root" ;;
deb)
  make_deb "$2" "$3" "$4" ;;
boot | bare) # in mounts of its own, so that none is left when it ends
  if [ "${BOARDKEEPER_NSPAWN:-}" = inside ]; then
    mount --make-rprivate /
    if [ "$verb" = boot ]; then boot furnish "$2" "$3"; else boot unpack "$2" "$3"; fi
  fi
  make_root
  BOARDKEEPER_NSPAWN=inside exec unshare -m "$0" "$@" ;;
*)
  sed -n '2,17s/^# \{0,1\}//p' "$0" >&2
  exit 2 ;;
esac
