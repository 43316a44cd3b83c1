#!/bin/sh
# Runs a program where nothing it does is seen outside.   inside.sh PROGRAM ARGUMENT…
#
# Its network is loopback only, its processes end with it, however it ends, its mounts are its own, and so is the directory
# of update locks. So an engine, a registry and an agent started in it meet no others of their kind on this machine, use any
# port, and leave nothing behind. BOARDKEEPER_LAB names a directory on a disk an engine can use, which is gone afterwards.
# With BOARDKEEPER_LAB_NET=shared the network is this machine's.
# Needs root; asks sudo where it is not. cargo takes it as the runner of the tests that need it.
set -eu
[ "$(id -u)" = 0 ] || exec sudo -E env "PATH=$PATH" "$0" "$@"

if [ "${BOARDKEEPER_LAB_INSIDE:-}" = yes ]; then
  unset BOARDKEEPER_LAB_INSIDE
  [ "${BOARDKEEPER_LAB_NET:-}" = shared ] || ip link set lo up
  # An engine cannot keep its layers on the overlay of a container it runs in itself.
  [ "$(stat -f -c %T "$BOARDKEEPER_LAB")" != overlayfs ] || mount -t tmpfs lab "$BOARDKEEPER_LAB"
  mkdir -p "$BOARDKEEPER_LAB/locks" /tmp/balena-supervisor
  mount --bind "$BOARDKEEPER_LAB/locks" /tmp/balena-supervisor
  # Not exec: process 1 is this shell, which also buries the orphans of engines that were killed.
  "$@" && exit 0 || exit $?
fi

lab=$(mktemp -d /tmp/boardkeeper-lab.XXXXXX)
trap 'rm -rf "$lab" 2> /dev/null || true' EXIT
trap 'exit 130' INT TERM
net=--net
[ "${BOARDKEEPER_LAB_NET:-}" != shared ] || net=
# shellcheck disable=SC2086 # An option, or none.
BOARDKEEPER_LAB=$lab BOARDKEEPER_LAB_INSIDE=yes unshare $net --mount --pid --fork --mount-proc --kill-child "$0" "$@" && code=0 || code=$?
exit $code
