#!/bin/bash
# Runs a program's tests in two halves side by side, each where nothing it does is seen outside.   halves.sh PROGRAM ARGUMENT…
#
# These tests wait for an engine more than they compute, and take turns with it; so two engines halve the time. Each half has an
# engine, a registry, a network and a directory of its own (see inside.sh). What the second one says is printed when it has ended.
# cargo takes it as the runner of the tests that need it.
set -u
[ "$(id -u)" = 0 ] || exec sudo -E env "PATH=$PATH" "$0" "$@"
inside=$(dirname "$0")/inside.sh

mapfile -t all < <("$@" --list --format terse | sed -n 's/: test$//p')
[ ${#all[@]} -gt 1 ] || exec "$inside" "$@"
for at in "${!all[@]}"; do
  if ((at % 2)); then odd+=("${all[at]}"); else even+=("${all[at]}"); fi
done

# A process group for each, so that whoever ends us ends all of it.
set -m
said=$(mktemp)
"$inside" "$@" --exact "${odd[@]}" > "$said" 2>&1 &
second=$!
"$inside" "$@" --exact "${even[@]}" &
first=$!
trap 'kill -INT -- "-$first" "-$second" 2> /dev/null' INT TERM
trap 'rm -f "$said"' EXIT
wait "$first"
code=$?
wait "$second" || code=$?
cat "$said"
exit $code
