#!/bin/sh
# What a cloud costs the agent, added to the rows of target/bench.txt.   cloud.sh AGENT
#
# The figures are those of tests that hold them, taken of AGENT, a release build. Run by `make bench`, after the rows of the
# agent without a cloud.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
log=$root/target/bench-cloud.txt
cd "$root"

keep() {
  if ! "$@" > "$log" 2>&1; then
    cat "$log" >&2
    exit 1
  fi
  sed -n 's/^figure: //p' "$log" | tee -a target/bench.txt
}

keep cargo test --locked --quiet --lib ten_thousand_devices -- --nocapture
AGENT=$1 keep cargo test --locked --quiet --test cloud -- --ignored --test-threads=1 --nocapture stories::costs::
