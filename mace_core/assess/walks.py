"""The walks of a generation, as the stop rule sees them: where, how long, and how sure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mace_core.conventions import DISCARDED_ENDS, MACE_FORCES_STD, MD_STEP
from mace_core.frames import read_frames
from mace_core.storage import read_json
from mace_core.strata import stratum_of


def walks(paths: Sequence[str | Path], generation: int, save_interval: int) -> list[dict[str, Any]]:
    """One row per walker: the ``walks`` of docs/contracts.md.

    ``spread`` and ``n_frames`` are of the frames that an audit may be drawn from: those kept every
    ``save_interval`` steps, without the one at which a check ended the walk.

    Args:
        paths: the walkers' extxyz files, each with its JSON beside it.
        generation: of the walks.
        save_interval: steps between regular frames.
    """
    found = []
    for path in paths:
        told = read_json(Path(path).with_suffix(".json"))
        frames = read_frames(path)
        regular = [atoms for atoms in frames if _regular(atoms, save_interval)]
        named = told.get("stratum") or (stratum_of(frames[0]) if frames else None)
        found.append(
            {
                "generation": generation,
                "walker": told["walker"],
                "stratum": named,
                "group": told["group"],
                "exam": bool(told.get("exam", False)),
                "end": told["end"],
                "steps_done": told.get("steps_done"),
                "steps_asked": told.get("steps_asked"),
                "n_frames": len(regular),
                "spread": mean_spreads(regular),
            }
        )
    return found


def mean_spreads(frames: Sequence[Atoms]) -> dict[str, float] | None:
    """Mean spread of a walk's frames, eV/Å: of ``all`` atoms, and of each element's.

    Returns:
        None where no frame has a spread.
    """
    sums: dict[str, list[float]] = {}
    for atoms in frames:
        spread = atoms.arrays.get(MACE_FORCES_STD)
        if spread is None:
            continue
        symbols = np.array(atoms.get_chemical_symbols())
        sums.setdefault("all", []).append(float(spread.mean()))
        for symbol in np.unique(symbols):
            sums.setdefault(str(symbol), []).append(float(spread[symbols == symbol].mean()))
    return {key: float(np.mean(values)) for key, values in sums.items()} or None


def _regular(atoms: Atoms, save_interval: int) -> bool:
    step = int(atoms.info[MD_STEP])
    due = step > 0 and step % save_interval == 0
    return due and atoms.info.get("walker_end") not in DISCARDED_ENDS
