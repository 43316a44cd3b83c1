#!/bin/sh
# Builds the agent of another commit, to be measured beside this one.   other.sh COMMIT
#
# The binary is target/compare/boardkeeper. Run by `make bench COMPARE=COMMIT`.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
place=$root/target/compare
commit=$(git -C "$root" rev-parse --verify --quiet "$1^{commit}") ||
  { echo "make bench: $1 is no commit of this repository; give a branch, a tag or a hash" >&2; exit 2; }
rm -rf "$place/source"
mkdir -p "$place/source"
git -C "$root" archive "$commit" | tar -x -C "$place/source"
cd "$place/source"
cargo build --release --locked --target-dir "$place/target"
cp "$place/target/release/boardkeeper" "$place/boardkeeper"
