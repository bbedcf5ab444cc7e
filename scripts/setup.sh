#!/usr/bin/env bash
# Makes .venv and installs the project into it, with what constraints.txt pins. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }

find_python() {
  for candidate in python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

make_venv() {
  "$1" -m venv .venv > /dev/null 2>&1 && return
  rm -rf .venv # what a failed attempt left
  local package
  package="python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    say "installing $package"
    scripts/apt_get.sh update -qq && scripts/apt_get.sh install -y -qq --no-install-recommends "$package" > /dev/null
    "$1" -m venv .venv
  else
    die "$1 cannot make a venv: install it first, e.g. 'sudo apt-get install $package'"
  fi
}

if [ ! -x .venv/bin/python ]; then
  [ ! -e .venv ] || die ".venv is there but has no bin/python: move it away"
  python=$(find_python) || die "Python 3.11 or newer is needed; none found as python3, python3.13, python3.12, python3.11"
  say "making .venv with $python; the first installation takes some minutes and 2 GB"
  make_venv "$python"
fi

# Errors only: what a slow or partial mirror has to say is not the reader's business.
pip=(.venv/bin/python -m pip --disable-pip-version-check install -qq)
# First and by itself, so that an installed or configured CPU build is taken for it.
"${pip[@]}" "$(grep '^torch==' constraints.txt)"
"${pip[@]}" -c constraints.txt -e '.[dev]'
touch .venv/.installed
say "ready: .venv"
