#!/bin/bash
# Runs a program's tests in two parts side by side, each where nothing it does is seen outside.   halves.sh PROGRAM ARGUMENT…
#
# These tests wait for an engine more than they compute, and take turns with it; so two engines halve the time. Each part has an
# engine, a registry, a network and a directory of its own (see inside.sh), and takes a few tests at a time of those that are left:
# some take a second and some a minute, and all parts end at about the same time. What the others say is printed when they have ended.
# BOARDKEEPER_LABS is another number of parts, for tests that mostly wait for time to pass.
# cargo takes it as the runner of the tests that need it.
set -u

# Within a part: runs tests of the queue until none is left.
if [ "${1:-}" = --take ]; then
  queue=$2 code=0
  shift 2
  for it in "$queue"/*; do
    # Another part may be faster.
    mv "$it" "$queue.taken/" 2> /dev/null || continue
    mapfile -t share < "$queue.taken/${it##*/}"
    "$@" --exact "${share[@]}" || code=$?
  done
  exit $code
fi

[ "$(id -u)" = 0 ] || exec sudo -E env "PATH=$PATH" "$0" "$@"
inside=$(dirname "$0")/inside.sh
parts=${BOARDKEEPER_LABS:-2}

mapfile -t all < <("$@" --list --format terse | sed -n 's/: test$//p')
[ ${#all[@]} -gt 1 ] || exec "$inside" "$@"
[ ${#all[@]} -ge "$parts" ] || parts=${#all[@]}

# A process group for each, so that whoever ends us ends all of it.
set -m
dir=$(mktemp -d)
ids=()
mkdir "$dir/queue" "$dir/queue.taken"
# Neighbours have images in common, which a process prepares once.
printf '%s\n' "${all[@]}" | split --lines $(((${#all[@]} + parts * 16 - 1) / (parts * 16))) --suffix-length 4 - "$dir/queue/"
for ((part = 0; part < parts; part++)); do
  if ((part > 0)); then
    "$inside" "$0" --take "$dir/queue" "$@" > "$dir/$part" 2>&1 &
  else
    "$inside" "$0" --take "$dir/queue" "$@" &
  fi
  ids+=($!)
done
trap 'for it in "${ids[@]}"; do kill -INT -- "-$it" 2> /dev/null; done' INT TERM
trap 'rm -rf "$dir"' EXIT
code=0
for it in "${ids[@]}"; do
  wait "$it" || code=$?
done
for ((part = 1; part < parts; part++)); do cat "$dir/$part"; done
exit $code
