"""A labelling script as a user would write one, and its misbehaviours: IN OUT [how]."""

import os
import signal
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
from ase.calculators.emt import EMT

source, target, how = [*sys.argv[1:], "well"][:3]
atoms = ase.io.read(source)
print(f"read {len(atoms)} atoms, charge {atoms.info['charge']}, spin {atoms.info['spin']}")
if atoms.info["charge"] or atoms.info["spin"]:
    sys.exit("EMT knows neither charge nor spin")
atoms.calc = EMT()
energy, forces, stress = (
    atoms.get_potential_energy(force_consistent=True),
    atoms.get_forces(),
    atoms.get_stress() if atoms.pbc.all() else None,
)
labelled = atoms.copy()
if how == "bare":
    ase.io.write(target, atoms)
    sys.exit()
if how == "full stress":
    stress = np.array(stress)[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
if how == "swap":
    order = np.arange(len(atoms))[::-1]
    labelled, forces = labelled[order], forces[order]
if how == "squeeze":
    labelled.cell[:] *= 0.99
if how == "other":
    labelled.numbers[0] = 47
if how == "hang":
    time.sleep(60)
if how == "error":
    sys.exit("no licence for this program")
if how == "exit 42":
    sys.exit(42)
if how == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "nothing":
    sys.exit()
if how == "garbage":
    Path(target).write_text("4\nenergy=\nCu 0 0\n")
    sys.exit()
labelled.info["REF_energy"] = energy
labelled.arrays["REF_forces"] = forces
if stress is not None:
    labelled.info["REF_stress"] = stress
if how == "unconverged":
    labelled.info |= {"label_status": "unconverged", "label_reason": "SCF at 1e-2 after 50 steps"}
if how == "nan":
    labelled.arrays["REF_forces"][0] = np.nan
ase.io.write(target, [labelled] * (2 if how == "two" else 1))
