"""Small data in the form of published ones."""

from pathlib import Path

import numpy as np
from ase.build import molecule
from ase.calculators.emt import EMT


def write_rmd17(folder: Path, formulas: dict[str, str], n_train: int, n_test: int) -> Path:
    """Molecules as rMD17's files hold them, in their units, with labels of EMT.

    ``formulas``: name of the molecule of rMD17 → the one that stands for it.
    """
    from published import KCAL_PER_MOL

    (folder / "rmd17").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, formula in formulas.items():
        for part, n in (("train", n_train), ("test", n_test)):
            frames = [molecule(formula) for _ in range(n)]
            for atoms in frames:
                atoms.positions += rng.normal(scale=0.05, size=(len(atoms), 3))
                atoms.calc = EMT()
            np.savez(
                folder / "rmd17" / f"rmd17_{name}_{part}_01.npz",
                nuclear_charges=frames[0].numbers,
                coords=[atoms.positions for atoms in frames],
                energies=[atoms.get_potential_energy() / KCAL_PER_MOL for atoms in frames],
                forces=[atoms.get_forces() / KCAL_PER_MOL for atoms in frames],
            )
    return folder
