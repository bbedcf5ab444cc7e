#!/usr/bin/env bash
# Makes .goldens-venv with the real mace-torch, computes with it, and packs tests/goldens.
# MACELOOP_MACE_PYTHON: a Python that has it already; then no venv is made.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=scripts/goldens
peer=${MACELOOP_MACE_PYTHON:-.goldens-venv/bin/python}
if [ -z "${MACELOOP_MACE_PYTHON:-}" ] && [ ! -e .goldens-venv/.installed ]; then
  echo "goldens: making .goldens-venv; this takes some minutes and 1.5 GB"
  rm -rf .goldens-venv
  .venv/bin/python -m venv .goldens-venv
  pip=("$peer" -m pip --disable-pip-version-check install -qq)
  # First and by itself, so that an installed or configured CPU build is taken for it.
  "${pip[@]}" "$(grep '^torch==' $here/constraints.txt)"
  "${pip[@]}" -c $here/constraints.txt mace-torch
  touch .goldens-venv/.installed
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# What it says to its readers (old torch functions, missing accelerators) is not ours to mend.
"$peer" -W ignore $here/compute.py "$work" 2> "$work/stderr" || { tail -n 20 "$work/stderr" >&2; exit 1; }
.venv/bin/python $here/pack.py "$work" tests/goldens
