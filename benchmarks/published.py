"""Published data with DFT labels, as benchmarks of accuracy take them.

- rMD17 (Christensen, von Lilienfeld, 2020; CC0): ``rmd17/rmd17_MOLECULE_{train,test}_01.npz`` of
  github.com/andersx/rmd17-npz.
- 3BPA (Kovács et al., 2021; MIT): ``3bpa/{train_300K,train_mixedT,iso_atoms}.xyz``, the folder
  dataset_3BPA of github.com/davkovacs/BOTNet-datasets.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from mace_core.train.e0s import average_energies

#: eV
KCAL_PER_MOL = 0.0433641153


@dataclass(frozen=True)
class Split:
    """Labelled frames (``REF_energy``, ``REF_forces``) and E0s by element, in eV and Å."""

    train: list[Atoms]
    valid: list[Atoms]
    test: list[Atoms]
    E0s: dict[str, float]


def split(folder: Path, name: str, n_train: int, n_valid: int, n_test: int, draw: int = 0) -> Split:
    """Frames of one data set, drawn at random; ``draw`` says which draw.

    3BPA's come from the 300 K set with its isolated atoms as E0s; rMD17's test frames come from the
    published test part, and E0s are the least squares over the training frames.
    """
    rng = np.random.default_rng(draw)
    if name == "3bpa":
        frames = frames_of_3bpa(folder, "train_300K")
        atoms = _extxyz(folder / "3bpa" / "iso_atoms.xyz")
        E0s = {atom.symbols[0]: float(atom.info["REF_energy"]) for atom in atoms}
        order = rng.permutation(len(frames))
        return Split(*_parts([frames[i] for i in order], n_train, n_valid, n_test), E0s)
    frames, test = (
        _npz(folder / "rmd17" / f"rmd17_{name}_{part}_01.npz") for part in ("train", "test")
    )
    order = rng.permutation(len(frames))
    train, valid, _ = _parts([frames[i] for i in order], n_train, n_valid, 0)
    E0s = {chemical_symbols[z]: E0 for z, E0 in average_energies(train).items()}
    return Split(train, valid, [test[i] for i in rng.permutation(len(test))[:n_test]], E0s)


#: K → frames of ``train_mixedT``, one after the other: the file names no temperatures, but energies
#: and forces jump there, and only the first part shares frames with ``train_300K``.
TEMPERATURES = {300: 167, 600: 167, 1200: 166}


def unseen_frames_of_3bpa(folder: Path) -> list[Atoms]:
    """``train_mixedT`` without the frames of ``train_300K``; ``info["temperature"]`` in K.

    What is left of 300 K is of the kind trained on, the rest extrapolates.
    """
    trained = {atoms.info["REF_energy"] for atoms in frames_of_3bpa(folder, "train_300K")}
    frames = frames_of_3bpa(folder, "train_mixedT")
    temperatures = np.repeat(list(TEMPERATURES), list(TEMPERATURES.values())).tolist()
    for atoms, temperature in zip(frames, temperatures, strict=True):
        atoms.info["temperature"] = temperature
    return [atoms for atoms in frames if atoms.info["REF_energy"] not in trained]


def frames_of_3bpa(folder: Path, part: str) -> list[Atoms]:
    """``train_300K`` or ``train_mixedT``."""
    return _extxyz(folder / "3bpa" / f"{part}.xyz")


def errors(frames: list[Atoms], energies: np.ndarray, forces: list[np.ndarray]) -> dict[str, float]:
    """Errors of predictions (eV, eV/Å) in meV/atom and meV/Å over components.

    ``energy_centred`` is the mean absolute error after the mean residual of these frames is taken
    off.
    """
    labels = np.array([atoms.info["REF_energy"] for atoms in frames])
    residual = (energies - labels) / np.array([len(atoms) for atoms in frames])
    dF = np.concatenate(
        [F - atoms.arrays["REF_forces"] for F, atoms in zip(forces, frames, strict=True)]
    )
    return {
        "energy_mae": 1e3 * float(np.abs(residual).mean()),
        "energy_centred": 1e3 * float(np.abs(residual - residual.mean()).mean()),
        "forces_mae": 1e3 * float(np.abs(dF).mean()),
        "forces_rmse": 1e3 * float(np.sqrt((dF**2).mean())),
    }


def _parts(frames: list[Atoms], *sizes: int) -> list[list[Atoms]]:
    if sum(sizes) > len(frames):
        raise SystemExit(f"{sum(sizes)} frames asked, {len(frames)} there")
    ends = np.cumsum([0, *sizes])
    return [frames[a:b] for a, b in pairwise(ends)]


def _extxyz(path: Path) -> list[Atoms]:
    frames = ase.io.read(path, ":")
    for atoms in frames:
        labels = atoms.calc.results
        atoms.info = {"REF_energy": labels["energy"]}
        if "forces" in labels:
            atoms.arrays["REF_forces"] = labels["forces"]
        atoms.calc = None
    return frames


def _npz(path: Path) -> list[Atoms]:
    content = np.load(path)
    frames = []
    for positions, energy, forces in zip(
        content["coords"], content["energies"], content["forces"], strict=True
    ):
        atoms = Atoms(content["nuclear_charges"].astype(int), positions)
        atoms.info["REF_energy"] = float(energy) * KCAL_PER_MOL
        atoms.arrays["REF_forces"] = forces * KCAL_PER_MOL
        frames.append(atoms)
    return frames
