#!/usr/bin/env bash
# A release from install to uninstall, as users of Helm type it. Ends with 0 and `ok` when all went as upstream has it.
set -euo pipefail
cd "$(dirname "$0")"
in=(--namespace helm)
said() { kubectl "${in[@]}" get configmap g -o 'jsonpath={.data.greeting}'; }
helm install g chart "${in[@]}" --create-namespace --wait --timeout 60s
[[ $(said) == hello ]]
helm test g "${in[@]}" --timeout 60s
helm upgrade g chart "${in[@]}" --set greeting=goodbye --set replicas=2 --wait --timeout 60s
[[ $(said) == goodbye ]]
[[ $(kubectl "${in[@]}" get deployment g -o 'jsonpath={.status.readyReplicas}') == 2 ]]
helm rollback g 1 "${in[@]}" --wait --timeout 60s
[[ $(said) == hello ]]
[[ $(helm history g "${in[@]}" -o json | grep -o '"revision"' | wc -l) == 3 ]]
# What a chart may not do is told in the API's words, and the release stays as it is.
if refused=$(helm upgrade g chart "${in[@]}" --set replicas=-1 2>&1); then
    echo "replicas=-1 was taken" >&2
    exit 1
fi
[[ $refused == *'spec.replicas: Invalid value: -1: must be greater than or equal to 0'* ]]
helm uninstall g "${in[@]}" --wait --timeout 60s
[[ -z $(kubectl "${in[@]}" get deployments,services,configmaps -l app.kubernetes.io/managed-by=Helm -o name) ]]
kubectl delete namespace helm --timeout=60s
echo ok
