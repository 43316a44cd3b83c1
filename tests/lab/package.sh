#!/bin/bash
# Takes the Debian packages through their lives in clean roots.   package.sh [ARCHITECTURE…]
#
# amd64, armhf, arm64, armel; without arguments, those that `make deb` has made. For each, in a root of Debian that has nothing but
# systemd's files: the package is installed, upgraded, replaced by an older one, removed, installed again and purged with apt, its maintainer scripts running on
# an emulated processor where the machine has another. After each step it is looked at what is there, what is kept and what is gone,
# and between them the agent runs, so that there is a state to keep. Where the machine has the processor itself, systemd runs in the
# root with a private engine beside it, and it is looked at whether the agent was begun, begun anew and stopped, whether
# the version before takes the place of one that is no program, and whether the container of its app ran on through all of it. The roots are made once, in
# ${XDG_CACHE_HOME:-~/.cache}/boardkeeper/roots; SUITE is the release of Debian (bookworm), MIRROR where it comes from (its usual one).
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
  mmdebstrap --mode=root --format=tar --quiet --skip=check/empty,check/qemu --architectures="$arch" --variant=apt \
    --include=systemd,init-system-helpers --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$tar.new" \
    "deb ${MIRROR:-http://deb.debian.org/debian} $suite main" > "$roots/$arch.log" 2>&1 || {
    tail -20 "$roots/$arch.log" >&2
    fail "no root could be made"
  }
  mv "$tar.new" "$tar"
}

# systemd as the first process of a root, in namespaces of its own.
boot() {
  say "starting systemd in it"
  mount --rbind "$root" "$root"
  # shellcheck disable=SC2016 # The inner shell's own arguments.
  unshare --pid --fork --kill-child --mount --cgroup --uts --ipc --net sh -euc '
    cd "$1"
    ip link set lo up
    umount proc
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs tmpfs run
    touch run/docker.sock
    mount --bind "$2/docker.sock" run/docker.sock
    # Engine and agent are of one host: the directory of update locks is the same for both.
    mkdir -p tmp/balena-supervisor
    mount --bind /tmp/balena-supervisor tmp/balena-supervisor
    ln -sf /usr/lib/systemd/system/multi-user.target etc/systemd/system/default.target
    exec chroot . env -i container=boardkeeper PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console
  ' sh "$root" "$BOARDKEEPER_LAB/engine" > "$work/systemd.log" 2>&1 &
  local outer=$!
  for _ in $(seq 150); do
    init=$(cat "/proc/$outer/task/$outer/children" 2> /dev/null || true)
    init=${init// /}
    # Degraded: file systems for looking into a kernel are none of a namespace's business.
    case $([ -z "$init" ] || in_root systemctl is-system-running 2> /dev/null || true) in running | degraded) return ;; esac
    sleep 0.2
  done
  tail -5 "$work/systemd.log" >&2
  fail "systemd does not come up"
}

# What is at the root's first process, when it runs, and else simply at the root.
enter() { if [ -n "$init" ]; then nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup --root --wd "$@"; else chroot "$root" "$@"; fi; }
in_root() { enter env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }
apt() { in_root apt-get -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "$@" > "$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; fail "apt-get $*"; }; }

# The package as it would have been one version ago.
make_older() {
  dpkg-deb --raw-extract "$1" "$work/older"
  sed -i 's/^Version: .*/Version: 0.0.1/' "$work/older/DEBIAN/control"
  dpkg-deb --root-owner-group --build "$work/older" "$root/tmp/older.deb" > /dev/null
}

# And as it would be if the program of the next version were none.
make_broken() {
  dpkg-deb --raw-extract "$1" "$work/broken"
  sed -i 's/^Version: .*/Version: 99/' "$work/broken/DEBIAN/control"
  echo 'this is no program' > "$work/broken/usr/bin/boardkeeper"
  dpkg-deb --root-owner-group --build "$work/broken" "$root/tmp/broken.deb" > /dev/null
}

# --- what is looked at ---

there() { for it in "$@"; do [ -e "$root$it" ] || [ -h "$root$it" ] || fail "$when, $it is not there"; done; }
gone() { for it in "$@"; do [ ! -e "$root$it" ] && [ ! -h "$root$it" ] || fail "$when, $it is still there"; done; }
same() { [ "$2" = "$3" ] || fail "$when, $1 is '$2' and not '$3'"; }

enabled=/etc/systemd/system/multi-user.target.wants/boardkeeper.service
program="/usr/bin/boardkeeper /usr/share/polkit-1/rules.d/50-boardkeeper.rules /usr/lib/udev/rules.d/70-boardkeeper.rules /usr/lib/systemd/system/boardkeeper.service /usr/lib/boardkeeper/fallback /usr/share/man/man1/boardkeeper.1.gz
  /usr/share/bash-completion/completions/boardkeeper"

# A short life: it makes its identity and its keys, and stops when it is asked.
live() {
  local code=0
  if [ -n "$init" ]; then
    for _ in $(seq 50); do ! in_root boardkeeper key > /dev/null 2>&1 || break; sleep 0.2; done
    same 'the service' "$(in_root systemctl is-active boardkeeper.service || true)" active
    same "the service's user" "$(in_root stat -c %U "/proc/$(process)")" boardkeeper
    return
  fi
  in_root timeout --preserve-status --signal=TERM 10 boardkeeper run --listen 127.0.0.1:0 > "$work/agent.log" 2>&1 || code=$?
  [ "$code" = 0 ] || { tail -5 "$work/agent.log" >&2; fail "$when, the agent ended with $code"; }
}

key() { in_root boardkeeper key; }

# The device's key may be among the settings.
kept_secret() { same 'who reads the settings' "$(in_root stat -c '%a %U %G' /etc/default/boardkeeper)" '640 root boardkeeper'; }

# The process of the service; 0 where it does not run, and nothing where there is no systemd.
process() { [ -z "$init" ] || in_root systemctl show --property MainPID --value boardkeeper.service; }

containers() { docker ps --quiet --no-trunc --filter label=io.balena.app-id=7; }

# An app, where there is an engine to run it.
want_an_app() {
  [ -n "$init" ] || return 0
  # As the engine's own package has it.
  in_root chgrp docker /run/docker.sock
  cat > "$root/etc/boardkeeper/target.json" << 'J'
{ "local": { "name": "here", "apps": { "7": { "name": "app", "commit": "c0ffee", "releaseId": 1, "networks": {}, "volumes": {},
  "services": { "1": { "serviceName": "main", "imageId": 1, "image": "tests/busybox:1", "environment": {}, "labels": {},
    "running": true, "command": ["sleep", "1000"] } } } } } }
J
  for _ in $(seq 150); do [ -z "$(containers)" ] || break; sleep 0.2; done
  container=$(containers)
  [ -n "$container" ] || { in_root boardkeeper state >&2 || true; in_root journalctl -u boardkeeper -n 20 >&2; fail "$when, the app does not run"; }
}

# Without systemd no version is known to have become ready, so none is kept.
falls_back() {
  local began=$SECONDS
  [ -n "$init" ] || return 0
  apt install /tmp/broken.deb
  for _ in $(seq 600); do
    ! in_root /usr/lib/boardkeeper/previous/boardkeeper state --json > "$work/state" 2> /dev/null || break
    sleep 0.2
  done
  grep -q 'boardkeeper 99 is installed and did not become ready' "$work/state" ||
    { in_root journalctl -u boardkeeper -n 20 >&2; fail "$when, the version before does not say that it runs in place of another"; }
  say "the version before answered $((SECONDS - began)) s after an upgrade to no program"
  same 'the key' "$(in_root /usr/lib/boardkeeper/previous/boardkeeper key)" "$1"
  it_runs_on
}

it_runs_on() { [ -z "$init" ] || same "the app's container" "$(containers)" "$container"; }

# A boot empties /tmp. The directory of a service's locks is made before its container is started: an engine would make it for root alone.
lose_the_locks() {
  [ -n "$init" ] || return 0
  rm -rf /tmp/balena-supervisor/services/7
  docker stop --time 0 "$container" > /dev/null
  for _ in $(seq 150); do [ -z "$(containers)" ] || break; sleep 0.2; done
  it_runs_on
  same "the owner of its locks' directory" "$(in_root stat -c %U /tmp/balena-supervisor/services/7/main)" boardkeeper
}

take_through() {
  local new=$1 before pid
  make_older "$new"
  make_broken "$new"
  cp "$new" "$root/tmp/new.deb"

  when='after the installation'
  apt install /tmp/older.deb
  # shellcheck disable=SC2086 # several words
  there $program $enabled /etc/default/boardkeeper /etc/boardkeeper
  same 'the version' "$(in_root boardkeeper --version)" "boardkeeper $version"
  same "the target's directory" "$(in_root stat -c '%a %G' /etc/boardkeeper)" '750 boardkeeper'
  kept_secret
  same "the user's groups" "$(in_root id -nG boardkeeper)" 'boardkeeper docker gpio'
  live
  before=$(key)
  [ -n "$before" ] || fail "$when, there is no key"
  echo '# mine' >> "$root/etc/default/boardkeeper"
  : > "$root/etc/boardkeeper/target.json"
  want_an_app
  pid=$(process)

  when='after the upgrade'
  apt install /tmp/new.deb
  same 'the package' "$(in_root dpkg-query -W -f '${Version}' boardkeeper)" "$version"
  same 'the key' "$(key)" "$before"
  same 'the configuration' "$(tail -1 "$root/etc/default/boardkeeper")" '# mine'
  kept_secret
  there $enabled
  live
  same 'the key of the next life' "$(key)" "$before"
  if [ -n "$init" ] && [ "$(process)" = "$pid" ]; then fail "$when, the old one still runs"; fi
  it_runs_on

  when='after an older package'
  pid=$(process)
  apt install --allow-downgrades /tmp/older.deb
  same 'the package' "$(in_root dpkg-query -W -f '${Version}' boardkeeper)" 0.0.1
  live
  same 'the key' "$(key)" "$before"
  if [ -n "$init" ] && [ "$(process)" = "$pid" ]; then fail "$when, the newer one still runs"; fi
  it_runs_on

  when='after an upgrade to no program'
  falls_back "$before"
  apt install --allow-downgrades /tmp/new.deb
  live
  same 'the key' "$(key)" "$before"
  it_runs_on

  when='after the directory of its locks was lost'
  lose_the_locks

  when='after the removal'
  apt remove boardkeeper
  # shellcheck disable=SC2086 # several words
  gone $program /usr/lib/boardkeeper
  [ -z "$init" ] || same "the service's process" "$(process)" 0
  it_runs_on
  there /var/lib/boardkeeper/keys.json /etc/default/boardkeeper /etc/boardkeeper/target.json

  when='after another installation'
  # Who has no use for the settings may delete them.
  rm "$root/etc/default/boardkeeper"
  apt install /tmp/new.deb
  same 'the key' "$(key)" "$before"
  # A unit that was masked by the removal is not any more.
  same 'the unit' "$(in_root systemctl is-enabled boardkeeper.service)" enabled
  it_runs_on

  when='after the purge'
  apt purge boardkeeper
  # shellcheck disable=SC2086 # several words
  gone $program $enabled /usr/lib/boardkeeper /var/lib/boardkeeper /var/lib/boardkeeper-fallback /etc/boardkeeper /etc/default/boardkeeper /etc/systemd/system/boardkeeper.service
  it_runs_on
}

one() {
  local began=$SECONDS deb
  version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
  deb=$debs/boardkeeper_${version}_$arch.deb
  [ -e "$deb" ] || fail "there is no package: make release && make deb"
  work=$(mktemp -d "$roots/$arch.XXXXXX")
  root=$work/root
  mkdir "$root"
  tar -C "$root" --numeric-owner --exclude=./dev/\* -xf "$roots/$suite-$arch.tar"
  mount -t proc proc "$root/proc"
  mount -t tmpfs tmpfs "$root/dev"
  mkdir "$root/dev/shm" "$root/dev/pts"
  for it in null zero full random urandom tty; do touch "$root/dev/$it" && mount --bind "/dev/$it" "$root/dev/$it"; done
  if native "$arch"; then boot; fi
  take_through "$deb"
  say "installed, upgraded, replaced by an older one, removed, installed again and purged${init:+ under systemd}, in $((SECONDS - began)) s"
}

clean() {
  [ -n "$work" ] || return 0
  [ -z "$init" ] || kill -9 "$init" 2> /dev/null || true
  # The root lies over itself where systemd ran in it.
  umount --recursive --lazy "$work/root" 2> /dev/null || true
  for it in proc dev; do umount --recursive --lazy "$work/root/$it" 2> /dev/null || true; done
  rm -rf --one-file-system "$work"
}

native() { [ "$1" = "$(dpkg --print-architecture)" ]; }

arch=${2:-} work='' init='' container=''
case ${1:-} in
--root) make_root && exit ;;
--life)
  trap clean EXIT
  one
  exit ;;
--engine)
  trap 'tests/lab/engine.sh down "$BOARDKEEPER_LAB/engine" || true' EXIT
  DOCKER_HOST=$(tests/lab/engine.sh up "$BOARDKEEPER_LAB/engine")
  export DOCKER_HOST
  tests/lab/engine.sh image "$BOARDKEEPER_LAB/engine" > /dev/null
  tests/lab/foreign.sh "$here/tests/lab/package.sh" --life "$arch"
  exit ;;
esac

tests/lab/install.sh package engine busybox tools
[ $# -gt 0 ] || for it in amd64 armhf arm64 armel; do
  ls "$debs"/boardkeeper_*_$it.deb > /dev/null 2>&1 && set -- "$@" $it
done
arch=''
[ $# -gt 0 ] || fail "there is no package yet: make release && make deb"
for it in "$@"; do
  tests/lab/foreign.sh "$here/tests/lab/package.sh" --root "$it"
  if native "$it"; then
    tests/lab/inside.sh "$here/tests/lab/package.sh" --engine "$it"
  else
    tests/lab/foreign.sh "$here/tests/lab/package.sh" --life "$it"
  fi
done
