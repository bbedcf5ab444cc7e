"""Boxes for molecules and grids of k-points, for plane-wave programs."""

import numpy as np
from ase import Atoms

from mace_core.label.engines.base import Refused

#: Å by which the sides of a box differ, so that a free atom's degenerate states split and the SCF
#: settles on one of them.
UNEQUAL = (0.0, 0.5, 1.0)


def boxed(frame: Atoms, vacuum: float) -> Atoms:
    """The frame for a program that is periodic in three directions.

    A crystal as it is. A free atom or molecule in an orthorhombic box of its own extent with
    ``vacuum`` (Å) on each side, whatever cell it came with, so that the label depends on the frame
    alone.

    Raises:
        Refused: the frame is periodic in part, or charged in a box.
    """
    if frame.pbc.all():
        return frame
    if frame.pbc.any():
        raise Refused(
            "plane waves are periodic in three directions, and this frame is not: give a slab or "
            "wire pbc 'T T T' and a cell with enough vacuum"
        )
    if frame.info["charge"]:
        raise Refused(
            "a charged molecule in a periodic box has an energy that depends on the box: "
            "label it with an engine for molecules"
        )
    box = frame.copy()
    low, high = frame.positions.min(axis=0), frame.positions.max(axis=0)
    box.cell[:] = np.diag(high - low + 2 * vacuum + np.array(UNEQUAL))
    box.positions += box.cell.lengths() / 2 - (low + high) / 2
    box.pbc = True
    return box


def kpoint_grid(cell: np.ndarray, spacing: float) -> list[int]:
    """The fewest k-points along each reciprocal vector that are no farther apart than ``spacing``.

    Args:
        cell: [3, 3] Å, rows are the cell vectors.
        spacing: 1/Å, with the factor 2π (VASP's KSPACING).
    """
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(cell).T, axis=1)
    # A grid that fits exactly must not depend on the last digit of the cell.
    return [max(1, int(np.ceil(length / spacing - 1e-6))) for length in lengths]
