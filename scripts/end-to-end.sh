#!/usr/bin/env bash
# Runs the end-to-end tests, target by target. They keep time with real processes on a machine that does other things too:
# a target that fails is run once more, and what passes only then is named at the end as FLAKY, for that is a defect as well.
set -euo pipefail
cd "$(dirname "$0")/.."

flaky=()
run() { cargo test --locked -p knetsim-tests "$@" -- --test-threads=1 --nocapture; }

run --lib --bins
for file in tests/tests/*.rs; do
    target=$(basename "$file" .rs)
    run --test "$target" && continue
    echo "=== $target failed; once more"
    run --test "$target"
    flaky+=("$target")
done
for target in "${flaky[@]}"; do echo "FLAKY $target: failed, then passed"; done
