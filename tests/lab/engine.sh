#!/bin/bash
# A private container engine for tests, in a directory of its own.
#
#   engine.sh up DIR           starts it, and prints the DOCKER_HOST to use
#   engine.sh image DIR [TAG]  makes a small image from Debian's static busybox (tests/busybox:1)
#   engine.sh crash DIR        ends it without a warning, as a power cut does; `up` brings it back
#   engine.sh down DIR         stops it, and unmounts what it left
#
# With ENGINE_NET=own it has a network of its own, which goes when it goes: several can run side by side, and leave no bridge
# or firewall rule behind. What should reach it from there runs under `nsenter --net=/proc/PID/ns/net`, PID from DIR/pid.
#
# Needs root, and Debian's docker.io, iptables, busybox-static and curl.
set -eu

usage() { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
verb=$1
dir=$(mkdir -p "$2" && cd "$2" && pwd)
sock=$dir/docker.sock

answers() { curl -sf -o /dev/null --unix-socket "$sock" http://engine/_ping; }

# Some machines withhold CAP_SYS_RESOURCE. runc can then neither pass it on, nor raise limits, nor lower an OOM score;
# these are taken out of a container's configuration before the real runc sees it.
stand_in() {
  cat > "$dir/runc" <<'RUNC'
#!/bin/sh
strip() {
  [ -f "$1" ] || return 0
  sed -i -e 's/,"CAP_SYS_RESOURCE"//g; s/"CAP_SYS_RESOURCE",//g; s/"CAP_SYS_RESOURCE"//g' \
    -e 's/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/; s/"rlimits":\[[^]]*\],\{0,1\}//' "$1"
}
before=
for word in "$@"; do
  case $before in
    --bundle | -b) strip "$word/config.json" ;;
    --process | -p) strip "$word" ;;
  esac
  before=$word
done
exec /usr/sbin/runc "$@"
RUNC
  chmod +x "$dir/runc"
}

up() {
  local extra=() capabilities
  capabilities=$((16#$(awk '/^CapEff/ { print $2 }' /proc/self/status)))
  if ((!(capabilities >> 24 & 1))); then
    stand_in
    extra=(--add-runtime "tests=$dir/runc" --default-runtime tests)
  fi
  local own=()
  # shellcheck disable=SC2016 # The inner shell's own arguments.
  [ "${ENGINE_NET:-}" = own ] && own=(unshare --net sh -c 'ip link set lo up && exec "$@"' sh)
  # Addresses that the engine chooses are none that a compose file of tests/data asks for: else a test would depend on how many
  # networks there were before it. A `docker0` that a stopped engine left on this machine may have all of the first ones.
  "${own[@]}" setsid dockerd --host "unix://$sock" --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" \
    --default-address-pool base=172.17.0.0/16,size=24 --default-address-pool base=172.18.0.0/16,size=24 \
    --exec-opt native.cgroupdriver=cgroupfs \
    --insecure-registry 127.0.0.0/8 "${extra[@]}" >> "$dir/log" 2>&1 < /dev/null &
  for _ in $(seq 300); do
    if answers; then
      echo "unix://$sock"
      return
    fi
    sleep 0.1
  done
  tail -5 "$dir/log" >&2
  exit 1
}

image() {
  local root word
  root=$(mktemp -d "$dir/image.XXXXXX")
  mkdir -p "$root/bin" "$root/tmp" "$root/etc"
  cp "$(command -v busybox)" "$root/bin/busybox"
  for word in $(busybox --list); do [ -e "$root/bin/$word" ] || ln -s busybox "$root/bin/$word"; done
  tar -C "$root" -c . | docker -H "unix://$sock" import --change 'CMD ["sh"]' - "${1:-tests/busybox:1}"
  rm -rf "$root"
}

# Waits until a process is gone.
gone() {
  for _ in $(seq 200); do
    # One that nobody has buried yet is gone as well.
    case $(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2> /dev/null) in '' | Z | X) return 0 ;; esac
    sleep 0.05
  done
  kill -9 "$1" 2> /dev/null || true
}

# The processes that hold this engine's containers, and the containers' own.
held() {
  local pid
  for pid in $(grep -lzxF -- "$dir/exec/containerd/containerd.sock" /proc/[0-9]*/cmdline 2> /dev/null | cut -d/ -f3); do
    echo "$pid" "$(cat "/proc/$pid/task/$pid/children" 2> /dev/null)"
  done
}

crash() {
  local pid
  # The files end without a line's end.
  for pid in $(sed -s '$a\' "$dir/pid" "$dir/exec/containerd/containerd.pid" 2> /dev/null) $(held); do
    kill -9 "$pid" 2> /dev/null || true
  done
  rm -f "$dir/pid" "$dir/exec/containerd/containerd.pid"
}

down() {
  local pid
  if [ "${ENGINE_NET:-}" = own ]; then
    crash
  elif answers; then # What runs would be given its time to stop, and bridges would be left.
    docker -H "unix://$sock" ps -q | xargs -r docker -H "unix://$sock" kill > /dev/null 2>&1 || true
    docker -H "unix://$sock" ps -aq | xargs -r docker -H "unix://$sock" rm -f > /dev/null 2>&1 || true
    docker -H "unix://$sock" network prune -f > /dev/null 2>&1 || true
  fi
  for file in "$dir/pid" "$dir/exec/containerd/containerd.pid"; do
    pid=$(cat "$file" 2> /dev/null) || continue
    kill "$pid" 2> /dev/null || continue
    gone "$pid"
  done
  for pid in $(held); do kill -9 "$pid" 2> /dev/null || true; done
  grep -o " $dir/[^ ]*" /proc/mounts | sort -r | xargs -r umount -l 2> /dev/null || true
}

case $verb in
  up | crash | down) "$verb" ;;
  image) image "${3:-}" ;;
  *) usage ;;
esac
