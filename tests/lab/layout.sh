#!/bin/bash
# Sees what an idle device runs, and writes packaging/layout.txt of it.   layout.sh
#
# For each of three processors there are two devices with the release build: one with D-Bus and a target file, which waits for
# its engine, and whose ten services come up, are asked for and are replaced; and one with a cloud, which it joins and polls. qemu
# logs what they run. Run by `make layout`: the builds, and then some six minutes.
set -eu
cd "$(dirname "$0")/../.."
lab=tests/lab
# What differs between them is what the compiler has inlined.
processors='x86_64:x86_64-unknown-linux-musl aarch64:aarch64-unknown-linux-musl arm:arm-unknown-linux-musleabihf'

if [ "${1:-}" != inside ]; then
  cargo build --locked --quiet --example fake_logind --example fake_cloud
  export NAMED=$PWD/target/layout EXAMPLES=$PWD/${CARGO_TARGET_DIR:-target}/debug/examples
  mkdir -p "$NAMED"
  # Each is linked again: cargo does not know that the layout is part of it.
  touch src/main.rs
  for it in $processors; do
    LINKED_WITH_NAMES=$NAMED/${it%:*} packaging/cross.sh "${it#*:}" build --release --locked
  done
  "$lab/inside.sh" "$0" inside
  touch src/main.rs
  exit
fi

cd "$BOARDKEEPER_LAB"
lab=$OLDPWD/$lab packaging=$OLDPWD/packaging
export BOARDKEEPER_API_KEY=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
trap '"$lab/engine.sh" down engine' EXIT
trap 'exit 130' INT TERM
export DOCKER_HOST=unix://$PWD/engine/docker.sock
"$EXAMPLES/fake_logind" . > fake_logind &
# Its answers to what is typed; nothing is.
tail -f /dev/null | "$EXAMPLES/fake_cloud" > fake_cloud &

# Runs a device, under a name, on a processor and with more arguments, until device_ends.
device_begins() {
  local name=$1 processor=$2 cpu=max
  shift 2
  # That of a Pi Zero.
  [ "$processor" != arm ] || cpu=arm1176
  set -- --board simulated --listen 127.0.0.1:48484 --state-dir "$name/state" --runtime-dir "$name/runtime" "$@"
  "qemu-$processor" -cpu "$cpu" -d in_asm -D "$name.ran" "$NAMED/$processor" run "$@" > "$name.log" 2>&1 &
  device=$!
  until_true "the device answers" ask /v1/healthy
}

device_ends() {
  kill "$device"
  wait "$device" || true
}

ask() { curl -sf -o /dev/null "http://127.0.0.1:48484$1?apikey=$BOARDKEEPER_API_KEY"; }

until_true() {
  local what=$1
  shift
  for _ in $(seq 600); do
    ! "$@" || return 0
    sleep 0.1
  done
  echo "layout.sh: $what: not within a minute" >&2
  tail -n 5 ./*.log >&2
  exit 1
}

wants_nothing() { echo '{"device": {"name": "layout", "config": {}, "apps": {}}}' > target.json; }

# Writes a target with ten services, one of which is of this version.
wants() {
  local of='"image": "tests/app:layout", "image_id": 1' services='' it
  for it in 2 3 4 5 6 7 8 9; do
    services="$services\"s$it\": {\"id\": $it, $of, \"labels\": {}, \"environment\": {}}, "
  done
  services="$services\"api\": {\"id\": 1, $of, \"labels\": {\"io.balena.features.supervisor-api\": \"1\"}, \"environment\": {}}, "
  services="$services\"new\": {\"id\": 10, $of, \"labels\": {}, \"environment\": {\"VERSION\": \"$1\"}}"
  cat > target.new << TARGET
{"device": {"name": "layout", "config": {}, "apps": {"0000000000000000000000000000000a": {"id": 1, "name": "app", "class": "fleet",
  "releases": {"c$1": {"id": $1, "services": {$services}, "volumes": {}, "networks": {}}}}}}}
TARGET
  mv target.new target.json
}

runs() { [ "$(docker ps --quiet --filter "name=_$1\$" | wc -l)" = 10 ]; }

until_true "the bus is there" grep -q "^unix:" fake_logind
until_true "the cloud is there" grep -q "^{" fake_cloud
logs=()
for it in $processors; do
  processor=${it%:*}
  wants_nothing
  DBUS_SYSTEM_BUS_ADDRESS=$(head -1 fake_logind) device_begins "idle-$processor" "$processor" --target target.json
  sleep 5
  "$lab/engine.sh" up engine > /dev/null
  "$lab/image.sh" tests/app:layout | docker load --quiet > /dev/null
  wants 1
  until_true "the services run" runs c1
  for path in /ping /v1/device /v2/applications/state /v2/state/status /v2/version; do ask "$path"; done
  wants 2
  until_true "the release runs" runs c2
  # What a device does every so often, and what it does when nothing is left to do.
  sleep 30
  device_ends
  docker ps --all --quiet | xargs -r docker rm --force > /dev/null

  mkdir -p boot
  grep "^{" fake_cloud > boot/config.json
  device_begins "cloud-$processor" "$processor" --boot-config boot/config.json
  until_true "the device has joined" grep -q '"deviceApiKey"' boot/config.json
  sleep 30
  device_ends
  "$lab/engine.sh" down engine
  logs+=("idle=idle-$processor.ran" "cloud=cloud-$processor.ran")
done

python3 "$packaging/layout.py" learn "${logs[@]}" > layout.txt
cp layout.txt "$packaging/layout.txt"
