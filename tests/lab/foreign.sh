#!/bin/bash
# Runs a program as root where programs of other architectures run too.   foreign.sh PROGRAM ARGUMENT…
#
# The emulators are made known to the kernel in a namespace of their own (Linux 6.7), so that the machine itself does not change;
# on an older kernel those are used that Debian's qemu-user-static has made known to the machine. Mounts and processes end with it.
# Needs root, and the static qemu-user.
set -eu
[ -n "${BOARDKEEPER_FOREIGN:-}" ] || [ "$(id -u)" = 0 ] || exec sudo -E env "PATH=$PATH" "$0" "$@"

# An ELF file for a processor, as binfmt_misc wants it described: every byte of the header that counts, and which do.
register() {
  local name=$1 class=$2 machine=$3 zeros='\x00\x00\x00\x00\x00\x00\x00\x00\x00' same='\xff\xff\xff\xff\xff\xff\xff'
  local magic="\\x7f\\x45\\x4c\\x46\\x0$class\\x01\\x01$zeros\\x02\\x00\\x$machine\\x00"
  # Position-independent programs have a 3 where others have a 2.
  local mask="$same\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff"
  # F: the emulator is opened now, so that it is there in every root; P would tell it how it was called.
  echo ":boardkeeper-$name:M::$magic:$mask:$(command -v "qemu-$name-static"):OCF" > /proc/sys/fs/binfmt_misc/register
}

if [ "${BOARDKEEPER_FOREIGN:-}" = yes ]; then
  # Until our ids are mapped we are nobody.
  until [ "$(id -u)" = 0 ]; do sleep 0.05; done
  export BOARDKEEPER_FOREIGN=mapped
  # A root of this namespace has its powers from the next program on.
  exec "$0" "$@"
fi
if [ "${BOARDKEEPER_FOREIGN:-}" = mapped ]; then
  unset BOARDKEEPER_FOREIGN
  mount --make-rprivate /
  mount -t proc proc /proc
  if mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc 2> /dev/null; then
    register arm 1 28
    register aarch64 2 b7
  else
    ls /proc/sys/fs/binfmt_misc/qemu-arm > /dev/null 2>&1 || {
      echo "foreign.sh: this kernel has no binfmt_misc of a namespace's own, and qemu is not registered: install qemu-user-static" >&2
      exit 1
    }
  fi
  "$@" && exit 0 || exit $?
fi

own=$(readlink /proc/self/ns/user)
BOARDKEEPER_FOREIGN=yes unshare --user --mount --pid --fork --kill-child "$0" "$@" <&0 &
pid=$!
trap 'kill $pid 2> /dev/null || true' INT TERM
while kill -0 $pid 2> /dev/null && [ "$(readlink /proc/$pid/ns/user)" = "$own" ]; do sleep 0.05; done
echo "0 0 65536" > /proc/$pid/uid_map
echo "0 0 65536" > /proc/$pid/gid_map
wait $pid
