#!/usr/bin/env bash
# Installs what is missing of scripts/packages.txt; asks for nothing when nothing is missing.
#   scripts/packages.sh [build|run|etcd|pull|tools|test …]     default: all
set -euo pipefail
cd "$(dirname "$0")"
wanted=${*:-build run etcd pull tools test}
missing=()
while read -r package file need _; do
    case "$package" in '' | \#*) continue ;; esac
    [[ " $wanted " == *" $need "* ]] || continue
    case "$file" in
        /*) compgen -G "$file" >/dev/null && continue ;;
        *) PATH="$PATH:/usr/sbin:/sbin" command -v "$file" >/dev/null && continue ;;
    esac
    missing+=("$package")
done <packages.txt
if [[ ${#missing[@]} -eq 0 ]]; then
    exit 0
fi
echo "Installing: ${missing[*]}"
sudo=()
if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
        echo "These packages are missing, and installing them needs root: ${missing[*]}" >&2
        echo "Ask an administrator to run: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    sudo=(sudo)
fi
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
# The packages start services of their own on a machine with an init system; knetsim uses only the programs.
for unit in nginx etcd; do
    if [[ " ${missing[*]} " == *" $unit"* ]] && command -v systemctl >/dev/null && [[ -d /run/systemd/system ]]; then
        "${sudo[@]}" systemctl disable --now "$unit" >/dev/null 2>&1 || true
    fi
done
