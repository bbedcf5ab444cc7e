"""The frames that walkers visited, and which of them may be labelled at all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from mace_core.conventions import (
    DISCARDED_ENDS,
    EXAM,
    FRAME_ID,
    GROUP,
    MACE_FORCES_STD,
    MACE_UNCERTAINTY,
    MD_STEP,
    WALKER,
)
from mace_core.errors import UserError
from mace_core.frames import canonical, read_frames
from mace_core.storage import read_json
from mace_core.strata import stratum_of


@dataclass(eq=False)
class Visited:
    """A frame that a walker kept."""

    frame: Atoms  # canonical
    walker: int
    group: str
    md_step: int
    uncertainty: float  # eV/Å, calibrated; NaN where the committee's answer was not a number
    regular: bool  # kept because save_interval was due, whatever the committee said
    sane: bool  # no sanity check ended the walk here, and nothing parted
    known: bool  # in the training set, or met before in this selection
    stratum: str = ""  # of the walk's start
    exam: bool = False  # visited by a walk of the final exam

    @property
    def frame_id(self) -> str:
        return self.frame.info[FRAME_ID]

    @property
    def usable(self) -> bool:
        """May be labelled."""
        return self.sane and not self.known


def read_walkers(
    paths: Iterable[str | Path], factor: float, save_interval: int, known_ids: set[str]
) -> list[Visited]:
    """All kept frames of all walkers, by walker and step.

    Args:
        paths: the walkers' extxyz files.
        factor: uncertainty over the largest force spread of a frame.
        save_interval: steps between regular frames.
        known_ids: frame ids of the training set.
    """
    visited = []
    seen = set(known_ids)
    for path in paths:
        for atoms in read_frames(path):
            frame = canonical(atoms)
            spread = frame.arrays.get(MACE_FORCES_STD)
            uncertainty = np.nan if spread is None else factor * float(np.max(spread))
            frame.info[MACE_UNCERTAINTY] = uncertainty
            step = int(frame.info[MD_STEP])
            end = frame.info.get("walker_end")
            visited.append(
                Visited(
                    frame=frame,
                    walker=int(frame.info[WALKER]),
                    group=str(frame.info[GROUP]),
                    md_step=step,
                    uncertainty=uncertainty,
                    regular=step > 0 and step % save_interval == 0,
                    sane=end not in DISCARDED_ENDS and bool(np.isfinite(uncertainty)),
                    known=frame.info[FRAME_ID] in seen,
                    stratum=stratum_of(frame),
                    exam=bool(frame.info.get(EXAM, False)),
                )
            )
            seen.add(frame.info[FRAME_ID])
    visited.sort(key=lambda v: (v.walker, v.md_step))
    return visited


def read_ends(paths: Sequence[str | Path]) -> list[dict]:
    """What each walker's JSON, beside its frames, says of how it ended.

    Raises:
        UserError: one is missing.
    """
    ends = []
    for path in paths:
        beside = Path(path).with_suffix(".json")
        if not beside.is_file():
            raise UserError(
                f"no record of how the walk ended: {beside}",
                where=str(path),
                mend="run the walker again",
            )
        ends.append(read_json(beside))
    return sorted(ends, key=lambda end: end["walker"])
