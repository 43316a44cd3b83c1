#!/bin/sh
# Holds the real binary against its own description with schemathesis: no status, type or shape that is not described.
#
# schema.sh [EXAMPLES]. The agent runs with no engine, no bus and a host of its own under a temporary directory, so nothing that
# is asked of it reaches this machine. Schemathesis comes from PyPI into an environment of its own in the cache directory.
set -eu
cd "$(dirname "$0")/../.."
examples=${1:-40}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/boardkeeper/schemathesis
[ -x "$tools/bin/st" ] || { python3 -m venv "$tools" && "$tools/bin/pip" install --quiet schemathesis; }

cargo build --locked --quiet
place=$(mktemp -d) key=$(printf 'd1%.0s' $(seq 32))
mkdir -p "$place/root/etc" "$place/root/tmp" "$place/root/mnt/boot" "$place/root/proc" "$place/root/sys"
echo lab > "$place/root/etc/hostname"
echo '{}' > "$place/root/mnt/boot/config.json"
: > "$place/log"
DOCKER_HOST=unix://$place/none.sock DBUS_SYSTEM_BUS_ADDRESS=unix:path=$place/none.bus BOARDKEEPER_API_KEY=$key \
  "${CARGO_TARGET_DIR:-target}/debug/boardkeeper" run --root "$place/root" --state-dir "$place/state" --runtime-dir "$place/run" \
  --board simulated --listen 127.0.0.1:0 > "$place/log" 2>&1 &
agent=$!
trap 'kill $agent 2> /dev/null || true; rm -rf "$place"' EXIT
trap 'exit 130' INT TERM
at=''
while [ -z "$at" ]; do
  kill -0 $agent || { cat "$place/log"; exit 1; }
  at=$(sed -n 's/.*the API answers at \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$place/log")
  sleep 0.2
done

# Every operation once is described by a test of ours; what these checks add is inputs nobody thought of.
# - A key that is made anew is another one for all that follow, so it comes last.
# Checks left out, and why:
# - not_a_server_error: without an engine, a bus and a whole release 500, 501 and 503 are the truth, and described.
# - unsupported_method, ignored_auth: what there is is a secret to those without a key, and health needs none; `make access` looks.
# - positive_data_acceptance, negative_data_rejection: bodies are read as leniently as the supervisors before did, and most
#   numbers are those of no app.
check() (
  # It leaves a directory of its own where it is run.
  cd "$place"
  "$tools/bin/st" run "http://$at/agent/v1/openapi.json" --url "http://$at" --header "Authorization: Bearer $key" \
    --checks all --exclude-checks not_a_server_error,unsupported_method,ignored_auth,positive_data_acceptance,negative_data_rejection \
    --max-examples "$examples" --request-timeout 30 --suppress-health-check all --no-color "$@"
)
code=0 said=$place/said
check --exclude-path /v1/regenerate-api-key > "$said" || code=$?
examples=1
check --include-path /v1/regenerate-api-key >> "$said" || code=$?
[ $code = 0 ] || cat "$said"
echo "figure: $(sed -n 's/^ *Operations: *\([0-9]*\) selected.*/\1/p' "$said" | paste -sd +) operations," \
  "$(sed -n 's/^ *\([0-9]*\) generated.*/\1/p' "$said" | paste -sd +) requests"
kill -0 $agent 2> /dev/null || { echo "schema.sh: the agent ended" >&2; tail -20 "$place/log" >&2; exit 1; }
exit $code
