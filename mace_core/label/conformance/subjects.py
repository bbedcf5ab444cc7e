"""The frames that are checked: the user's own, or ones that the engine knows."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

from mace_core.config.labellers import LabellerBase
from mace_core.conventions import CHARGE, SPIN
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.label.conformance import tolerances as t
from mace_core.label.start import check_engine


def off_equilibrium(atoms: Atoms) -> Atoms:
    """A canonical copy, rattled and, where periodic, compressed; labels are dropped."""
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    frame.info = {key: atoms.info[key] for key in (CHARGE, SPIN) if key in atoms.info}
    if frame.pbc.all():
        frame.set_cell(frame.cell[:] * t.SHRINK, scale_atoms=True)
    rng = np.random.default_rng(0)
    if len(frame) > 1:
        frame.positions += rng.normal(0, t.RATTLE, frame.positions.shape)
    return canonical(frame)


def default_frames(settings: LabellerBase) -> list[Atoms]:
    """Small frames of elements that the engine knows: a molecule and a crystal, or one of them.

    An engine that puts molecules into a box gets none: that would cost more than all else.

    Raises:
        UserError: it knows the elements of none of them, or cannot be started.
    """
    boxed = bool({"box", "vacuum"} & set(type(settings).model_fields))
    molecules = [molecule("H2O")]
    aluminium = bulk("Al", cubic=True)
    # Settings with smearing are for metals; their plane waves need not be good enough for carbon.
    smeared = boxed and not settings.counts_electrons
    crystals = [
        *([aluminium] if smeared else []),
        # Without k-points two atoms are too few, and tight binding likes covalent crystals less.
        bulk("SiC", "zincblende", a=4.36) if boxed else bulk("LiF", "rocksalt", a=4.03, cubic=True),
        aluminium,
        bulk("Si"),
        bulk("Cu", cubic=True),
    ]
    kinds = {"none": molecules, "full": crystals}
    found, reason = [], None
    for kind, frames in reversed(kinds.items()):
        if kind not in settings.PERIODICITY:
            continue
        if found and boxed:
            break
        for atoms in frames:
            try:
                check_engine(settings, atoms.get_chemical_symbols())
            except UserError as err:
                reason = reason or err
                continue
            found.append(atoms)
            break
    if not found:
        raise reason or UserError("no frame to check with", mend="give --frames FILE.extxyz")
    return found


def chosen(frames: Sequence[Atoms], limit: int = 2) -> list[Atoms]:
    """The smallest molecule and the smallest crystal of some frames; free atoms do not count."""
    by_kind: dict[bool, Atoms] = {}
    for atoms in sorted(frames, key=len):
        if len(atoms) > 1 or atoms.pbc.any():
            by_kind.setdefault(bool(atoms.pbc.any()), atoms)
    return list(by_kind.values())[:limit]
