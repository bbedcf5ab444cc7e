"""A frame's score: its largest atomic force error over the committee's largest atomic spread."""

from collections.abc import Iterable

import numpy as np
from ase import Atoms

from mace_core.conventions import MACE_FORCES, MACE_FORCES_STD, REF_FORCES

#: eV/Å. A committee agrees to this only where symmetry makes its forces zero (what is left is
#: rounding), or where its members are the same.
NO_SPREAD = 1e-5

#: eV/Å. Noise of a label's forces where symmetry makes them zero.
NO_ERROR = 1e-3


def largest_force_error(atoms: Atoms) -> float:
    """Largest |F_MACE − F_REF| of a frame's atoms, eV/Å."""
    delta = atoms.arrays[MACE_FORCES] - atoms.arrays[REF_FORCES]
    return float(np.linalg.norm(delta, axis=1).max())


def scores_and_spreads(frames: Iterable[Atoms]) -> tuple[list[Atoms], np.ndarray, np.ndarray]:
    """The frames that tell something of error over spread, with their scores.

    Left out are frames without REF_forces, and those whose spread is below :data:`NO_SPREAD` and
    whose error is below :data:`NO_ERROR`: forces that are zero by symmetry.

    Args:
        frames: with MACE_forces and MACE_forces_std.

    Returns:
        The frames, their scores (infinite where there is an error but no spread) and their largest
        spreads in eV/Å.
    """
    told, values, spreads = [], [], []
    for atoms in frames:
        if REF_FORCES not in atoms.arrays:
            continue
        error, spread = largest_force_error(atoms), float(np.max(atoms.arrays[MACE_FORCES_STD]))
        silent = spread <= NO_SPREAD
        if silent and error <= NO_ERROR:
            continue
        told.append(atoms)
        values.append(np.inf if silent else error / spread)
        spreads.append(spread)
    return told, np.array(values, dtype=float), np.array(spreads, dtype=float)


def scores(frames: Iterable[Atoms]) -> np.ndarray:
    """Scores of the frames that have one, see :func:`scores_and_spreads`."""
    return scores_and_spreads(frames)[1]
