"""A committee's predictions on labelled frames."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mace_core.config.campaign import Config
from mace_core.conventions import (
    FRAME_ID,
    MACE_ENERGY,
    MACE_FORCES,
    MACE_FORCES_STD,
    MACE_STRESS,
    MACE_UNCERTAINTY,
    REF_STRESS,
)
from mace_core.frames import frame_id
from mace_core.progress import Progress
from mace_core.train.duplicates import seen_in

_CHUNK = 32  # frames between two signs of life


def load_committee(content: dict[str, Any], config: Config):
    """The :class:`~mace_core.committee.Committee` that a committee.json names."""
    from mace_core.committee import Committee

    return Committee.load(content["members"], config.train.default_dtype, config.train.device)


def score(frames: Sequence[Atoms], committee, factor: float | None, title: str) -> list[Atoms]:
    """Copies of the frames with MACE_* predictions; MACE_uncertainty where a factor is known.

    Args:
        frames: with REF_*; stress is predicted where one of them has a REF_stress.
        committee: with ``predict`` as in docs/contracts.md.
        factor: calibration factor, see :mod:`mace_core.assess.calibration`.
        title: of the progress line.
    """
    stress = any(REF_STRESS in atoms.info for atoms in frames)
    scored = []
    with Progress(title, len(frames), "frame") as progress:
        for start in range(0, len(frames), _CHUNK):
            part = [atoms.copy() for atoms in frames[start : start + _CHUNK]]
            for atoms, found in zip(part, committee.predict(part, stress=stress), strict=True):
                atoms.info[MACE_ENERGY] = float(found.energy)
                atoms.arrays[MACE_FORCES] = found.forces
                atoms.arrays[MACE_FORCES_STD] = found.forces_std
                atoms.info.pop(MACE_UNCERTAINTY, None)
                if factor is not None:
                    atoms.info[MACE_UNCERTAINTY] = factor * float(found.max_forces_std)
                if found.stress is not None and REF_STRESS in atoms.info:
                    atoms.info[MACE_STRESS] = found.stress
                scored.append(atoms)
            progress.update(len(scored))
    return scored


def unseen(
    frames: Sequence[Atoms], trained: Sequence[Atoms], what: str, where: str | Path
) -> tuple[list[Atoms], list[str]]:
    """The frames that no member has trained on, and a sentence if there were others.

    Args:
        frames: to be scored.
        trained: the frames of the training and validation sets.
        what: the frames' role, for the sentence.
        where: they come from.
    """
    ids = {frame_id(atoms) for atoms in trained}
    seen = [(atoms.info.get(FRAME_ID) or frame_id(atoms)) in ids for atoms in frames]
    return _without(frames, seen, f"{what} frames in {where} were trained on")


def unlike(
    frames: Sequence[Atoms], trained: Sequence[Atoms], what: str, where: str | Path
) -> tuple[list[Atoms], list[str]]:
    """As :func:`unseen`, and without near-duplicates of trained frames.

    For a test set that the user gave: with its atoms in another order, shifted or turned, a frame
    is the same one under another id. Not for the audit: near-duplicates are where MD went, and an
    audit without them would be none of the trajectory.
    """
    ids = {frame_id(atoms) for atoms in trained}
    seen = np.array([frame_id(atoms) in ids for atoms in frames], dtype=bool)
    left = np.flatnonzero(~seen)
    seen[left] = seen_in([frames[i] for i in left], trained)
    return _without(
        frames,
        seen,
        f"{what} frames in {where} were trained on, or are near-duplicates of trained frames (in "
        "another order, shifted or turned)",
    )


def _without(
    frames: Sequence[Atoms], seen: Sequence[bool], what: str
) -> tuple[list[Atoms], list[str]]:
    kept = [atoms for atoms, known in zip(frames, seen, strict=True) if not known]
    if len(kept) == len(frames):
        return kept, []
    return kept, [f"{len(frames) - len(kept)} of {len(frames)} {what}: not scored"]
