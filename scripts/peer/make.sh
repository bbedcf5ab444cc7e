#!/usr/bin/env bash
# Makes a venv with the programs we are compared with: mace-torch and, where it can be had,
# symmetrix-xl. Safe to run again.
#     scripts/peer/make.sh [FOLDER]      # .peer-venv by default
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=${1:-$root/.peer-venv}
pins=$root/scripts/peer/constraints.txt

if [ "$venv/.installed" -nt "$pins" ]; then exit 0; fi
echo "peer: making $venv; this takes some minutes and 1.5 GB"
rm -rf "$venv"
"$root/.venv/bin/python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check install -qq)
# First and by itself, so that an installed or configured CPU build is taken for it.
"${pip[@]}" "$(grep '^torch==' "$pins")"
"${pip[@]}" -c "$pins" mace-torch
# The peer's own kernels for the processor at hand; it has wheels for Linux on x86-64 only.
backend=
if grep -qw avx512f /proc/cpuinfo 2> /dev/null; then backend=symmetrix-xl-cpu-avx512; fi
"${pip[@]}" -c "$pins" symmetrix-xl $backend || echo "peer: symmetrix-xl cannot be installed here" >&2
touch "$venv/.installed"
