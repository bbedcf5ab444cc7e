"""Energies of free atoms (E0s): what a total energy is counted from."""

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from mace_core.conventions import REF_ENERGY
from mace_core.errors import UserError


def atomic_energies(
    setting: str | Mapping[str, float],
    frames: Sequence[Atoms],
    isolated: Sequence[Atoms],
    elements: Sequence[int] | None = None,
) -> dict[int, float]:
    """E0 (eV) of every element of the frames, by atomic number, ascending.

    Args:
        setting: ``isolated``, ``average``, or eV by element (``data.E0s``).
        frames: training frames.
        isolated: one-atom frames with ``REF_energy``; the first one of an element counts.
        elements: atomic numbers needed; those of ``frames`` when not given.

    Raises:
        UserError: an element has no E0, named with what to do about it.
    """
    if elements is None:
        elements = elements_of(frames)
    if setting == "average":
        known = average_energies(frames)
        mend = "label at least one frame with it, or give data.E0s in eV by element"
    elif setting == "isolated":
        known = {}
        for atoms in isolated:
            if REF_ENERGY in atoms.info:
                known.setdefault(int(atoms.numbers[0]), float(atoms.info[REF_ENERGY]))
        mend = (
            "add a one-atom frame with config_type=IsolatedAtom, see why the engine could not "
            "label the free atom (labeller.spins), or set data.E0s to average or to eV by element"
        )
    else:
        unknown = [symbol for symbol in setting if symbol not in atomic_numbers]
        if unknown:
            raise UserError(f"data.E0s: {', '.join(unknown)} is no element")
        known = {atomic_numbers[symbol]: float(value) for symbol, value in setting.items()}
        mend = "add it to data.E0s, in eV"
    missing = [chemical_symbols[z] for z in elements if z not in known]
    if missing:
        raise UserError(
            f"no E0 for {', '.join(missing)}",
            where=f"data.E0s: {setting if isinstance(setting, str) else sorted(setting)}",
            mend=mend,
        )
    return {z: known[z] for z in sorted(elements)}


def average_energies(frames: Sequence[Atoms]) -> dict[int, float]:
    """E0s (eV) that reproduce the frames' energies best from their compositions.

    Least squares of Σ_z n_z E0_z = E over the frames with an energy. Where compositions leave
    it open (all frames have one formula), the solution of least norm.
    """
    labelled = [atoms for atoms in frames if REF_ENERGY in atoms.info]
    if not labelled:
        return {}
    elements = elements_of(labelled)
    counts = np.array(
        [[np.count_nonzero(atoms.numbers == z) for z in elements] for atoms in labelled],
        dtype=float,
    )
    energies = np.array([atoms.info[REF_ENERGY] for atoms in labelled])
    solution = np.linalg.lstsq(counts, energies, rcond=None)[0]
    return dict(zip(elements, solution.tolist(), strict=True))


def elements_of(frames: Sequence[Atoms]) -> list[int]:
    """Atomic numbers that occur in the frames, ascending."""
    return sorted({int(z) for atoms in frames for z in np.unique(atoms.numbers)})
