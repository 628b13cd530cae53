#!/usr/bin/env bash
# Installs the client libraries into the folder given (below target); does nothing when the versions are there already.
#   tests/clients/setup.sh FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
to=$(cd "$1" && pwd)
if ! cmp -s "$here/python/requirements.txt" "$to/requirements.txt"; then
    python3 -m venv "$to/venv"
    "$to/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/python/requirements.txt"
    cp "$here/python/requirements.txt" "$to/"
fi
if ! cmp -s "$here/javascript/package.json" "$to/package.json"; then
    cp "$here/javascript/package.json" "$to/package.json.new"
    mv "$to/package.json.new" "$to/package.json"
    (cd "$to" && npm install --no-package-lock --no-audit --no-fund --loglevel=error) || { rm "$to/package.json"; exit 1; }
fi
# Modules are looked up beside the program, so it stands beside them.
cp "$here"/javascript/*.mjs "$to/"
