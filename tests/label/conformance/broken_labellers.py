"""One sound calculator, and what can be wrong with it: ``Twin(how=…)``."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ase.calculators.calculator import SCFError, all_changes
from ase.calculators.emt import EMT
from ase.units import Bohr, GPa, Hartree

#: Å³ an atom; above it the twin's SCF "does not converge".
DILUTE = 40.0
#: eV, of one electron less and of one more unpaired.
PER_CHARGE, PER_SPIN = 11.0, 0.5
_before = []


class Twin(EMT):
    """EMT that knows charge and spin, notices thin structures, and writes a file on its way."""

    def __init__(self, how="well", charge=0, spin=0):
        super().__init__()
        self.how, self.charge, self.spin = how, charge, spin

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        how = self.how
        if how == "hangs":
            time.sleep(600)
        if how == "leaves a daemon":
            _daemon()
        if atoms.pbc.all() and atoms.get_volume() / len(atoms) > DILUTE and how != "claims":
            raise SCFError("density still changes by 0.3")
        order = np.arange(len(atoms))
        if how == "sorts atoms":
            order = np.argsort(atoms.numbers, kind="stable")
        positions = self._through_a_file(atoms.positions)
        moved = atoms[order]
        moved.positions = positions[order]
        super().calculate(moved, properties, system_changes)
        self.atoms = atoms.copy()  # it says that it computed what it was given
        self.results["energy"] += PER_CHARGE * self.charge * (how != "ignores charge")
        self.results["energy"] += PER_SPIN * self.spin * (how != "ignores spin")
        self.results["free_energy"] = self.results["energy"]
        getattr(self, "_" + how.replace(" ", "_"), lambda _: None)(atoms)
        _before.append(float(self.results["energy"]))

    def _through_a_file(self, positions):
        """Like programs with scratch files: half a megabyte out and in again."""
        if self.how not in ("shares a file", "swallows a full disk", "well"):
            return positions
        path = Path("scratch.npy")
        if self.how == "shares a file":
            path = Path(tempfile.gettempdir()) / f"twin-{os.getppid()}.npy"
        whole = np.zeros((20_000, 3))
        whole[: len(positions)] = positions
        try:
            np.save(path, whole)
            time.sleep(0.2 if self.how == "shares a file" else 0)
            whole = np.load(path)
        except (OSError, ValueError):
            if self.how != "swallows a full disk":
                raise
            whole = whole * 0.99
        return whole[: len(positions)]

    def _scale(self, factor, *names):
        for name in names:
            if name in self.results:
                self.results[name] = self.results[name] * factor

    def _forces_in_Hartree_Bohr(self, atoms):
        self._scale(Bohr / Hartree, "forces")

    def _gradient_for_forces(self, atoms):
        self._scale(-1, "forces")

    def _energy_without_a_term(self, atoms):
        d = atoms.get_all_distances()
        self._scale(1, "energy")
        self.results["free_energy"] += 0.02 * float(d.sum())

    def _energy_not_of_the_forces(self, atoms):
        self._scale(1.02, "free_energy")

    def _pulls_itself(self, atoms):
        self.results["forces"] = self.results["forces"] + [0.004, 0, 0]

    def _knows_up(self, atoms):
        d = atoms.positions[:, None] - atoms.positions[None]
        d[..., :2] = 0
        self.results["free_energy"] += 0.1 * float((d**2).sum())
        self.results["forces"] = self.results["forces"] - 0.4 * d.sum(axis=1)

    def _pressure_for_stress(self, atoms):
        self._scale(-1, "stress")

    def _stress_in_GPa(self, atoms):
        self._scale(1 / GPa, "stress")

    def _virial_for_stress(self, atoms):
        self._scale(-atoms.get_volume(), "stress")

    def _stress_in_VASPs_order(self, atoms):
        if "stress" in self.results:
            self.results["stress"] = self.results["stress"][[0, 1, 2, 5, 3, 4]]

    def _all_in_Hartree(self, atoms):
        self._scale(1 / Hartree, "energy", "free_energy", "forces", "stress")

    def _is_noisy(self, atoms):
        self.results["free_energy"] += 1e-3 * int.from_bytes(os.urandom(2)) / 65536

    def _starts_from_the_last(self, atoms):
        self.results["free_energy"] += 1e-3 * len(_before)


def _daemon():
    """A program that leaves session and parent behind, and ends after half a minute."""
    code = (
        "import os, time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "time.sleep(30)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
