#!/usr/bin/env bash
# Checks licences, bans and sources of all dependencies with cargo-deny.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/tools.sh cargo-deny
export PATH=$PWD/target/tools/bin:$PATH
# Crates of other platforms are part of the graph, and may not have been fetched for a build.
cargo fetch --locked --quiet
exec cargo deny --offline --log-level error check bans licenses sources
