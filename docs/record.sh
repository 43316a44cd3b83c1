#!/bin/bash
# Records docs/session.svg, the picture in the README.   record.sh
#
# `make run` starts the agent and its sample on an engine of its own, where nothing is seen outside (tests/lab/inside.sh), and
# docs/record.py types the commands of docs/session.txt and draws what they print. Needs root or sudo, and Debian's docker.io.
set -eu
cd "$(dirname "$0")/.."

if [ "${1:-}" != --inside ]; then
  tests/lab/install.sh rust engine busybox tools
  cargo build --locked --quiet
  exec tests/lab/inside.sh "$PWD/docs/record.sh" --inside
fi

DOCKER_HOST=$(tests/lab/engine.sh up "$BOARDKEEPER_LAB/engine")
export DOCKER_HOST RUN=$BOARDKEEPER_LAB/run BOARDKEEPER_BOARD=simulated
log=$BOARDKEEPER_LAB/make-run.log
packaging/run.sh start > "$log" 2>&1 &
agent=$!
trap 'kill -TERM $agent 2> /dev/null && wait $agent || true; tests/lab/engine.sh down "$BOARDKEEPER_LAB/engine" || true' EXIT
for _ in $(seq 300); do
  grep -q 'Ctrl-C stops the agent' "$log" && break
  kill -0 $agent 2> /dev/null || { cat "$log" >&2; exit 1; }
  sleep 0.2
done

export BOARDKEEPER_STATE_DIR=$RUN/state BOARDKEEPER_RUNTIME_DIR=$RUN/runtime PATH=$PWD/target/debug:$PATH
KEY=$(boardkeeper key)
export KEY TARGET=$RUN/target.json
python3 docs/record.py docs/session.txt docs/session.svg
