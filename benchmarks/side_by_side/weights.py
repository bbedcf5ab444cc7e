"""Models and frames that both sides get: the same weights, the same positions."""

from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from mace_core.config.sections import Model
from mace_core.convert.files import export_model
from mace_core.model.files import save_model
from mace_core.model.model import MACE

DATA = Path(__file__).parents[1] / "data"
CONFIGURATIONS = {
    "a": {"num_channels": 64, "max_L": 1},
    "b": {"num_channels": 128, "max_L": 1},
    "c": {"num_channels": 32, "max_L": 0},
}
#: Elements, and mean number of neighbours within 5 Å.
MATERIALS = {"3BPA": ([1, 6, 7, 8], 16.5), "Si": ([14], 28.0)}
#: Makes forces of first weights of order 1 eV/Å.
SCALE = 20.0
#: Atoms of cubic supercells of diamond.
CELLS = {8 * n**3: n for n in range(1, 15)}


def architecture(configuration: str) -> Model:
    """The paper's shape: an agnostic first layer, a residual second one."""
    return Model(
        r_max=5.0,
        num_radial_basis=8,
        max_ell=3,
        correlation=3,
        num_interactions=2,
        interaction_first="RealAgnosticInteractionBlock",
        interaction="RealAgnosticResidualInteractionBlock",
        radial_MLP=[64, 64, 64],
        **CONFIGURATIONS[configuration],
    )


def model(material: str, configuration: str, seed: int = 0) -> MACE:
    """First weights drawn from ``seed``, float64."""
    elements, neighbours = MATERIALS[material]
    E0s = dict.fromkeys(elements, 0.0)
    return MACE(
        architecture(configuration),
        elements,
        E0s,
        neighbours,
        scale=SCALE,
        dtype=torch.float64,
        seed=seed,
    )


def material_of(system: str) -> str:
    return "Si" if system.startswith("Si") else system


def atoms_of(system: str, seed: int = 1) -> Atoms:
    """``3BPA``, or ``Si`` and a number of atoms: rattled diamond."""
    if system == "3BPA":
        return read(DATA / "3bpa.xyz")
    atoms = bulk("Si", cubic=True).repeat(CELLS[int(system.removeprefix("Si"))])
    atoms.rattle(0.05, seed=seed)
    return atoms


class Store:
    """Files for both sides, made on demand in one folder.

    Args:
        folder: for them.
        saver: a child with mace-torch, which saves a file as its own; None if there is no peer.
    """

    def __init__(self, folder: Path, saver=None):
        self.folder, self.saver = folder, saver

    def ours(self, material: str, configuration: str, seed: int = 0) -> str:
        """Folder of our model."""
        folder = self.folder / f"{material}_{configuration}_{seed}"
        if not folder.exists():
            save_model(model(material, configuration, seed), folder)
        return str(folder)

    def theirs(self, material: str, configuration: str, seed: int = 0) -> str:
        """The same model as mace-torch saves it."""
        ours = self.ours(material, configuration, seed)
        path = f"{ours}.model"
        if not Path(path).exists():
            export_model(ours, f"{ours}_recipe.model")
            self.saver.do("call", function="save_again", path=f"{ours}_recipe.model", out=path)
        return path

    def symmetrix(self, material: str, configuration: str, radial_format: str, converter) -> str:
        """The same model as symmetrix-xl's JSON."""
        theirs = self.theirs(material, configuration)
        path = theirs.replace(".model", f"_{radial_format}.json")
        if not Path(path).exists():
            options = {"model": theirs, "out": path, "radial_format": radial_format}
            converter.do("call", function="convert", **options)
        return path

    def frames(self, system: str, copies: int = 1) -> str:
        """A file with the system, or with differently rattled copies of it."""
        path = self.folder / f"{system}_{copies}.extxyz"
        if not path.exists():
            write(path, [atoms_of(system, seed) for seed in range(1, copies + 1)])
        return str(path)

    def training_frames(self, source: Path) -> str:
        """Labelled frames; the mean energy is taken off, as E0s would."""
        path = self.folder / "training.extxyz"
        if not path.exists():
            frames = read(source, ":20")
            mean = np.mean([atoms.info["REF_energy"] for atoms in frames])
            for atoms in frames:
                atoms.info["REF_energy"] -= mean
            write(path, frames)
        return str(path)
