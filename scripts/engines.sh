#!/usr/bin/env bash
# Installs the programs of labelling engines, and the browser in which tests look at reports:
#     scripts/engines.sh [espresso] [gpaw] [cp2k] [nwchem] [chromium]      # quick when they are there
# Debian packages need root; pip packages go into .venv (or $PYTHON's environment). What cannot be installed is
# said, and ends with exit code 1 after the others were tried.
set -uo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-.venv/bin/python}
failed=()

say() { echo "engines: $*"; }
sorry() {
  say "$1" >&2
  failed+=("$2")
}

# apt NAME PACKAGE…: Debian packages for engine NAME.
apt() {
  local name=$1 missing=()
  shift
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  if ! command -v apt-get > /dev/null; then
    sorry "$name: no apt-get here: install ${missing[*]} in this system's way" "$name"
  elif [ "$(id -u)" != 0 ]; then
    sorry "$name: not root: sudo apt-get install ${missing[*]}" "$name"
  else
    say "$name: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { scripts/apt_get.sh update -qq && scripts/apt_get.sh install -y -qq --no-install-recommends "${missing[@]}"; } > /dev/null ||
      sorry "$name: apt-get install ${missing[*]} failed" "$name"
  fi
}

# pip_package NAME DISTRIBUTION==VERSION
pip_package() {
  "$PYTHON" - "$2" <<< 'import sys; from importlib.metadata import version
name, wanted = sys.argv[1].split("=="); sys.exit(version(name) != wanted)' 2> /dev/null && return
  say "$1: installing $2"
  "$PYTHON" -m pip --disable-pip-version-check install -qq -c constraints.txt "$2" ||
    sorry "$1: pip install $2 failed" "$1"
}

espresso() {
  # Without a BLAS of its own choice Debian takes the slow reference one.
  apt espresso quantum-espresso libopenblas0-pthread
}

gpaw() {
  # GPAW's own guess of a compiler fails where there is an mpic++ without MPI's headers.
  local config
  config=$(mktemp)
  printf '%s\n' 'mpi = False' "compiler = 'g++'" 'fftw = False' 'scalapack = False' 'libraries = []' > "$config"
  GPAW_CONFIG=$config pip_package gpaw gpaw==26.7.0
  rm -f "$config"
}

cp2k() {
  apt cp2k cp2k cp2k-data
}

nwchem() {
  apt nwchem nwchem
}

chromium() {
  apt chromium chromium
}

for engine in "$@"; do
  case $engine in
    espresso | gpaw | cp2k | nwchem | chromium) "$engine" ;;
    *) sorry "$engine: unknown; one of: espresso gpaw cp2k nwchem chromium" "$engine" ;;
  esac
done
[ ${#failed[@]} = 0 ]
