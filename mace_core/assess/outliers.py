"""Labels that the committee doubts: far more wrong than its own uncertainty leads one to expect.

A label may have converged, be plausible by itself, and still be wrong: another electronic state,
another unit, a file mixed up. What knows better is a committee that has never seen it. Its errors
are large where its members disagree, so what is compared between the frames of one generation is
the error over the uncertainty: a frame is doubted where that is many times what is usual.

A committee may also be wrong itself, for a whole stratum at once: by a constant in the energy of a
composition or an isomer, or in all forces. Labels that are off alike are therefore the model's
error, and are not doubted. "Alike" is asked of the labels of one stratum:

energy
    A frame's error is its distance from the stratum's other labels: from the nearest half of them.
    No constant is fitted, so two labels off by the same amount vouch for each other in a stratum
    of four frames or fewer, and a majority does in a larger one. A minority that is off alike is
    doubted: nothing here tells another electronic state, in which a few frames ended, from a
    model's error, but a second computation does.
forces
    A frame is compared with what is usual in its own stratum as well as in the generation: where
    most of a stratum's frames are above the limit, none of them is doubted for that.

A frame alone in its stratum, or one of two that differ, has only the other strata to be compared
with, and may be doubted without being wrong. Doubted labels are computed again
(:mod:`mace_core.assess.recheck`).

The uncertainty is the committee's largest atomic spread for energies too. The spread of the few
members' energies is one number per frame, and comes out near zero by chance now and then; the
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
    STRATUM,
)

#: Errors up to these are doubted by nobody (eV/atom, eV/Å): a good committee's smallest errors
#: differ by large factors for no reason.
FLOORS = {"energy": 0.05, "forces": 1.0}

#: Fewer frames do not show what is usual.
LEAST_FRAMES = 6

#: Strata of up to this many frames have no majority to speak of: there two labels are enough.
FEW = 4

#: In such a stratum two energies are off alike when they differ by up to this share of how far the
#: smaller one is off: a model that is wrong for a stratum is not so by exactly one constant.
ALIKE = 0.25

_SAID = {
    "energy": "energy is {:.3g} eV/atom off the committee's",
    "forces": "a force component is {:.3g} eV/Å off the committee's",
}


def outliers(frames: Sequence[Atoms], factor: float | None) -> list[dict[str, Any]]:
    """The ``quarantine`` of docs/contracts.md, in the order of the frames.

    Args:
        frames: of one generation, with REF_* and MACE_*; none of them trained on. Those without a
            stratum are one stratum.
        factor: above how many times the usual a label is doubted; None doubts none.

    Returns:
        Nothing for fewer than :data:`LEAST_FRAMES` frames.
    """
    if factor is None or len(frames) < LEAST_FRAMES:
        return []
    spread = np.array([float(np.max(atoms.arrays[MACE_FORCES_STD])) for atoms in frames])
    strata = _strata(frames)
    energy, energy_times = _judged_energies(frames, spread, strata)
    forces = _force_errors(frames)
    errors = {"energy": energy, "forces": forces}
    times = {"energy": energy_times, "forces": _times_among_like(forces, spread, strata)}
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
    ratio = _over(error, uncertainty)
    return _over(ratio, _median_of_others(ratio))


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


def _strata(frames: Sequence[Atoms]) -> list[np.ndarray]:
    """The places of each stratum's frames."""
    names = np.array([str(atoms.info.get(STRATUM)) for atoms in frames])
    return [np.flatnonzero(names == name) for name in sorted(set(names))]


def _judged_energies(
    frames: Sequence[Atoms], spread: np.ndarray, strata: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Errors of the energy per atom [n], eV, and how many times the usual they are [n]."""
    delta = np.array([(a.info[MACE_ENERGY] - a.info[REF_ENERGY]) / len(a) for a in frames])
    error, ratio, typical = np.empty((3, len(frames)))
    for members in strata:
        n, off, own = len(members), delta[members], spread[members]
        rest = np.delete(delta, members)
        elsewhere = np.abs(off - np.median(rest)) if len(rest) else np.full(n, np.inf)
        if n == 1:
            error[members] = elsewhere
            ratio[members] = typical[members] = _over(elsewhere, own)
            continue
        apart = np.abs(off[:, None] - off)
        unsure = np.broadcast_to(own[:, None], apart.shape)
        if n <= FEW:
            # A sound frame must not be doubted for its only neighbour's error.
            unsure = np.maximum(own[:, None], own)
        # Of a few frames the nearest is nearer than what is usual.
        typical[members] = _nth_nearest(_over(apart, unsure), n // 2 if n <= FEW else (n - 1) // 2)
        if n <= FEW and len(rest):
            apart = np.where(_off_alike(off - np.median(rest)), 0.0, apart)
        half = max(1, (n - 1) // 2)
        error[members] = _nth_nearest(apart, half)
        ratio[members] = _nth_nearest(_over(apart, unsure), half)
        if n == 2:
            # Which of two is wrong, the other strata may know.
            error[members] = np.minimum(error[members], elsewhere)
            ratio[members] = np.minimum(ratio[members], _over(elsewhere, own))
    return error, _over(ratio, _median_of_others(typical))


def _off_alike(off: np.ndarray) -> np.ndarray:
    """[n, n]: which pairs of these errors have one sign and a similar size."""
    size = np.minimum(np.abs(off[:, None]), np.abs(off))
    return (off[:, None] * off > 0) & (np.abs(off[:, None] - off) <= ALIKE * size)


def _nth_nearest(apart: np.ndarray, nth: int) -> np.ndarray:
    """[n]: how far from each one its ``nth`` nearest other is.

    Args:
        apart: [n, n], n > 1; what is on the diagonal does not matter.
        nth: 1 is the nearest.
    """
    n = len(apart)
    others = apart[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    return np.sort(others, axis=1)[:, nth - 1]


def _times_among_like(
    error: np.ndarray, spread: np.ndarray, strata: Sequence[np.ndarray]
) -> np.ndarray:
    """How many times the usual of the generation or of the stratum errors are: the lesser [n]."""
    ratio, times = _over(error, spread), times_usual(error, spread)
    for members in strata:
        n = len(members)
        if n > 1:
            others = np.array([np.sort(np.delete(ratio[members], k)) for k in range(n)])
            usual = others[:, n // 2 - 1]  # lower median
            times[members] = np.minimum(times[members], _over(ratio[members], usual))
    return times


def _over(value: np.ndarray, by: np.ndarray) -> np.ndarray:
    """A quotient that is 0 where the value is 0, or where nothing can be said (∞/∞)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.where(value == 0, 0.0, value / by), nan=0.0, posinf=np.inf)


def _force_errors(frames: Sequence[Atoms]) -> np.ndarray:
    return np.array([np.abs(a.arrays[MACE_FORCES] - a.arrays[REF_FORCES]).max() for a in frames])


def _reason(quantity: str, error: float, times: float) -> str:
    said = f"{times:.0f} times" if np.isfinite(times) else "more than any multiple of"
    return f"{_SAID[quantity].format(error)}, {said} what is usual for its uncertainty"


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
