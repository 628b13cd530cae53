#!/usr/bin/env bash
# Starts both clusters on etcd and drops into a shell with kubectl ready; with arguments, runs those instead of the shell.
set -euo pipefail
knetsim up --store etcd
KUBECONFIG=$(knetsim kubeconfig)
export KUBECONFIG
if [[ $# -gt 0 ]]; then
    exec "$@"
fi
exec bash
