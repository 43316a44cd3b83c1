#!/bin/bash
# Real clients of local mode, from npm, against the agent and a real engine.   clients.sh
#
#   AGENT  the program to test (target/debug/boardkeeper, built before)
#
# The board is 10.77.0.1, with an engine, a registry, a bus and avahi of its own. The clients run on a computer at the other end
# of a cable, 10.77.0.2. Nothing of it is seen outside, and all of it is gone afterwards. SDK, CLI and the node that they want
# are kept in target/open-balena, the agent's log and the clients' requests in target/clients.
set -eu
cd "$(dirname "$0")/../.."
lab=tests/lab

if [ "${1:-}" != inside ]; then
  KEPT=$("$lab/npm.sh")
  if [ -z "${AGENT:-}" ]; then
    cargo build --locked --quiet --bin boardkeeper
    AGENT=${CARGO_TARGET_DIR:-target}/debug/boardkeeper
  fi
  parser=$KEPT/node_modules/@balena/compose-parser/bin/balena-compose-parser
  if [ ! -x "$parser" ]; then
    echo "clients.sh: npm could not fetch balena-compose-parser from GitHub; tests/clients/compose-parser.cjs stands in for it" >&2
    printf '#!/bin/sh\nNODE_PATH=%s exec %s %s "$@"\n' "$KEPT/node_modules" "$KEPT/node_modules/node/bin/node" \
      "$PWD/tests/clients/compose-parser.cjs" > "$parser"
    chmod +x "$parser"
  fi
  mkdir -p target/clients
  AGENT=$(realpath "$AGENT")
  export KEPT AGENT
  exec "$lab/inside.sh" "$0" inside
fi

engine=$BOARDKEEPER_LAB/engine registry=$BOARDKEEPER_LAB/registry
end() {
  "$lab/registry.sh" down "$registry"
  "$lab/engine.sh" down "$engine"
}
trap end EXIT
trap 'exit 130' INT TERM

# The computer, at the other end of a cable.
unshare --net sleep 3600 &
COMPUTER=$!
until [ "$(cat /proc/$COMPUTER/comm)" = sleep ]; do sleep 0.05; done
there() { nsenter --net=/proc/$COMPUTER/ns/net "$@"; }
ip link add lan0 type veth peer name lan1 netns $COMPUTER
ip address add 10.77.0.1/24 dev lan0
ip link set lan0 up
there ip link set lo up
there ip address add 10.77.0.2/24 dev lan1
there ip link set lan1 up

# A bus, and avahi on it.
bus=$BOARDKEEPER_LAB/bus
mkdir -p "$bus" "$BOARDKEEPER_LAB/avahi" /run/avahi-daemon
mount --bind "$BOARDKEEPER_LAB/avahi" /run/avahi-daemon
cat > "$bus/conf" << CONF
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=$bus/socket</listen><auth>EXTERNAL</auth><policy context="default">
<allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow user="*"/></policy></busconfig>
CONF
dbus-daemon --nofork --config-file "$bus/conf" 2> "$bus/log" &
until [ -S "$bus/socket" ]; do sleep 0.05; done
export BUS=unix:path=$bus/socket
printf '[server]\nhost-name=board\nallow-interfaces=lan0\n' > "$bus/avahi.conf"
DBUS_SYSTEM_BUS_ADDRESS=$BUS avahi-daemon --no-drop-root --no-chroot --no-rlimits -f "$bus/avahi.conf" > "$bus/avahi.log" 2>&1 &

DOCKER_HOST=$("$lab/engine.sh" up "$engine")
export DOCKER_HOST COMPUTER REGISTRY=127.0.0.1:5000
"$lab/registry.sh" up "$registry" 5000 > /dev/null
# What the agent's apps and the builds are made of.
for tag in owner base ready; do
  "$lab/image.sh" "$REGISTRY/tests/$tag:1" | docker load -q > /dev/null
  docker push -q "$REGISTRY/tests/$tag:1" > /dev/null
  [ $tag = owner ] || docker rmi "$REGISTRY/tests/$tag:1" > /dev/null
done
"$KEPT/node_modules/node/bin/node" tests/clients/main.mjs
