"""Where walkers can start."""

import math
from collections import defaultdict
from collections.abc import Sequence

from ase import Atoms, units

from mace_core.contacts import close_contact
from mace_core.conventions import CHARGE, CONFIG_TYPE, FRAME_ID, ISOLATED_ATOM, REF_ENERGY, SPIN
from mace_core.errors import UserError
from mace_core.explore.pieces import clusters
from mace_core.frames import canonical
from mace_core.strata import composition, stratum_of


def start_frames(
    training: Sequence[Atoms],
    min_distance_factor: float,
    temperature: float,
    held_out: Sequence[Atoms] = (),
    r_max: float = math.inf,
) -> dict[str, list[Atoms]]:
    """The frames that MD can start from, by stratum: canonical, each once, without labels.

    They are training frames; held-out ones where a stratum has no others (one that consists of a
    single frame may be held out).

    Frames of a single atom have nothing to explore; frames with a close contact would end a walk
    before its first step and say nothing of the potential. A frame far above the lowest known one
    of the same atoms in its stratum (a strongly rattled one) would relax first, and its walk be
    hotter than its thermostat for as long: it starts a walk only if its stratum has no others. An
    isomer or polymorph of higher energy is a stratum of its own, and not far.

    Args:
        training: the training set.
        min_distance_factor: close contact, in sums of covalent radii.
        temperature: K, of the hottest walker: up to 3 N kT, twice the mean potential energy of a
            harmonic system, is not far.
        held_out: the frames held out of training.
        r_max: Å, the model's cutoff: a frame in more pieces beyond it than others of its stratum
            (where molecules have evaporated) starts a walk only if there are no others.

    Returns:
        Frames by the name of their stratum, names sorted; only strata that have one.

    Raises:
        UserError: there is none.
    """
    starts = {
        **_by_stratum(held_out, min_distance_factor, temperature, r_max),
        **_by_stratum(training, min_distance_factor, temperature, r_max),
    }
    if not starts:
        raise UserError(
            "no training frame to start MD from: it needs two atoms or more and no close contact",
            mend="add structures; for a crystal of one atom set seed.supercell",
        )
    return dict(sorted(starts.items()))


def _by_stratum(
    frames: Sequence[Atoms], min_distance_factor: float, temperature: float, r_max: float
) -> dict[str, list[Atoms]]:
    lowest: dict[tuple, float] = {}
    for atoms in frames:
        if REF_ENERGY in atoms.info:
            key, energy = _like(atoms), float(atoms.info[REF_ENERGY])
            lowest[key] = min(energy, lowest.get(key, energy))
    # Stratum → (number of clusters, whether it is far) → frames; the least key is used.
    found: dict[str, dict[tuple[int, bool], dict[str, Atoms]]] = defaultdict(dict)
    for atoms in frames:
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
            float(atoms.info[REF_ENERGY]) > lowest[_like(atoms)] + thermal
        )
        pieces = clusters(atoms, r_max) if math.isfinite(r_max) else 1
        alike = found[stratum_of(atoms)].setdefault((pieces, is_far), {})
        alike.setdefault(bare.info[FRAME_ID], bare)
    return {name: list(ranked[min(ranked)].values()) for name, ranked in found.items()}


def lowest_energy(training: Sequence[Atoms], start: Atoms) -> float | None:
    """Lowest labelled energy (eV) of the same atoms with the same charge and spin, or None.

    Whatever their stratum: one isomer may turn into another.
    """
    kind = composition(start)
    energies = (
        float(atoms.info[REF_ENERGY])
        for atoms in training
        if REF_ENERGY in atoms.info and composition(atoms) == kind
    )
    return min(energies, default=None)


def _like(atoms: Atoms) -> tuple:
    return stratum_of(atoms), *composition(atoms)
