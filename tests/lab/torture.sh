#!/bin/bash
# Runs the long forms of what docs/testing.md promises, and prints its table with what was measured.   torture.sh [NAME…]
#
# One function per promise, in the order they are run; its name is the first column of the page. It calls `shows` with the
# promise and the command that shows it. What a command prints as `figure: …` is what was measured; without such a line, what
# cargo says of its tests. Sizes come from the environment, so that an hour more is a number and no edit.
#
# Each command's output is kept in target/torture/NAME.log, the table in target/torture/table.md, or both in OUT. A promise that
# is not kept does not keep the others from being looked at; the exit code tells.
set -u
cd "$(dirname "$0")/../.." || exit 2
out=${OUT:-target/torture}
# What make was told is for this script: the verbs below would leave out every test that is not called so.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES ONLY

lives() { shows "a life of faults and power cuts ends as wanted" make lives LIVES="${LIVES:-1000000}"; }
named() { shows "what went wrong elsewhere does not here" make sim; }
cuts() { shows "a power cut leaves the old or the new record" env CUTS="${CUTS:-1000000}" make cuts; }
access() { shows "no key but the right one opens anything" make access; }
power() { shows "reboots and shutdowns are told truly" make power SHOW=1; }
leds() { shows "a LED blinks as told and is afterwards exactly as it was" make kernel; }
hostile() { shows "hostile clients harm nobody" make hostile HELD="${HELD:-10000}"; }
fuzz() { shows "no made-up bytes make the agent fall over" make fuzz TIME="${FUZZ_SECONDS:-3600}"; }
schema() { shows "no answer is other than described" make schema EXAMPLES="${EXAMPLES:-200}"; }
full() { shows "a full disk stops nobody, loses nothing, and is left by itself" make engine ONLY=full:: SHOW=1; }
fits() { shows "what is known not to fit is not begun" make engine ONLY=pull SHOW=1; }
bad_target() { shows "a target that ends the agent again and again gives way to the last good one" make engine ONLY=trial:: SHOW=1; }
soak() { shows "a hundred days cost no memory, and idling no byte" make soak DAYS="${DAYS:-100}"; }

shows() {
  local promise=$1 code=0 began=$SECONDS log=$out/$name.log figures why
  shift
  echo "torture: $name: $*" >&2
  "$@" > "$log" 2>&1 || code=$?
  figures=$(sed -n 's/^.*figure: //p' "$log" | paste -sd ';' | sed 's/;/; /g')
  [ -n "$figures" ] || figures=$(grep '^test result' "$log" | tail -1 | sed 's/^test result: //; s/;.*//')
  why="exit $code"
  case $code,$figures in '0,' | '0,ok. 0 passed') code=1 why="nothing was looked at" ;; esac
  [ $code = 0 ] || { failed=1; figures="**not kept** ($why, see $log); $figures"; }
  echo "| $name | $promise | $figures | $((SECONDS - began)) s | \`$*\` |" >> $out/table.md
}

# What the functions above are called, in their order.
names() { sed -n 's/^\([a-z_]*\)() { shows .*/\1/p' "$0"; }

[ "${1:-}" != --names ] || { names; exit; }
mkdir -p $out
printf '%s\n' '| name | promise | measured | took | command |' '| --- | --- | --- | --- | --- |' > $out/table.md
failed=0
for name in ${*:-$(names)}; do
  names | grep -qx "$name" || { echo "torture: nobody promises '$name'; there are: $(names | paste -sd ' ')" >&2; exit 2; }
  "$name"
done
cat $out/table.md
exit $failed
