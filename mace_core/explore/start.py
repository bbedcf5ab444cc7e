"""Where a walker starts."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units

from mace_core.contacts import close_contact
from mace_core.conventions import CHARGE, CONFIG_TYPE, FRAME_ID, ISOLATED_ATOM, REF_ENERGY, SPIN
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.storage import derived_seed


def start_frames(
    training: Sequence[Atoms], min_distance_factor: float, temperature: float
) -> list[Atoms]:
    """The training frames that MD can start from, canonical, each once, without labels.

    Frames of a single atom have nothing to explore; frames with a close contact would end a walk
    before its first step and say nothing of the potential. A frame far above the lowest known one
    of the same atoms (a strongly rattled one) would relax first, and its walk be hotter than its
    thermostat for as long: it starts a walk only if there are no others.

    Args:
        training: the training set.
        min_distance_factor: close contact, in sums of covalent radii.
        temperature: K, of the hottest walker: up to 3 N kT, twice the mean potential energy of a
            harmonic system, is not far.

    Raises:
        UserError: there is none.
    """
    lowest = _lowest_energies(training)
    near: dict[str, Atoms] = {}
    far: dict[str, Atoms] = {}
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
        thermal = 3 * len(atoms) * units.kB * temperature
        is_far = REF_ENERGY in atoms.info and (
            float(atoms.info[REF_ENERGY]) > lowest[_kind(atoms)] + thermal
        )
        (far if is_far else near).setdefault(bare.info[FRAME_ID], bare)
    frames = near or far
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
    return _lowest_energies(training).get(_kind(start))


def _lowest_energies(training: Sequence[Atoms]) -> dict[tuple, float]:
    lowest: dict[tuple, float] = {}
    for atoms in training:
        if REF_ENERGY in atoms.info:
            energy = float(atoms.info[REF_ENERGY])
            lowest[_kind(atoms)] = min(energy, lowest.get(_kind(atoms), energy))
    return lowest


def _kind(atoms: Atoms) -> tuple:
    return (
        *sorted(atoms.numbers.tolist()),
        *atoms.pbc.tolist(),
        int(atoms.info.get(CHARGE, 0)),
        int(atoms.info.get(SPIN, 0)),
    )
