"""Random displacements and strain that leave no two atoms on top of each other."""

from collections.abc import Callable

import numpy as np
from ase import Atoms

from mace_core.contacts import close_contact
from mace_core.errors import UserError

#: Draws of one frame before giving up.
MAX_DRAWS = 100


def rattled(atoms: Atoms, std: float, rng: np.random.Generator) -> Atoms:
    """A copy with every coordinate displaced by a normal deviate of ``std`` Å."""
    frame = atoms.copy()
    frame.positions += rng.normal(scale=std, size=frame.positions.shape)
    return frame


def random_strain(pbc: np.ndarray, cell: np.ndarray, largest: float, rng: np.random.Generator):
    """A symmetric strain tensor [3, 3] within the space that the periodic cell vectors span.

    Its components are uniform in ±``largest`` before the projection, so a slab's vacuum and its
    surface layers are not stretched.
    """
    strain = rng.uniform(-largest, largest, size=(3, 3))
    strain = np.tril(strain) + np.tril(strain, -1).T
    if pbc.all():
        return strain
    basis, _ = np.linalg.qr(cell[pbc].T)
    projector = basis @ basis.T
    return projector @ strain @ projector


def strained(atoms: Atoms, largest: float, rng: np.random.Generator) -> Atoms:
    """A copy whose cell and atoms are deformed by 1 + :func:`random_strain`."""
    frame = atoms.copy()
    strain = random_strain(frame.pbc, frame.cell[:], largest, rng)
    frame.set_cell(frame.cell[:] @ (np.eye(3) + strain), scale_atoms=False)
    frame.positions = frame.positions @ (np.eye(3) + strain)
    return frame


def perturbed(
    atoms: Atoms, std: float, strain_max: float, factor: float, rng: np.random.Generator, what: str
) -> Atoms:
    """Rattled, and where periodic strained: drawn again until no atoms are too close.

    Args:
        atoms: what is perturbed.
        std: Å, of the displacements.
        strain_max: largest strain component.
        factor: the least distance, as a share of the sum of two covalent radii.
        rng: source of the draws.
        what: names the frame in messages.

    Raises:
        UserError: none of :data:`MAX_DRAWS` draws is free of close contacts.
    """

    def draw() -> Atoms:
        frame = strained(atoms, strain_max, rng) if atoms.pbc.any() and strain_max else atoms
        return rattled(frame, std, rng)

    return without_contact(draw, factor, what, "lower seed.rattle_std or seed.strain_max")


def without_contact(draw: Callable[[], Atoms], factor: float, what: str, mend: str) -> Atoms:
    """The first frame of ``draw()`` in which no two atoms are too close.

    Raises:
        UserError: none of :data:`MAX_DRAWS` draws is.
    """
    for _ in range(MAX_DRAWS):
        frame = draw()
        problem = close_contact(frame, factor)
        if problem is None:
            return frame
    raise UserError(
        f"{what}: atoms too close in each of {MAX_DRAWS} random draws; in the last one {problem}",
        where="seed",
        mend=f"{mend}, or explore.min_distance_factor",
    )
