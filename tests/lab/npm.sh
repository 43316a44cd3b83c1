#!/bin/sh
# Installs balena-sdk, balena-cli and the node that they want, with npm, into target/open-balena, and prints that directory.
set -eu
cd "$(dirname "$0")/../.."
kept=$PWD/target/open-balena
mkdir -p "$kept"
if ! cmp -s tests/cloud/open-balena/package.json "$kept/package.json"; then
  echo "npm.sh: installing balena-sdk, balena-cli and node with npm, in target/open-balena (minutes, once)" >&2
  cp tests/cloud/open-balena/package.json "$kept/wanted.json"
  (cd "$kept" && cp wanted.json package.json && npm install --no-audit --no-fund --no-package-lock --loglevel=error >&2) ||
    { rm -f "$kept/package.json"; exit 1; }
fi
echo "$kept"
