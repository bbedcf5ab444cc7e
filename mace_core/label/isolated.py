"""Free atoms: their energies, by the campaign's own engine, are the E0s."""

from collections.abc import Iterable

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, ground_state_magnetic_moments

from mace_core.config.labellers import LabellerBase
from mace_core.conventions import CHARGE, CONFIG_TYPE, ISOLATED_ATOM, ROLE, SPIN, FrameRole
from mace_core.errors import UserError
from mace_core.frames import canonical


def isolated_atoms(elements: Iterable[str], settings: LabellerBase) -> list[Atoms]:
    """One neutral one-atom frame for each element, with the spin of its ground state.

    The wrong spin would shift the E0 by up to some eV. Engines that know no spin get spin 0.

    Returns:
        Canonical frames, in the order of atomic numbers.

    Raises:
        UserError: an element is unknown, or its spin is and ``labeller.spins`` does not give it.
    """
    frames = []
    for element in sorted(set(elements), key=lambda symbol: atomic_numbers.get(symbol, 0)):
        if element not in atomic_numbers or element == "X":
            raise UserError(f"{element!r} is no chemical element")
        atoms = Atoms(element, positions=[[0.0, 0.0, 0.0]])
        atoms.info = {
            CHARGE: 0,
            SPIN: _spin(element, settings) if settings.knows_spin else 0,
            CONFIG_TYPE: ISOLATED_ATOM,
            ROLE: str(FrameRole.ISOLATED),
        }
        frames.append(canonical(atoms))
    return frames


def ground_state_spin(element: str) -> int | None:
    """N(up) − N(down) of the free atom's ground state, or None where the table cannot be right.

    The table is ASE's; H to Kr agree with the ground levels of the NIST Atomic Spectra Database.
    """
    number = atomic_numbers[element]
    if number >= len(ground_state_magnetic_moments):
        return None
    moment = ground_state_magnetic_moments[number]
    if np.isnan(moment) or (number - int(moment)) % 2:
        return None
    return int(moment)


def _spin(element: str, settings: LabellerBase) -> int:
    spin = settings.spins.get(element, ground_state_spin(element))
    if spin is None:
        raise UserError(
            f"the ground-state spin of a free {element} atom is not known",
            where="labeller.spins",
            mend=f"add {{{element}: N}}, N = number of unpaired electrons",
        )
    return spin
