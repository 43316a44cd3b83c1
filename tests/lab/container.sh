#!/bin/bash
# Builds the container image with a private engine, and runs the agent from it as docs/install.md says.   container.sh
#
# Seen to work: it answers, it is asked for its key, it starts an app's container beside itself, and it never touches itself. Needs
# root, and the release binary for this machine (make release-x86_64-unknown-linux-musl).
set -eu
cd "$(dirname "$0")/../.."
target=$(uname -m)-unknown-linux-musl

fail() { echo "container.sh: $*" >&2; exit 1; }

if [ "${1:-}" != --inside ]; then
  tests/lab/install.sh engine busybox tools
  [ -x "target/release-bin/$target/boardkeeper" ] || fail "there is no binary yet: make release-$target"
  exec tests/lab/inside.sh "$PWD/tests/lab/container.sh" --inside
fi

DOCKER_HOST=$(tests/lab/engine.sh up "$BOARDKEEPER_LAB/engine")
export DOCKER_HOST
trap 'tests/lab/engine.sh down "$BOARDKEEPER_LAB/engine" || true' EXIT
tests/lab/engine.sh image "$BOARDKEEPER_LAB/engine" > /dev/null

# A host of its own: the engine's socket is where a host has it.
host=$BOARDKEEPER_LAB/host
mkdir -p "$host/run" "$host/etc" "$BOARDKEEPER_LAB/etc" "$BOARDKEEPER_LAB/state"
cat > "$BOARDKEEPER_LAB/etc/target.json" << 'J'
{ "local": { "name": "here", "apps": { "7": { "name": "app", "commit": "c0ffee", "releaseId": 1, "networks": {}, "volumes": {},
  "services": { "1": { "serviceName": "main", "imageId": 1, "image": "tests/busybox:1", "environment": {}, "labels": {},
    "running": true, "command": ["sleep", "1000"] } } } } } }
J
docker build --quiet -f packaging/Containerfile --build-arg "TARGET=$target" -t boardkeeper target/release-bin > /dev/null
docker run --detach --name boardkeeper --restart always --network host \
  -v "$BOARDKEEPER_LAB/engine:/host/run" -v /proc:/host/proc:ro -v /sys:/host/sys -v /tmp:/host/tmp -v "$host/etc:/host/etc:ro" \
  -v "$BOARDKEEPER_LAB/etc:/etc/boardkeeper:ro" -v "$BOARDKEEPER_LAB/state:/var/lib/boardkeeper" \
  boardkeeper run --target /etc/boardkeeper/target.json > /dev/null

wait_for() {
  local what=$1
  shift
  for _ in $(seq 150); do "$@" > /dev/null 2>&1 && return; sleep 0.2; done
  docker logs boardkeeper >&2
  docker ps -a >&2
  fail "$what did not happen within 30 s"
}

app_runs() { [ "$(docker ps --quiet --filter label=io.balena.app-id=7 | wc -l)" = 1 ]; }

wait_for 'an answer' curl -sf --max-time 2 http://127.0.0.1:48484/v1/healthy
wait_for 'the app' app_runs
key=$(docker exec boardkeeper /boardkeeper key)
[ "$(curl -sf "http://127.0.0.1:48484/ping?apikey=$key")" = OK ] || fail "/ping does not say OK"
[ "$(docker inspect -f '{{.RestartCount}} {{.State.Running}}' boardkeeper)" = '0 true' ] || fail "the agent did not stay up"
docker restart boardkeeper > /dev/null
wait_for 'an answer after a restart' curl -sf --max-time 2 http://127.0.0.1:48484/v1/healthy
[ "$(docker exec boardkeeper /boardkeeper key)" = "$key" ] || fail "the key is another one after a restart"
app_runs || fail "the app's container did not outlive the agent's restart"
echo "container.sh: the image ($(docker image inspect -f '{{.Size}}' boardkeeper) bytes) answers, keeps an app beside itself, and its key over a restart"
