"""EMT with labels that are hard to learn, or hard to get, for engine ``ase``.

``odd_labels:CloseAtoms`` and ``odd_labels:NoisyEnergies``, and this folder on PYTHONPATH.
"""

import hashlib

import numpy as np
from ase import Atoms
from ase.calculators.calculator import SCFError, all_changes
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list


class CloseAtoms(EMT):
    """An SCF that does not converge where two atoms are nearer than ``distance`` (Å)."""

    def __init__(self, distance: float, **kwargs):
        self.distance = distance
        super().__init__(**kwargs)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        if len(neighbor_list("i", atoms, self.distance)):
            raise SCFError("SCF not converged")
        super().calculate(atoms, properties, system_changes)


class NoisyEnergies(EMT):
    """Energies of one composition are ``noise`` (eV/atom) too high or too low, as if at random."""

    def __init__(self, formula: str, noise: float, **kwargs):
        self.formula, self.noise = formula, noise
        super().__init__(**kwargs)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if atoms.get_chemical_formula() == self.formula:
            wrong = self.noise * len(atoms) * _sign(atoms)
            for key in ("energy", "free_energy"):
                self.results[key] += wrong


def _sign(atoms: Atoms) -> int:
    content = repr(np.rint(atoms.positions * 1e6).astype(int).tolist())
    return 1 - 2 * (hashlib.sha256(content.encode()).digest()[0] % 2)
