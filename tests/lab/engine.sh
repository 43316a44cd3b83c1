#!/bin/bash
# A container engine of the tests' own, in a directory of its own.   engine.sh up DIR | down DIR | image DIR [TAG]
#
# Needs root and the packages of `install.sh engine busybox`. `up` prints the DOCKER_HOST to use. Two engines in one network
# namespace would quarrel about docker0 and the firewall: run them through inside.sh.
set -eu
verb=$1 dir=$(mkdir -p "$2" && cd "$2" && pwd) here=$(cd "$(dirname "$0")" && pwd)
sock=$dir/docker.sock
PATH=$PATH:/usr/sbin:/sbin

# Some machines keep CAP_SYS_RESOURCE from everybody: there runc may neither hand that capability on, nor raise limits, nor
# lower an OOM score. This stand-in takes those three out of a container's configuration before it calls the real runc.
runc_stand_in() {
  cat > "$dir/runc" <<R
#!/bin/sh
fix() { [ -f "\$1" ] && sed -i -e 's/,"CAP_SYS_RESOURCE"//g; s/"CAP_SYS_RESOURCE",//g; s/"CAP_SYS_RESOURCE"//g; s/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/; s/"rlimits":\[[^]]*\],\{0,1\}//' "\$1"; }
prev=
for a in "\$@"; do
  case \$prev in --bundle|-b) fix "\$a/config.json" ;; --process|-p) fix "\$a" ;; esac
  prev=\$a
done
exec $(command -v runc) "\$@"
R
  chmod +x "$dir/runc"
}

answers() { curl -sf --unix-socket "$sock" http://engine/_ping > /dev/null; }

up() {
  local extra=() caps
  caps=$((16#$(awk '/CapEff/{print $2}' /proc/self/status)))
  if (((caps >> 24 & 1) == 0)); then
    runc_stand_in
    extra=(--add-runtime "tests=$dir/runc" --default-runtime tests)
  fi
  setsid dockerd --host "unix://$sock" --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" \
    --exec-opt native.cgroupdriver=cgroupfs --insecure-registry 127.0.0.0/8 "${extra[@]}" >> "$dir/log" 2>&1 < /dev/null &
  local engine=$!
  for _ in $(seq 600); do
    if answers; then echo "unix://$sock" && return; fi
    kill -0 $engine 2> /dev/null || break
    sleep 0.05
  done
  echo "engine.sh: the engine did not come up:" >&2
  tail -5 "$dir/log" >&2
  exit 1
}

down() {
  local pid
  pid=$(cat "$dir/pid" 2> /dev/null || true)
  if [ -n "$pid" ]; then
    kill "$pid" 2> /dev/null || true
    for _ in $(seq 200); do kill -0 "$pid" 2> /dev/null || break; sleep 0.05; done
  fi
  { grep -o " $dir/[^ ]*" /proc/mounts || true; } | sort -r | xargs -r umount -l 2> /dev/null || true
}

case $verb in
up) up ;;
down) down ;;
image) "$here/image.sh" "${3:-tests/busybox:1}" | docker -H "unix://$sock" load -q ;;
*) echo "engine.sh: up, down or image, not '$verb'" >&2; exit 2 ;;
esac
