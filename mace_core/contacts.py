"""Interatomic distances in units of the sum of two atoms' covalent radii."""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from mace_core.neighbours import distances_of


class Contacts(NamedTuple):
    """Pairs of atoms, each pair once, periodic images included."""

    i: np.ndarray  # [n_pairs] index
    j: np.ndarray  # [n_pairs] index
    distance: np.ndarray  # [n_pairs] Å
    ratio: np.ndarray  # [n_pairs] distance over the sum of covalent radii


def contacts(atoms: Atoms, factor: float) -> Contacts:
    """All pairs nearer than ``factor`` times the sum of their covalent radii.

    The radii are those of ASE: Cordero et al., Dalton Trans. 2008, 2832.
    """
    radii = covalent_radii[atoms.numbers]
    if len(atoms) == 0:
        return Contacts(*np.empty((2, 0), int), *np.empty((2, 0)))
    cutoff = 2 * factor * radii.max()
    (i, j), distance = distances_of(atoms.positions, atoms.cell[:], atoms.pbc, cutoff)
    ratio = distance / (radii[i] + radii[j])
    near = ratio < factor
    return Contacts(i[near], j[near], distance[near], ratio[near])


def close_contact(atoms: Atoms, factor: float, pairs: Contacts | None = None) -> str | None:
    """A sentence about the closest pair below ``factor`` times the radii's sum, or None.

    Args:
        atoms: the frame.
        factor: limit on the distance over the sum of covalent radii.
        pairs: of :func:`contacts` for this frame with a factor at least as large, where known.
    """
    pairs = contacts(atoms, factor) if pairs is None else pairs
    if not len(pairs.ratio) or pairs.ratio.min() >= factor:
        return None
    k = int(pairs.ratio.argmin())
    i, j = int(pairs.i[k]), int(pairs.j[k])
    names = f"{atoms.symbols[i]}{i} and {atoms.symbols[j]}{j}"
    return (
        f"{names} are {pairs.distance[k]:.2f} Å apart, "
        f"{pairs.ratio[k]:.2f} of the sum of their covalent radii (limit {factor:g})"
    )
