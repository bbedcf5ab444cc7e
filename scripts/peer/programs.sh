#!/usr/bin/env bash
# Adds to the venv of make.sh the programs that run mace-torch's model files: OpenMM with its plugin
# for potentials, torch-sim, janus. Safe to run again.
#     scripts/peer/programs.sh [FOLDER]      # .peer-venv by default
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=${1:-$root/.peer-venv}

"$root/scripts/peer/make.sh" "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check install -qq \
    -c "$root/scripts/peer/constraints.txt" openmm openmmml torch-sim-atomistic janus-core
