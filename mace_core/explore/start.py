"""Where a walker starts."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from mace_core.contacts import close_contact
from mace_core.conventions import CHARGE, CONFIG_TYPE, FRAME_ID, ISOLATED_ATOM, REF_ENERGY, SPIN
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.storage import derived_seed


def start_frames(training: Sequence[Atoms], min_distance_factor: float) -> list[Atoms]:
    """The training frames that MD can start from, canonical, each once, without labels.

    Frames of a single atom have nothing to explore; frames with a close contact would end a walk
    before its first step and say nothing of the potential.

    Raises:
        UserError: there is none.
    """
    frames: dict[str, Atoms] = {}
    for atoms in training:
        if len(atoms) < 2 or atoms.info.get(CONFIG_TYPE) == ISOLATED_ATOM:
            continue
        if close_contact(atoms, min_distance_factor):
            continue
        bare = canonical(
            Atoms(
                atoms.numbers,
                positions=atoms.positions,
                cell=atoms.cell,
                pbc=atoms.pbc,
                info={key: atoms.info[key] for key in (CHARGE, SPIN) if key in atoms.info},
            )
        )
        frames.setdefault(bare.info[FRAME_ID], bare)
    if not frames:
        raise UserError(
            "no training frame to start MD from: it needs two atoms or more and no close contact",
            mend="add structures; for a crystal of one atom set seed.supercell",
        )
    return list(frames.values())


def start_frame(frames: Sequence[Atoms], campaign_seed: int, generation: int, walker: int) -> Atoms:
    """The frame of one walker: all walkers' are different as long as there are enough.

    The order is a random one that all walkers of a generation share.
    """
    rng = np.random.default_rng(derived_seed(campaign_seed, generation, "explore", "start"))
    return frames[rng.permutation(len(frames))[walker % len(frames)]]


def lowest_energy(training: Sequence[Atoms], start: Atoms) -> float | None:
    """Lowest labelled energy (eV) of the same atoms with the same charge and spin, or None."""

    def kind(atoms: Atoms) -> tuple:
        return (
            sorted(atoms.numbers.tolist()),
            atoms.pbc.tolist(),
            int(atoms.info.get(CHARGE, 0)),
            int(atoms.info.get(SPIN, 0)),
        )

    energies = [
        float(atoms.info[REF_ENERGY])
        for atoms in training
        if REF_ENERGY in atoms.info and kind(atoms) == kind(start)
    ]
    return min(energies, default=None)
