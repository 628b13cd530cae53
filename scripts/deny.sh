#!/usr/bin/env bash
# Checks licences and bans with cargo-deny where it is installed; says so where it is not.
set -euo pipefail
if cargo deny --version >/dev/null 2>&1; then
    exec cargo deny --offline check bans licenses sources
fi
echo "SKIPPED cargo-deny: not installed (cargo install --locked cargo-deny)"
