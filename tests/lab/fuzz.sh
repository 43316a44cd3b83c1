#!/bin/sh
# Feeds made-up bytes to the agent's own code, and keeps what is worth keeping.   fuzz.sh TARGET|all [SECONDS]   fuzz.sh min [TARGET]
#
# What libFuzzer finds lies in target/fuzz/corpus; `min` takes of it and of tests/fuzz/corpus the fewest and shortest inputs that
# reach as much, and writes them to tests/fuzz/corpus, which the repository keeps. A finding is left in target/fuzz/artifacts,
# and named with the command that shows it again.
#
# It needs the coverage that only nightly compilers admit to; RUSTC_BOOTSTRAP has a stable one do it. SANITIZER=address also
# watches memory, at half the speed: there is no unsafe code of ours to watch.
set -eu
cd "$(dirname "$0")/../.."
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$PWD/target/fuzz
sanitizer=${SANITIZER:-none}
targets='target compose config database locks logs records sysfs labels replies engine router cloud events'
# The longest input that means anything, in bytes: larger ones only take longer.
longest=8192
# Seconds for one input. They are the clock's: a machine that is busy with other things is no finding.
patience=300

cargo_fuzz() {
  deed=$1; shift
  cargo fuzz "$deed" --fuzz-dir tests/fuzz --sanitizer "$sanitizer" "$@"
}

run() {
  found=$CARGO_TARGET_DIR/corpus/$1 log=$CARGO_TARGET_DIR/$1.log words=tests/fuzz/words/$1
  mkdir -p "$found" "$CARGO_TARGET_DIR/artifacts/$1"
  [ -f "$words" ] && words=-dict=$words || words=
  # shellcheck disable=SC2086 # an option, or none
  cargo_fuzz run "$1" "$found" "tests/fuzz/corpus/$1" -- -max_total_time="$2" -max_len=$longest -timeout=$patience -rss_limit_mb=1024 \
    -print_final_stats=1 -artifact_prefix="$CARGO_TARGET_DIR/artifacts/$1/" $words > "$log" 2>&1 || {
    tail -40 "$log" >&2
    echo "fuzz.sh: $1: a finding; see $log, make it a test, then mend it" >&2
    return 1
  }
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  echo "figure: $1: $executions executions in $2 s, no finding"
}

minimise() {
  # cmin changes the directory it is given, so it is given a copy.
  all=$CARGO_TARGET_DIR/min/$1
  rm -rf "$all" && mkdir -p "$all"
  for dir in "tests/fuzz/corpus/$1" "$CARGO_TARGET_DIR/corpus/$1"; do
    [ ! -d "$dir" ] || find "$dir" -type f -size -9 -exec cp -n {} "$all" \;
  done
  cargo_fuzz cmin "$1" "$all" -- -max_len=$longest > "$CARGO_TARGET_DIR/$1.min.log" 2>&1
  # A hundred of all lengths, up to each target's share of what the repository takes.
  kept=tests/fuzz/corpus/$1 left=${SHARE_BYTES:-30000}
  find "$kept" -type f -name '????????????????????????????????????????' -delete
  find "$all" -type f -name '????????????????????????????????????????' -size -4097c -printf '%s %p\n' | sort -n > "$all.list"
  each=$(($(wc -l < "$all.list") / 100 + 1))
  awk "NR % $each == 1 || $each == 1" "$all.list" | while read -r size path; do
    left=$((left - size))
    [ $left -ge 0 ] || break
    cp "$path" "$kept"
  done
  echo "$1: $(find "$kept" -type f | wc -l) inputs, $(du -cb "$kept"/* | tail -1 | cut -f1) bytes"
}

case ${1:?which target: $targets, all, or min} in
min) for it in ${2:-$targets}; do minimise "$it"; done ;;
all) for it in $targets; do run "$it" "${2:-60}"; done ;;
*) run "$1" "${2:-60}" ;;
esac
