#!/bin/bash
# Runs a program's tests in two halves side by side, each where nothing it does is seen outside.   halves.sh PROGRAM ARGUMENT…
#
# These tests wait for an engine more than they compute, and take turns with it; so two engines halve the time. Each half has an
# engine, a registry, a network and a directory of its own (see inside.sh). What the others say is printed when they have ended.
# BOARDKEEPER_LABS is another number of parts, for tests that mostly wait for time to pass.
# cargo takes it as the runner of the tests that need it.
set -u
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
for ((part = 0; part < parts; part++)); do
  share=()
  for at in "${!all[@]}"; do
    ((at % parts != part)) || share+=("${all[at]}")
  done
  if ((part > 0)); then
    "$inside" "$@" --exact "${share[@]}" > "$dir/$part" 2>&1 &
  else
    "$inside" "$@" --exact "${share[@]}" &
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
