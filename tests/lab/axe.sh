#!/bin/sh
# Installs axe-core, which judges a page's accessibility, with npm into target/browser/axe.
set -eu
cd "$(dirname "$0")/../.."
version=4.10.3
kept=$PWD/target/browser/axe
[ "$(cat "$kept/version" 2> /dev/null)" != $version ] || exit 0
mkdir -p "$kept"
echo "axe.sh: installing axe-core $version with npm, in target/browser/axe (once)" >&2
npm install --prefix "$kept" --no-audit --no-fund --no-package-lock --loglevel=error axe-core@$version >&2
echo $version > "$kept/version"
