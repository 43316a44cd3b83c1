#!/bin/bash
# The story of one device in a running open-balena, told by balena-sdk and balena-cli.   open-balena.sh
#
#   API_URL      the API, such as https://api.example.com
#   TOKEN        a user's session token or API key; the user may make fleets
#   CA           a file with the certificate that signed the API's and the registry's, where the machine does not know it
#   VPN_COMMAND  a program that connects a device without OpenVPN, called with UUID and ADDRESS:PORT; without it `openvpn` is
#                started with the configuration that the agent wrote. Where neither connects the device, steps are skipped
#   OUTAGE_DOWN, OUTAGE_UP  shell lines that end and bring back the API; without them one step is skipped
#   AGENT        the program to test (target/debug/boardkeeper, built before)
#   ONLY         some of the parts verbs, update, logs, leave
#
# An engine and an agent of its own run here, with port 48484 of this machine's own network, and a fake logind that calls every
# reboot off. They are gone afterwards, and so are the fleets. SDK, CLI, the node that they want and the agent's log are kept in
# target/open-balena.
set -eu
cd "$(dirname "$0")/../.."
lab=tests/lab

if [ "${1:-}" != inside ]; then
  if [ -z "${API_URL:-}" ] || [ -z "${TOKEN:-}" ]; then
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d' >&2
    exit 2
  fi
  kept=$("$lab/npm.sh")
  built=${CARGO_TARGET_DIR:-target}/debug
  cargo build --locked --quiet --example fake_logind
  if [ -z "${AGENT:-}" ]; then
    cargo build --locked --quiet --bin boardkeeper
    AGENT=$built/boardkeeper
  fi
  if (exec 3<> /dev/tcp/127.0.0.1/48484) 2> /dev/null; then
    echo "open-balena.sh: port 48484 of this machine is in use, by another agent perhaps; it must be free" >&2
    exit 1
  fi
  AGENT=$(realpath "$AGENT") LOGIND=$(realpath "$built/examples/fake_logind")
  [ -z "${CA:-}" ] || CA=$(realpath "$CA")
  export AGENT LOGIND CA API_URL TOKEN VPN_COMMAND OUTAGE_DOWN OUTAGE_UP ONLY KEPT=$kept
  # The API and the registry may be on this machine's loopback.
  BOARDKEEPER_LAB_NET=shared exec "$lab/inside.sh" "$0" inside
fi

engine=$BOARDKEEPER_LAB/engine
if [ -n "$CA" ]; then
  cat /etc/ssl/certs/ca-certificates.crt "$CA" > "$BOARDKEEPER_LAB/ca.pem"
  export NODE_EXTRA_CA_CERTS=$CA
fi
# A bridge that is there belongs to another engine.
[ -d /sys/class/net/docker0 ] && bridge='' || bridge=docker0
end() {
  "$lab/engine.sh" down "$engine"
  [ -z "$bridge" ] || ip link delete "$bridge" 2> /dev/null || true
}
trap end EXIT
trap 'exit 130' INT TERM
DOCKER_HOST=$(SSL_CERT_FILE=${CA:+$BOARDKEEPER_LAB/ca.pem} "$lab/engine.sh" up "$engine")
export DOCKER_HOST LOGIND_LOG=$BOARDKEEPER_LAB/logind.log
"$LOGIND" "$BOARDKEEPER_LAB" > "$LOGIND_LOG" &
export BUS=unix:path=$BOARDKEEPER_LAB/run/dbus/system_bus_socket
"$lab/engine.sh" image "$engine" > /dev/null
"$KEPT/node_modules/node/bin/node" tests/cloud/open-balena/main.mjs
