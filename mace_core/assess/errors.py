"""What a committee's predictions are wrong by, with confidence bounds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mace_core.assess.check import Row
from mace_core.assess.parts import by_part, elements_of, force_bounds, group_of
from mace_core.assess.rows import rows
from mace_core.conventions import (
    MACE_ENERGY,
    MACE_FORCES,
    REF_ENERGY,
    REF_FORCES,
)


def errors(
    frames: Sequence[Atoms], confidence: float, seed: int, walks: Sequence[Row] = ()
) -> dict[str, Any] | None:
    """The ``errors`` object of docs/contracts.md, in eV, Å and atoms.

    The force MAE is over components, of all atoms of all frames; that of an audit is estimated for
    all MD (:func:`~mace_core.assess.parts.force_bounds`), ``force_mae_frames`` is the mean of the
    audited frames themselves. Its bounds are each one-sided at ``confidence``
    (:mod:`mace_core.assess.bounds`); None for one frame. Labels may be missing: what they would
    give is then None, and each error counts the frames that have both label and prediction.

    Args:
        frames: with REF_* and MACE_*.
        confidence: of each bound, one-sided.
        seed: of the draws behind the bounds.
        walks: of an audit, what was visited (``walks`` in assess.json).

    Returns:
        None without frames.
    """
    if not frames:
        return None
    found = rows(frames)
    mean, low, high = force_bounds(found, walks, confidence, seed)
    result = {"n_frames": len(frames)} | _forces(frames)
    if mean is not None:
        mae = mean if walks else result["force_mae"]
        result |= {
            "force_mae": mae,
            "force_mae_frames": result["force_mae"],
            "force_mae_low": None if low is None else min(low, mae),
            "force_mae_high": None if high is None else max(high, mae),
        }
    result |= _energies([a for a in frames if REF_ENERGY in a.info and MACE_ENERGY in a.info])
    stresses = [row["stress_mae"] for row in found if row["stress_mae"] is not None]
    result["stress_mae"] = float(np.mean(stresses)) if stresses else None
    result["by_element"] = by_part(found, walks, confidence, seed, elements_of)
    result["by_group"] = by_part(found, walks, confidence, seed, group_of)
    return result


def _forces(frames: Sequence[Atoms]) -> dict[str, Any]:
    deltas = [
        a.arrays[MACE_FORCES] - a.arrays[REF_FORCES]
        for a in frames
        if REF_FORCES in a.arrays and MACE_FORCES in a.arrays
    ]
    if not deltas:
        names = ("force_mae", "force_mae_low", "force_mae_high", "force_rmse", "max_force_error")
        return dict.fromkeys(names)
    every = np.concatenate(deltas)
    return {
        "force_mae": float(np.abs(every).mean()),
        "force_rmse": float(np.sqrt((every**2).mean())),
        "max_force_error": float(np.linalg.norm(every, axis=1).max()),
    }


def _energies(frames: Sequence[Atoms]) -> dict[str, float | None]:
    """Energy errors a atom, as they are and after the constant shift.

    Two levels of theory, or two sets of E0s, differ by a constant an element: the shift is the
    least-squares fit of one constant for each element to the errors, which for frames of one
    composition is one constant. It would fit anything where there are no more frames than
    constants to fit: centred errors are None then.
    """
    names = ("energy_mae", "energy_mae_centred", "energy_shift")
    if not frames:
        return dict.fromkeys(names)
    sizes = np.array([len(a) for a in frames])
    delta = np.array([a.info[MACE_ENERGY] - a.info[REF_ENERGY] for a in frames]) / sizes
    elements = np.unique(np.concatenate([a.numbers for a in frames]))
    shares = np.array([[(a.numbers == z).mean() for z in elements] for a in frames])
    constants, _, rank, _ = np.linalg.lstsq(shares, delta, rcond=None)
    shift = shares @ constants
    fitted = len(frames) > rank
    return {
        "energy_mae": float(np.abs(delta).mean()),
        "energy_mae_centred": float(np.abs(delta - shift).mean()) if fitted else None,
        "energy_shift": float(shift.mean()) if fitted else None,
    }
