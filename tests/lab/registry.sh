#!/bin/bash
# A private image registry on 127.0.0.1 for tests, in a directory of its own.
#
#   registry.sh up DIR PORT [USER PASSWORD]  starts it, open or for one user, and prints its address
#   registry.sh up DIR PORT token REALM ISSUER CERTIFICATE   the same, for those with a token that this authority signed
#   registry.sh down DIR                     stops it
#
# Needs Debian's docker-registry, and apache2-utils for a user.
set -eu

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
verb=$1
dir=$(mkdir -p "$2" && cd "$2" && pwd)

up() {
  local address=127.0.0.1:$1
  {
    echo "version: 0.1"
    echo "log: { level: warn, accesslog: { disabled: true } }"
    echo "storage: { filesystem: { rootdirectory: $dir/data }, delete: { enabled: true } }"
    echo "http: { addr: $address }"
  } > "$dir/config.yml"
  if [ "${2:-}" = token ]; then
    echo "auth: { token: { realm: \"$3\", service: $address, issuer: \"$4\", rootcertbundle: $5 } }" >> "$dir/config.yml"
  elif [ $# -ge 3 ]; then
    htpasswd -Bbn "$2" "$3" > "$dir/htpasswd"
    echo "auth: { htpasswd: { realm: tests, path: $dir/htpasswd } }" >> "$dir/config.yml"
  fi
  setsid docker-registry serve "$dir/config.yml" >> "$dir/log" 2>&1 < /dev/null &
  echo $! > "$dir/pid"
  for _ in $(seq 100); do
    # With a user it answers 401, which is an answer.
    if curl -s -o /dev/null "http://$address/v2/"; then
      echo "$address"
      return
    fi
    sleep 0.1
  done
  tail -5 "$dir/log" >&2
  exit 1
}

down() {
  kill "$(cat "$dir/pid")" 2> /dev/null || true
}

case $verb in
  up)
    [ $# -ge 3 ] || usage
    up "${@:3}"
    ;;
  down) down ;;
  *) usage ;;
esac
