"""Labels that the committee doubts: far more wrong than its own uncertainty leads one to expect.

A label may have converged, be plausible by itself, and still be wrong: another electronic state,
another unit, a file mixed up. What knows better is a committee that has never seen it. Its errors
are large where its members disagree, so what is compared between the frames of one generation is
the error over the uncertainty: a frame is doubted where that is many times what is usual.

The uncertainty is the committee's largest atomic spread for energies too. The spread of the few
members' energies is one number a frame, and comes out near zero by chance now and then; the
largest of many atoms' hardly does. Its scale is the same for all frames and cancels.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mace_core.conventions import (
    FRAME_ID,
    MACE_ENERGY,
    MACE_FORCES,
    MACE_FORCES_STD,
    MACE_UNCERTAINTY,
    REF_ENERGY,
    REF_FORCES,
    ROLE,
)

#: Errors up to these are doubted by nobody (eV/atom, eV/Å): a good committee's smallest errors
#: differ by large factors for no reason.
FLOORS = {"energy": 0.05, "forces": 1.0}

#: Fewer frames do not show what is usual.
LEAST_FRAMES = 6

_SAID = {
    "energy": "energy is {:.3g} eV/atom off the committee's",
    "forces": "a force component is {:.3g} eV/Å off the committee's",
}


def outliers(frames: Sequence[Atoms], factor: float | None) -> list[dict[str, Any]]:
    """The ``quarantine`` of docs/contracts.md, in the order of the frames.

    Energies are compared per atom, after the constant that they have in common (the median
    difference, which a few wrong labels do not move).

    Args:
        frames: of one generation, with REF_* and MACE_*; none of them trained on.
        factor: above how many times the usual a label is doubted; None doubts none.

    Returns:
        Nothing for fewer than :data:`LEAST_FRAMES` frames.
    """
    if factor is None or len(frames) < LEAST_FRAMES:
        return []
    errors = {"energy": _energy_errors(frames), "forces": _force_errors(frames)}
    spread = np.array([float(np.max(atoms.arrays[MACE_FORCES_STD])) for atoms in frames])
    times = {quantity: times_usual(error, spread) for quantity, error in errors.items()}
    found = []
    for k, atoms in enumerate(frames):
        doubted = [q for q in FLOORS if errors[q][k] > FLOORS[q] and times[q][k] > factor]
        if doubted:
            found.append(
                {
                    FRAME_ID: atoms.info[FRAME_ID],
                    "role": atoms.info.get(ROLE),
                    "reason": "; ".join(_reason(q, errors[q][k], times[q][k]) for q in doubted)
                    + f"; label.outlier_factor is {factor:g}",
                    "quantities": doubted,
                    "error": {q: float(errors[q][k]) for q in FLOORS},
                    "times_usual": {q: _finite(times[q][k]) for q in FLOORS},
                    "uncertainty": float(atoms.info.get(MACE_UNCERTAINTY, spread[k])),
                }
            )
    return found


def times_usual(error: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    """Each frame's error over uncertainty, over the median of that of all others.

    Args:
        error: [n], not negative.
        uncertainty: [n], not negative; in any unit.

    Returns:
        [n]; infinite where only the others have no error, 0 where nothing can be said.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / uncertainty)
        return np.nan_to_num(ratio / _median_of_others(ratio), nan=0.0, posinf=np.inf)


def _median_of_others(values: np.ndarray) -> np.ndarray:
    """[n]: the median of all values but one, for each; with a single sort."""
    order = np.argsort(values, kind="stable")
    ordered, rank = values[order], np.empty(len(values), dtype=int)
    rank[order] = np.arange(len(values))
    middle = [(len(values) - 2) // 2, (len(values) - 1) // 2]
    lower, upper = (ordered[k + (k >= rank)] for k in middle)
    return (lower + upper) / 2


def doubts(assessments: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Why labels are doubted, by frame id, in the assess.json of some generations."""
    return {
        entry[FRAME_ID]: f"committee of generation {assess['generation']}: {entry['reason']}"
        for assess in assessments
        for entry in assess.get("quarantine") or []
    }


def _energy_errors(frames: Sequence[Atoms]) -> np.ndarray:
    delta = np.array([(a.info[MACE_ENERGY] - a.info[REF_ENERGY]) / len(a) for a in frames])
    return np.abs(delta - np.median(delta))


def _force_errors(frames: Sequence[Atoms]) -> np.ndarray:
    return np.array([np.abs(a.arrays[MACE_FORCES] - a.arrays[REF_FORCES]).max() for a in frames])


def _reason(quantity: str, error: float, times: float) -> str:
    said = f"{times:.0f} times" if np.isfinite(times) else "more than any multiple of"
    return f"{_SAID[quantity].format(error)}, {said} what is usual for its uncertainty"


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
