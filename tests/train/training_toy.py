"""Small labelled data and a small model, for tests of training."""

from pathlib import Path

import numpy as np
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from mace_core.frames import write_frames

MODEL = {
    "r_max": 3.5,
    "num_channels": 4,
    "max_L": 1,
    "max_ell": 1,
    "correlation": 2,
    "num_interactions": 2,
    "num_radial_basis": 4,
    "radial_MLP": [8],
    "MLP_irreps": "4x0e",
}
#: The defaults make more of few steps than a test wants that looks at how a training goes.
TRAIN = {
    "batch_size": 2,
    "optimizer": "adam",
    "lr": 0.01,
    "loss": "weighted",
    "scheduler": "ReduceLROnPlateau",
}
E0S = {"Cu": 3.0, "Al": 2.5, "H": 1.0, "O": 1.0, "C": 1.0}


def crystal(seed: int) -> Atoms:
    """Four rattled and strained atoms, Cu and Al, with energy, forces and stress by EMT."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", a=3.8, cubic=True)
    atoms.symbols[: seed % 3] = "Al"
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0, 0.12, (4, 3))
    return labelled(atoms)


def cluster(seed: int) -> Atoms:
    """A rattled molecule with energy and forces by EMT."""
    atoms = molecule("CH3OH")
    atoms.positions += np.random.default_rng(seed).normal(0, 0.05, (6, 3))
    return labelled(atoms)


def labelled(atoms: Atoms) -> Atoms:
    atoms.calc = EMT()
    atoms.info["REF_energy"] = atoms.get_potential_energy()
    atoms.arrays["REF_forces"] = atoms.get_forces()
    if atoms.pbc.all():
        atoms.info["REF_stress"] = atoms.get_stress()
    atoms.calc = None
    return atoms


def write_settings(
    path: Path, model: dict | None = None, data: dict | None = None, **train
) -> Path:
    settings = {
        "campaign": {"name": "toy"},
        "labeller": {"engine": "emt"},
        "data": {"labelled": ["x.xyz"], "E0s": E0S, **(data or {})},
        "model": {**MODEL, **(model or {})},
        "train": {**TRAIN, **train},
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def write_toy(folder: Path, n_train: int = 6, n_valid: int = 2, make=crystal) -> tuple[Path, Path]:
    """train.xyz and valid.xyz."""
    write_frames(folder / "train.xyz", [make(seed) for seed in range(n_train)])
    write_frames(folder / "valid.xyz", [make(100 + seed) for seed in range(n_valid)])
    return folder / "train.xyz", folder / "valid.xyz"
