#!/bin/sh
# Goes back to the version before, where one that was installed does not become ready.   fallback start | ready | ended | installed
#
# boardkeeper.service runs it as root, outside its sandbox: `start` before each start of the agent, `ready` when the agent says
# READY=1, `ended` after each end. The package's postinst runs `installed` before it starts what was unpacked, and the new
# package's preinst keeps the version before in $kept if that one had become ready here.
#
# After two starts in a row at which an agent did not become ready, the other version is started: the kept one in place of the
# installed one, or the installed one again where the kept one does not become ready either, for then something else may be
# wrong. A version that once became ready is not replaced. The unit mounts $use over /usr/bin/boardkeeper in its sandbox: no file
# of the package is changed, and owners' settings of the unit count as before.
#
#   /usr/lib/boardkeeper/previous/boardkeeper   the version before
#   /var/lib/boardkeeper-fallback/ready         what is installed became ready here
#   /var/lib/boardkeeper-fallback/replaced      the version before became ready in its place, so each boot begins with that one
#   /run/boardkeeper-fallback                   until the next boot: failed starts, and what is used
#
# So flash is written once for each package, and once more where the package does not work.
set -eu
kept=/usr/lib/boardkeeper/previous/boardkeeper
lasting=/var/lib/boardkeeper-fallback
now=/run/boardkeeper-fallback
use=$now/boardkeeper
settings=/etc/default/boardkeeper

# Read by journald: 3 is an error, 4 a warning, 5 a notice.
say() { echo "<$1>$2"; }

installed_version() { dpkg-query --show --showformat='${Version}' boardkeeper 2> /dev/null || echo '(unknown)'; }
# A version that hangs must not hold this up.
ask() { timeout 10 "$kept" "$@"; }
kept_version() { ask --version 2> /dev/null | sed -n '1s/^boardkeeper //p'; }

mark() { [ -e "$lasting/$1" ] || { mkdir -p "$lasting" && : > "$lasting/$1" && sync "$lasting"; }; }
unmark() { [ ! -e "$lasting/$1" ] || { rm -f "$lasting/$1" && sync "$lasting"; }; }

# Whether the kept version can read the state directory; says why not.
can_read_the_state() {
  # Of its settings only where the directory is matters; the key is not shown.
  why=$(ask key ${1:+--config "$1"} 2>&1 > /dev/null) && return 0
  say 3 "boardkeeper $(installed_version) did not become ready, and the version before cannot take its place: ${why:-it does not answer}"
  return 1
}

# Uses the kept version from the next start on.
go_back() {
  if [ ! -x "$kept" ]; then
    say 3 "boardkeeper $(installed_version) did not become ready, and no version before it is kept: install one that works"
    return 0
  fi
  if [ -e "$settings" ]; then can_read_the_state "$settings" || return 0; else can_read_the_state '' || return 0; fi
  mkdir -p "$now"
  echo "BOARDKEEPER_REPLACES=$(installed_version)" > "$now/environment"
  ln -sf "$kept" "$use"
  say 3 "boardkeeper $(installed_version) did not become ready: $(kept_version), which did, takes its place until a working package is installed"
}

go_forward() { rm -f "$use" "$now/environment"; }

case ${1:-} in
start)
  if [ -e "$lasting/replaced" ] && [ ! -e "$now/begun" ]; then go_back; fi
  mkdir -p "$now" && : > "$now/begun" ;;
ready)
  rm -f "$now/failed"
  if [ -e "$use" ]; then mark replaced; else mark ready; fi ;;
ended)
  # Asked to stop; or it became ready before, and what is wrong now is something else.
  if [ "${SERVICE_RESULT:-}" = success ]; then exit 0; fi
  if [ -e "$use" ]; then [ ! -e "$lasting/replaced" ] || exit 0; else [ ! -e "$lasting/ready" ] || exit 0; fi
  mkdir -p "$now"
  if [ ! -e "$now/failed" ]; then
    : > "$now/failed"
    exit 0
  fi
  rm -f "$now/failed"
  if [ -e "$use" ]; then
    say 4 "the version before did not become ready either: boardkeeper $(installed_version) is tried again"
    go_forward
  else
    go_back
  fi ;;
installed)
  rm -rf "$now"
  unmark replaced
  unmark ready ;;
*)
  sed -n '2,21s/^# \{0,1\}//p' "$0" >&2
  exit 2 ;;
esac
