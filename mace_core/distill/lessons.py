"""What a student learns from: frames of the committee's MD, half of them displaced, and its labels.

MD visits little of what is near it, and a student of MD frames alone is worse than its teachers as
soon as it leaves them (docs/decisions.md). Labels of the committee cost nothing, so half of the
frames are displaced at random.
"""

import math
from pathlib import Path

import numpy as np
from ase import Atoms

from mace_core.committee import Committee
from mace_core.config.campaign import Config
from mace_core.conventions import (
    CHARGE,
    CONFIG_TYPE,
    FRAME_ID,
    MACE_UNCERTAINTY,
    MEV,
    REF_ENERGY,
    REF_FORCES,
    REF_STRESS,
    SPIN,
    WalkerEnd,
)
from mace_core.errors import UserError
from mace_core.explore.run import explore
from mace_core.frames import canonical, read_frames
from mace_core.seed.perturb import rattled, strained
from mace_core.storage import derived_seed, read_json

#: ``config_type`` of a frame whose label is the committee's.
TAUGHT = "committee"
#: Å: the largest standard deviation of displacements. 0.2 did far worse (docs/training.md).
RATTLE = 0.1
#: Walkers that are started for one that was planned, where walks end early.
_MORE_WALKERS = 10


def visited(
    config: Config, generation: Path, folder: Path, n_frames: int, seed: int
) -> list[Atoms]:
    """Sound frames of the committee's MD in which it is sure enough, as many as asked if it can be.

    Args:
        config: the generation's.
        generation: its folder.
        folder: for the walks; those that are complete there are not walked again.
        n_frames: asked for.
        seed: of the walks, which are others than the campaign's: its audit frames, drawn from
            those, are to test the student.

    Raises:
        UserError: there are none.
    """
    planned = config.explore.walkers
    walking = config.model_copy(
        update={
            "campaign": config.campaign.model_copy(
                update={"seed": derived_seed(config.campaign.seed, "distill", seed)}
            ),
            "explore": config.explore.model_copy(
                update={
                    "walkers": _MORE_WALKERS * planned,
                    "steps": math.ceil(n_frames / planned) * config.explore.save_interval,
                }
            ),
        }
    )
    number = read_json(generation / "plan.json")["generation"]
    bound = config.explore.max_force_error * MEV
    frames: dict[str, Atoms] = {}
    for walker in range(walking.explore.walkers):
        path = folder / f"walker_{walker}.extxyz"
        if not path.with_suffix(".json").is_file():
            explore(
                walking,
                number,
                generation / "train" / "committee.json",
                generation / "dataset" / "train.extxyz",
                walker,
                path,
            )
        for atoms in read_frames(path):
            # Where a walk went wrong (a contact, a runaway), what the committee says means nothing.
            sound = atoms.info.get("walker_end", WalkerEnd.COMPLETED) == WalkerEnd.COMPLETED
            if sound and atoms.info.get(MACE_UNCERTAINTY, np.inf) <= bound:
                frames[atoms.info[FRAME_ID]] = atoms
        if len(frames) >= n_frames:
            break
    if not frames:
        raise UserError(
            f"in none of {walking.explore.walkers} walks was the committee sure of a frame",
            where=str(generation),
            mend="take a later generation, or raise explore.max_force_error",
        )
    return list(frames.values())[:n_frames]


def displaced(frames: list[Atoms], strain_max: float, seed: int) -> list[Atoms]:
    """The frames, every second one rattled by up to :data:`RATTLE` and, where periodic, strained.

    Args:
        frames: canonical.
        strain_max: largest strain component.
        seed: of the draws.
    """
    rng = np.random.default_rng(derived_seed(seed, "distill", "displaced"))
    result = list(frames)
    for k in range(1, len(frames), 2):
        std, largest = rng.uniform(0, RATTLE), rng.uniform(0, strain_max)
        atoms = strained(frames[k], largest, rng) if frames[k].pbc.any() else frames[k]
        result[k] = canonical(rattled(atoms, std, rng))
    return result


def taught(
    committee: Committee, frames: list[Atoms], factor: float, max_force_error: float
) -> list[Atoms]:
    """The bare frames with the committee's mean as their label, where it is sure enough.

    Args:
        committee: the teachers.
        frames: with charge, spin and id.
        factor: of the calibrated uncertainty, in the largest spread of a frame.
        max_force_error: meV/Å, of a frame that is still taught.
    """
    lessons = []
    for atoms, said in zip(frames, committee.predict(frames, stress=True), strict=True):
        if not factor * said.max_forces_std <= max_force_error * MEV:
            continue
        frame = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        frame.info = {key: atoms.info[key] for key in (CHARGE, SPIN, FRAME_ID)}
        frame.info |= {CONFIG_TYPE: TAUGHT, REF_ENERGY: said.energy}
        frame.arrays[REF_FORCES] = said.forces
        if said.stress is not None:
            frame.info[REF_STRESS] = said.stress
        lessons.append(frame)
    return lessons
