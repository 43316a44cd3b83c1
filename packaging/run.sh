#!/bin/bash
# Runs the agent on this machine with two sample services.   run.sh start | clean
#
# start   finds a container engine that answers (DOCKER_HOST, docker, balena-engine, podman), or installs and starts Debian's;
#         builds the agent; makes a small image; keeps the sample running until Ctrl-C. The containers outlive the agent,
#         and the next start takes them over untouched.
# clean   takes away everything start made: containers, networks, volumes, image, state, and the engine if start started it.
#
# PORT is the API's port (48484), PAGE_PORT that of the sample's page (8080), RUN the directory for everything it keeps
# (target/run), AGENT a binary to run instead of building one. The target is RUN/target.json: edit it while the agent runs and
# see what it does. It is written once, and then left to you but for the image's tag.
set -eu
cd "$(dirname "$0")/.."
here=$PWD run=${RUN:-$PWD/target/run}
agent=${AGENT:-} app=4848400 uuid=b0a2dcee9e25a4d1b0a2dcee9e25a4d1 sample=boardkeeper/sample
PATH=$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin
lab=tests/lab

say() { echo "make run: $*"; }
fail() { say "$*" >&2; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# --- the engine ---

# One call to the engine at $DOCKER_HOST: engine METHOD PATH [curl's options]
engine() {
  local method=$1 path=$2
  shift 2
  case $DOCKER_HOST in
  unix://*) as_asker curl -sf -X "$method" --unix-socket "${DOCKER_HOST#unix://}" "$@" "http://engine$path" ;;
  *) curl -sf -X "$method" "$@" "http://${DOCKER_HOST#*://}$path" ;;
  esac
}

# Only root may open most engines' sockets, but not those of a user's own podman.
as_asker() { if [ -w "${DOCKER_HOST#unix://}" ]; then "$@"; else as_root "$@"; fi; }

answers() {
  export DOCKER_HOST=$1
  case $1 in unix://*) [ -S "${1#unix://}" ] || return 1 ;; esac
  engine GET /_ping > /dev/null 2>&1
}

find_engine() {
  local at
  for at in "${DOCKER_HOST:-}" unix://"$run/engine/docker.sock" unix:///var/run/docker.sock unix:///var/run/balena-engine.sock \
    unix:///run/podman/podman.sock; do
    [ -n "$at" ] && answers "$at" && return
  done
  return 1
}

start_engine() {
  say "no container engine answers (tried DOCKER_HOST, docker, balena-engine, podman)"
  "$lab/install.sh" engine
  mkdir -p "$run"
  if [ -d /run/systemd/system ]; then
    say "starting docker with systemd; make clean-run stops it again"
    as_root systemctl start docker
    echo systemd > "$run/engine-started"
    answers unix:///var/run/docker.sock || fail "docker was started and does not answer: see journalctl -u docker"
  else
    say "starting an engine of our own under target/run/engine; make clean-run stops it again"
    as_root "$lab/engine.sh" up "$run/engine" > /dev/null
    echo ours > "$run/engine-started"
    answers "unix://$run/engine/docker.sock" || fail "the engine was started and does not answer: see $run/engine/log"
  fi
}

stop_engine() {
  case $(cat "$run/engine-started" 2> /dev/null || true) in
  systemd) say "stopping docker, which make run had started" && as_root systemctl stop docker.socket docker ;;
  ours) say "stopping the engine make run had started" && as_root "$lab/engine.sh" down "$run/engine" ;;
  esac
}

# A device has one agent. Another one's apps are not in our target, so ours would remove them.
refuse_to_share() {
  local others
  others=$(engine GET "/containers/json?all=true&filters=%7B%22label%22%3A%5B%22io.balena.supervised%22%5D%7D" |
    { grep -o '"io.balena.app-id":"[0-9]*"' || true; } | { grep -v "\"$app\"" || true; } | sort -u | tr '\n' ' ')
  [ -z "$others" ] || fail "the engine at $DOCKER_HOST runs apps of another supervisor ($others); name another engine in DOCKER_HOST"
}

# --- the sample ---

make_image() {
  local archive=$run/sample.tar tag
  mkdir -p "$run"
  "$lab/image.sh" "$sample:1" > "$archive"
  tag=$(sha256sum < "$archive" | cut -c1-12)
  image=$sample:$tag
  # The tag says what is in it: one that is there need not be loaded.
  if engine GET "/images/$image/json" > /dev/null; then
    say "the sample image $image is there already"
  else
    say "making the sample image $image from this machine's busybox"
    engine POST "/images/load?quiet=1" -H 'Content-Type: application/x-tar' --data-binary "@$archive" > /dev/null
    engine POST "/images/$sample:1/tag?repo=$sample&tag=$tag"
    engine DELETE "/images/$sample:1?noprune=1" > /dev/null
  fi
  rm -f "$archive"
}

write_target() {
  if [ -e "$run/target.json" ]; then
    sed -i "s#$sample:[0-9a-f]*#$image#g" "$run/target.json"
    return
  fi
  local page_port=${PAGE_PORT:-8080}
  cat > "$run/target.json" <<J
{
  "sample-device": {
    "name": "sample",
    "config": {},
    "apps": {
      "$uuid": {
        "id": $app,
        "name": "sample",
        "class": "fleet",
        "is_host": false,
        "releases": {
          "1111111111111111111111111111111111111111": {
            "id": 1,
            "services": {
              "web": {
                "id": 1,
                "image_id": 1,
                "image": "$image",
                "environment": {},
                "labels": {},
                "composition": {
                  "command": ["sh", "-c", "trap 'exit 0' TERM; echo 'boardkeeper keeps this page up' > /www/index.html; httpd -f -p 8080 -h /www & wait"],
                  "ports": ["$page_port:8080"],
                  "volumes": ["page:/www"]
                }
              },
              "clock": {
                "id": 2,
                "image_id": 2,
                "image": "$image",
                "environment": { "EVERY_SECONDS": "1" },
                "labels": {},
                "composition": {
                  "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do date > /www/time; sleep \"\$EVERY_SECONDS\" & wait \$!; done"],
                  "depends_on": ["web"],
                  "volumes": ["page:/www"]
                }
              }
            },
            "networks": {},
            "volumes": { "page": {} }
          }
        }
      }
    }
  }
}
J
}

# --- start ---

build() {
  say "building (a debug build: the release build takes minutes and behaves the same)"
  cargo build --locked --quiet
  agent=${CARGO_TARGET_DIR:-$here/target}/debug/boardkeeper
}

start() {
  # Before anything is installed or started.
  [ -z "$agent" ] || { [ -f "$agent" ] && [ -x "$agent" ]; } || fail "AGENT: $agent is not a program; leave AGENT out, and one is built"
  "$lab/install.sh" rust busybox tools
  find_engine || start_engine
  say "the container engine is at $DOCKER_HOST"
  refuse_to_share
  [ -n "$agent" ] || build
  make_image
  write_target
  local port=${PORT:-48484} board=simulated
  # A machine without LEDs blinks one that is made up.
  [ -z "$(ls /sys/class/leds 2> /dev/null)" ] || board=auto
  say "starting the agent"
  local command=("$agent" run --state-dir "$run/state" --runtime-dir "$run/runtime" --listen "127.0.0.1:$port" --target "$run/target.json" --board "$board")
  # Not through as_root: a function in the background is a shell of its own, which would take the signals.
  if [ "$(id -u)" = 0 ]; then "${command[@]}" & else sudo env "DOCKER_HOST=$DOCKER_HOST" "${command[@]}" & fi
  local pid=$!
  # The terminal sends Ctrl-C to the agent too; whoever kills only this script means both.
  trap 'kill -TERM $pid 2> /dev/null || true' INT TERM
  if wait_until_it_runs "$pid" "$port"; then introduce "$port" "$board"; fi
  local code=0
  wait "$pid" || code=$?
  # A signal ends the first wait; the agent's own end is what counts.
  if kill -0 "$pid" 2> /dev/null; then code=0 && wait "$pid" || code=$?; fi
  [ "$code" -gt 128 ] && code=0
  [ "$code" -ne 0 ] || say "stopped; the containers run on (make run takes them over, make clean-run takes them away)"
  exit "$code"
}

running() {
  engine GET "/containers/json?filters=%7B%22label%22%3A%5B%22io.balena.app-id%3D$app%22%5D%7D" | { grep -o '"io.balena.service-name":"[a-z]*"' || true; } | sort -u
}

wait_until_it_runs() {
  local pid=$1 port=$2
  for _ in $(seq 300); do
    kill -0 "$pid" 2> /dev/null || return 1
    if [ "$(running | wc -l)" -ge 2 ] && curl -s -o /dev/null "http://127.0.0.1:$port/ping"; then return 0; fi
    sleep 0.2
  done
  say "a minute has passed and the sample does not run; this says why:"
  "$agent" state --state-dir "$run/state" || true
  return 0
}

introduce() {
  local port=$1 board=$2 page sudo='' watch='' agent=${agent#"$here"/}
  [ "$(id -u)" = 0 ] || sudo='sudo '
  [ "$board" != simulated ] || watch="    $sudo$agent led --board simulated --runtime-dir ${run#"$here"/}/runtime watch
"
  page=$(grep -o '"[0-9]*:8080"' "$run/target.json" | head -1 | tr -d '"' | cut -d: -f1)
  cat <<T

  It runs: web (a page at http://127.0.0.1:${page:-8080}/) and clock (writes the time into it, and waits for web).
  API      http://127.0.0.1:$port
  Key      in ${run#"$here"/}/state, printed by: boardkeeper key
  Target   ${run#"$here"/}/target.json (edit it, and watch)

  Worth trying in another terminal:

    KEY=\$($sudo$agent key --state-dir ${run#"$here"/}/state)
    curl -s "http://127.0.0.1:$port/agent/v1/state?apikey=\$KEY"; echo
    curl -s "http://127.0.0.1:$port/v1/device?apikey=\$KEY"; echo
    curl -s -X POST -H 'Content-Type: application/json' -d '{"appId": $app}' "http://127.0.0.1:$port/v1/restart?apikey=\$KEY"; echo

  An LED says which board it is${watch:+ (this machine has none, so it is made up; the second line shows it)}:

    curl -s -i -X POST "http://127.0.0.1:$port/v1/blink?apikey=\$KEY" | grep -i identify-led
$watch
  Ctrl-C stops the agent and leaves the containers.

T
}

# --- clean ---

ids() { { grep -o '"Id":"[0-9a-f]*"' || true; } | cut -d'"' -f4 | sort -u; }

clean() {
  if find_engine 2> /dev/null; then
    local it
    for it in $(engine GET "/containers/json?all=true&filters=%7B%22label%22%3A%5B%22io.balena.app-id%3D$app%22%5D%7D" | ids); do
      engine DELETE "/containers/$it?force=true&v=true" > /dev/null || true
    done
    for it in $(engine GET "/networks?filters=%7B%22label%22%3A%5B%22io.balena.app-id%3D$app%22%5D%7D" | ids) "${uuid}_default"; do
      engine DELETE "/networks/$it" > /dev/null 2>&1 || true
    done
    # An engine refuses to remove a network that is in use.
    engine DELETE "/networks/supervisor0" > /dev/null 2>&1 || true
    for it in $(engine GET /volumes | { grep -o "\"${app}_[a-z-]*\"" || true; } | tr -d '"'); do
      engine DELETE "/volumes/$it" > /dev/null || true
    done
    for it in $(engine GET /images/json | { grep -o "\"$sample:[0-9a-f]*\"" || true; } | tr -d '"' | sort -u); do
      engine DELETE "/images/$it?force=true" > /dev/null || true
    done
    say "containers, networks, volumes and the image are gone from $DOCKER_HOST"
  else
    say "no container engine answers, so there is nothing to remove from it"
  fi
  stop_engine
  as_root rm -rf "$run"
  # Only where root made the way there: anybody may put a link in /tmp.
  [ "$(stat -c '%u %F' /tmp/balena-supervisor 2> /dev/null)" != "0 directory" ] || as_root rm -rf "/tmp/balena-supervisor/services/$app"
  say "${run#"$here"/} is gone"
}

case ${1:-} in
start) start ;;
clean) clean ;;
*) echo "run.sh: start or clean, not '${1:-}'" >&2; exit 2 ;;
esac
