#!/bin/bash
# Runs the tests on emulated ARM processors, and looks at the release binaries there.   arm.sh [TARGET…]
#
# The tests of the library, the ports, the simulated world and the router are built by packaging/cross.sh and run by qemu-user on
# the oldest processor of each target: an arm1176 (Pi Zero, Pi 1), a cortex-a8 (BeagleBone), a cortex-a53 (Pi 3). An instruction it
# does not have ends the test. Tests that start an engine are left to `make engine`, and those that read the source to `make unit`.
# Then target/release-bin/TARGET/boardkeeper, where there is one, is run there too: once today, and once in 2040, which is where
# 32 bits of seconds have run out.
#
# Without arguments all three targets are run. SHORT=yes is for those in a hurry: of a 32-bit one, in which this machine differs from
# a board most, the tests of the library, the ports and the router, as they are compiled fastest, and all three binaries.
# ONLY=binaries leaves the tests out. CASES is how many cases each property has (16, or 4 when short; on the machine itself it is
# 256). The short form takes some 720 seconds of a processor, most of them for compiling: on two processors 6 minutes.
set -eu
cd "$(dirname "$0")/../.."
here=$PWD
every='aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf arm-unknown-linux-musleabihf'
short=${SHORT:-} tested=$every level=1 cases=${CASES:-16}
[ -z "$short" ] || { tested='armv7-unknown-linux-musleabihf' level=0 cases=${CASES:-4}; }

fail() { echo "arm.sh: $*" >&2; exit 1; }

qemu_for() {
  case $1 in
  arm-*) echo "qemu-arm -cpu arm1176" ;;
  armv7-*) echo "qemu-arm -cpu cortex-a8" ;;
  aarch64-*) echo "qemu-aarch64 -cpu cortex-a53" ;;
  *) fail "no emulator is known for $1" ;;
  esac
}

# Every kind of test that needs nothing but a processor.
kinds() {
  echo --lib
  [ -z "$short" ] || { echo --test port --test api --test width; return; }
  local it name
  for it in tests/*.rs tests/*/main.rs; do
    [ -e "$it" ] || continue
    name=$(basename "${it%/main.rs}" .rs)
    case $name in engine | boards | kernel | leds | tidy | docs) ;; *) echo "--test $name" ;; esac
  done
}

# some TARGET EMULATOR ARGUMENT…: builds and runs some of the tests; the arguments are cargo's.
some() {
  local target=$1 qemu=$2 upper
  upper=$(tr a-z- A-Z_ <<< "$target")
  shift 2
  # No debug information and, for all tests, some optimisation: an emulated processor is slow, and this way building and running take
  # least together.
  env "CARGO_TARGET_${upper}_RUNNER=$qemu" BOARDKEEPER_NO_ENGINE=1 CARGO_PROFILE_DEV_DEBUG=false CARGO_PROFILE_DEV_OPT_LEVEL=$level \
    PROPTEST_CASES="$cases" INSTA_WORKSPACE_ROOT="$here" INSTA_UPDATE=no \
    packaging/cross.sh "$target" test --locked --no-fail-fast "$@" 2>&1
}

run_tests() {
  local target=$1 qemu began=$SECONDS said=$log/$1.tests passed failed
  qemu=$(qemu_for "$target")
  {
    # shellcheck disable=SC2046 # several words
    some "$target" "$qemu" $(kinds) || true
    # A test cannot start an ARM program: the kernel here does not know how.
    [ -n "$short" ] || some "$target" "$qemu" --test leds -- --skip bench:: || true
  } | tee "$said" | { grep -E '^test result|FAILED|panicked|^error|Running' || true; } >&2
  passed=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$said")
  failed=$(awk '/^test result:/ { n += $6 } END { print n + 0 }' "$said")
  printf '%-32s %-28s tests: %s passed, %s failed, %ss\n' "$target" "$qemu" "$passed" "$failed" $((SECONDS - began)) >> "$table"
  if [ "$passed" = 0 ] || [ "$failed" != 0 ] || grep -q '^error' "$said"; then failures="$failures $target's tests (see $said);"; fi
}

# The release binary begins, answers and stops as it is asked, at the time that is given.
look_at() {
  local target=$1 when=$2 binary=target/release-bin/$1/boardkeeper qemu code=0 address pid healthy=''
  [ -x "$binary" ] || return 0
  qemu=$(qemu_for "$target")
  mkdir -p "$log/root"
  # shellcheck disable=SC2086 # several words
  env "LD_PRELOAD=$faketime" FAKETIME="@$when-01-01 00:00:00" FAKETIME_DONT_FAKE_MONOTONIC=1 DOCKER_HOST=unix:///nowhere/docker.sock \
    $qemu "$binary" run --root "$log/root" --state-dir "$log/state" --runtime-dir "$log/run" --listen 127.0.0.1:0 > "$log/agent" 2>&1 &
  pid=$!
  for _ in $(seq 100); do
    address=$(sed -n 's/.*the API answers at \([0-9.:]*\).*/\1/p' "$log/agent")
    [ -z "$address" ] || healthy=$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 "http://$address/v1/healthy" || true)
    [ -z "$healthy" ] || [ "$healthy" = 000 ] || break
    sleep 0.2
  done
  kill -TERM $pid 2> /dev/null || true
  wait $pid || code=$?
  printf '%-32s %-28s release binary in %s: answered %s, ended with %s\n' "$target" "$qemu" "$when" "${healthy:-nothing}" "$code" >> "$table"
  # Without an engine it is not healthy for long, and says so; what matters is that it says it.
  # Its log says what time it took it to be.
  if [ "$code" != 0 ] || [[ ! $healthy =~ ^(200|500)$ ]] || ! grep -q "$when-" "$log/agent"; then
    failures="$failures $target's release binary in $when;"
    tail -3 "$log/agent" >&2
  fi
  rm -rf "$log/state" "$log/run"
}

tests/lab/install.sh tools arm
faketime=$(dpkg -L libfaketime | grep 'libfaketimeMT.so.1$')
log=$(mktemp -d /tmp/boardkeeper-arm.XXXXXX) table=$log/table failures=''
[ $# = 0 ] || { every=$* tested=$*; }
[ "${ONLY:-}" != binaries ] || tested=''
for it in $tested; do run_tests "$it"; done
# Before, and after, 32 bits of seconds since 1970 run out.
for it in $every; do for when in 2027 2040; do look_at "$it" $when; done; done
cat "$table"
[ -z "$failures" ] || fail "failed:$failures"
rm -rf "$log"
