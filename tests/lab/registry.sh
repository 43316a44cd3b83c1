#!/bin/bash
# An image registry of the tests' own on loopback.   registry.sh up DIR PORT [USER PASSWORD] | down DIR
#
# Needs the packages of `install.sh registry`. With USER and PASSWORD it asks everybody for them.
set -eu
verb=$1 dir=$(mkdir -p "$2" && cd "$2" && pwd)

up() {
  local port=$1
  {
    printf 'version: 0.1\nlog: {level: warn}\nstorage:\n  filesystem: {rootdirectory: %s/data}\n  delete: {enabled: true}\n' "$dir"
    printf 'http: {addr: "127.0.0.1:%s"}\n' "$port"
    [ $# -eq 1 ] || printf 'auth:\n  htpasswd: {realm: tests, path: %s/htpasswd}\n' "$dir"
  } > "$dir/config.yml"
  [ $# -eq 1 ] || htpasswd -Bbn "$2" "$3" > "$dir/htpasswd"
  setsid docker-registry serve "$dir/config.yml" >> "$dir/log" 2>&1 < /dev/null &
  echo $! > "$dir/pid"
  for _ in $(seq 200); do
    # 401 is an answer too.
    if curl -s -o /dev/null "http://127.0.0.1:$port/v2/"; then echo "127.0.0.1:$port" && return; fi
    sleep 0.05
  done
  echo "registry.sh: the registry did not come up:" >&2
  tail -5 "$dir/log" >&2
  exit 1
}

case $verb in
up) shift 2 && up "$@" ;;
down) kill "$(cat "$dir/pid")" 2> /dev/null || true ;;
*) echo "registry.sh: up or down, not '$verb'" >&2; exit 2 ;;
esac
