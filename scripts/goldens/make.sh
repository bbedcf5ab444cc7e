#!/usr/bin/env bash
# Computes with the real mace-torch, in .peer-venv, and packs tests/goldens.
# MACELOOP_MACE_PYTHON: a Python that has it already; then no venv is made.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=scripts/goldens
peer=${MACELOOP_MACE_PYTHON:-.peer-venv/bin/python}
[ -n "${MACELOOP_MACE_PYTHON:-}" ] || scripts/peer/make.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# What it says to its readers (old torch functions, missing accelerators) is not ours to mend.
"$peer" -W ignore $here/compute.py "$work" 2> "$work/stderr" || { tail -n 20 "$work/stderr" >&2; exit 1; }
.venv/bin/python $here/pack.py "$work" tests/goldens
