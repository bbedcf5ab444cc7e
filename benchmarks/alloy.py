"""Crystals for benchmarks that have none published: fcc alloys, labelled by ASE's EMT."""

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.data import chemical_symbols
from published import Split

from mace_core.train.e0s import average_energies

ELEMENTS = ("Al", "Ni", "Cu")
A_MEAN = 3.75  # Å, of the cubic cell


def alloys(n_train: int, n_valid: int, n_test: int, draw: int) -> Split:
    """Supercells of 31 or 32 atoms: random elements, strains to 4 %, rattled by 0.05 to 0.25 Å.

    Every second one has a vacancy. Labels are energies, forces and stress; E0s are the least
    squares over the training frames. ``draw`` says which draw.
    """
    rng = np.random.default_rng([draw, 7])
    frames = [_labelled(_one(rng, vacancy=k % 2 == 1)) for k in range(n_train + n_valid + n_test)]
    train, rest = frames[:n_train], frames[n_train:]
    E0s = {chemical_symbols[z]: E0 for z, E0 in average_energies(train).items()}
    return Split(train, rest[:n_valid], rest[n_valid:], E0s)


def _one(rng: np.random.Generator, vacancy: bool) -> Atoms:
    atoms = bulk("Cu", a=A_MEAN, cubic=True) * 2
    atoms.symbols = rng.choice(ELEMENTS, len(atoms))
    if vacancy:
        del atoms[int(rng.integers(len(atoms)))]
    strain = rng.uniform(-0.04, 0.04, (3, 3))
    atoms.set_cell(atoms.cell @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    atoms.positions += rng.normal(scale=rng.uniform(0.05, 0.25), size=atoms.positions.shape)
    return atoms


def _labelled(atoms: Atoms) -> Atoms:
    calculator = EMT()
    for name in ("energy", "stress"):
        atoms.info[f"REF_{name}"] = calculator.get_property(name, atoms)
    atoms.arrays["REF_forces"] = calculator.get_property("forces", atoms)
    return atoms
