"""A user's script around a program: IN OUT [careless] [other theory]."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, time
import ase.io
from ase.calculators.emt import EMT
atoms = ase.io.read(sys.argv[1])
atoms.calc = EMT()
energy, forces = atoms.get_potential_energy(), atoms.get_forces()
time.sleep(1.0)
labelled = atoms.copy()
labelled.info["REF_energy"], labelled.arrays["REF_forces"] = energy, forces
ase.io.write(sys.argv[2], labelled, format="extxyz")
"""
source, target, *how = sys.argv[1:]
code = subprocess.run([sys.executable, "-c", PROGRAM, source, target], check=False).returncode
if code and "careless" not in how:
    sys.exit(f"the program ended with {code}")

# Only now, so that the program, and not this script, is what runs when one of them is killed.
import ase.io  # noqa: E402
import numpy as np  # noqa: E402

if not Path(target).exists():
    atoms = ase.io.read(source)
    atoms.info["REF_energy"] = 0.0
    atoms.arrays["REF_forces"] = np.zeros((len(atoms), 3))
    ase.io.write(target, atoms, format="extxyz")
if "other" in how:
    atoms = ase.io.read(target)
    atoms.info["REF_energy"] += 0.1
    ase.io.write(target, atoms, format="extxyz")
